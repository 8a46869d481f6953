//! A commit object, parsed strictly.
//!
//! In: the object's bytes, without the `commit <size>\0` that git hashes before
//! them. Out: its id, its fields, and what was signed. Must not: guess. What git
//! fsck refuses, and what two programs could read in two ways, is an error.

use std::collections::VecDeque;

use gix::hash::{Kind, hasher};
use jiff::Timestamp;

use super::untrusted::{Untrusted, shown};
use crate::model::revision::CommitId;

/// The largest commit object that is looked at, in bytes. Those of an ordinary
/// history are below 10 KiB; the rest is room for long messages.
pub const OBJECT_LIMIT: usize = 1 << 20;

/// How many parents a commit may have. git itself makes up to 16 easily.
pub const PARENT_LIMIT: usize = 64;

/// How many headers a commit may have after its committer.
pub const HEADER_LIMIT: usize = 64;

/// A commit whose bytes leave no doubt about what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The SHA-1 of the object, computed here.
    pub id: CommitId,
    /// The id of the tree, 40 hexadecimal digits.
    pub tree: String,
    /// The parents, the first one first.
    pub parents: Vec<CommitId>,
    pub author: Identity,
    pub committer: Identity,
    /// What follows the committer, but the signature.
    pub headers: Vec<Header>,
    /// The text of the signature, as it was before git indented it.
    pub signature: Option<Vec<u8>>,
    /// What was signed: the object without its signature.
    pub payload: Vec<u8>,
    /// Where in the payload the message begins.
    message_at: usize,
}

impl Commit {
    /// The message, in whatever encoding it is.
    pub fn message(&self) -> &[u8] {
        &self.payload[self.message_at..]
    }
}

/// Who wrote or committed, as the commit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name, with what is not UTF-8 replaced.
    pub name: String,
    /// The address, with what is not UTF-8 replaced.
    pub email: String,
    /// When, as whoever made the commit wanted it.
    pub at: Timestamp,
}

/// A header beyond those that every commit has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub name: String,
    /// Its lines, joined by line breaks.
    pub value: Vec<u8>,
}

impl Commit {
    /// Parses a commit object.
    pub fn parse(object: &[u8]) -> Result<Self, Untrusted> {
        if object.len() > OBJECT_LIMIT {
            return Err(Untrusted::CommitTooLarge {
                limit: OBJECT_LIMIT,
                found: object.len(),
            });
        }
        // git shows a message up to the first NUL only: what follows would be signed unseen.
        if let Some(at) = object.iter().position(|byte| *byte == 0) {
            return Err(Untrusted::commit("no NUL", tail(&object[..=at])));
        }
        let id = object_id(object)?;
        let (head, message) = split_message(object)?;
        let mut fields = Fields::of(head)?;
        let tree = hexadecimal(fields.required("tree")?.value()?)?;
        let parents = fields.parents()?;
        let author = identity(fields.required("author")?.value()?)?;
        let committer = identity(fields.required("committer")?.value()?)?;
        let (headers, signature) = extra_headers(&fields.rest)?;
        let mut payload = fields.payload;
        payload.push(b'\n');
        let message_at = payload.len();
        payload.extend_from_slice(message);
        Ok(Self {
            id,
            tree,
            parents,
            author,
            committer,
            headers,
            signature,
            payload,
            message_at,
        })
    }
}

/// The id that git gives to these bytes. Refuses the bytes of the known attacks
/// on SHA-1, as git does.
fn object_id(object: &[u8]) -> Result<CommitId, Untrusted> {
    let header = format!("commit {}\0", object.len());
    let digest = digest(&[header.as_bytes(), object])?;
    hexadecimal_id(digest.as_bytes())
}

/// The SHA-1 of all parts, unless they were made to have that of others.
pub(super) fn digest(parts: &[&[u8]]) -> Result<String, Untrusted> {
    let mut sha1 = hasher(Kind::Sha1);
    for part in parts {
        sha1.update(part);
    }
    let digest = sha1.try_finalize().map_err(|_| Untrusted::Sha1Collision)?;
    Ok(digest.to_string())
}

/// Headers end with the first empty line: a continued line begins with a space,
/// so it cannot be one.
fn split_message(object: &[u8]) -> Result<(&[u8], &[u8]), Untrusted> {
    let at = object.windows(2).position(|pair| pair == b"\n\n");
    let at =
        at.ok_or_else(|| Untrusted::commit("an empty line after its headers", tail(object)))?;
    Ok((&object[..at], &object[at + 2..]))
}

/// A header with the lines that continue it.
struct Field<'a> {
    name: &'a [u8],
    /// The value's lines, without the space that git puts before each.
    lines: Vec<&'a [u8]>,
}

impl<'a> Field<'a> {
    /// The value of a header that has to be one line.
    fn value(&self) -> Result<&'a [u8], Untrusted> {
        match self.lines.as_slice() {
            [line] => Ok(line),
            [] | [_, ..] => Err(Untrusted::commit("headers of one line", self.name)),
        }
    }

    /// The lines with a line break after each, as git hands them to a verifier.
    fn text(&self) -> Vec<u8> {
        let mut text = self.lines.join(&b'\n');
        text.push(b'\n');
        text
    }

    /// git leaves out of the payload whatever begins like this.
    fn is_signature(&self) -> bool {
        self.name.starts_with(b"gpgsig")
    }
}

/// The headers in their order.
struct Fields<'a> {
    rest: VecDeque<Field<'a>>,
    /// Their bytes, but those of signatures.
    payload: Vec<u8>,
}

impl<'a> Fields<'a> {
    fn of(head: &'a [u8]) -> Result<Self, Untrusted> {
        let mut rest: VecDeque<Field<'a>> = VecDeque::new();
        let mut payload = Vec::with_capacity(head.len());
        for line in head.split(|byte| *byte == b'\n') {
            if let Some(continued) = line.strip_prefix(b" ") {
                let field = rest.back_mut();
                let field = field.ok_or_else(|| Untrusted::commit("a tree first", line))?;
                field.lines.push(continued);
            } else {
                rest.push_back(field(line)?);
            }
            if rest.len() > 4 + PARENT_LIMIT + HEADER_LIMIT {
                return Err(Untrusted::commit("fewer headers", line));
            }
            if !rest.back().is_some_and(Field::is_signature) {
                payload.extend_from_slice(line);
                payload.push(b'\n');
            }
        }
        Ok(Self { rest, payload })
    }

    /// Takes the next header, which has to be this one.
    fn required(&mut self, name: &'static str) -> Result<Field<'a>, Untrusted> {
        match self.rest.pop_front() {
            Some(field) if field.name == name.as_bytes() => Ok(field),
            Some(field) => Err(Untrusted::commit(in_order(name), field.name)),
            None => Err(Untrusted::commit(in_order(name), b"the end of the headers")),
        }
    }

    fn parents(&mut self) -> Result<Vec<CommitId>, Untrusted> {
        let mut parents = Vec::new();
        while self.rest.front().is_some_and(|it| it.name == b"parent") {
            parents.push(hexadecimal_id(self.required("parent")?.value()?)?);
            if parents.len() > PARENT_LIMIT {
                return Err(Untrusted::commit("at most 64 parents", b"more"));
            }
        }
        Ok(parents)
    }
}

fn in_order(name: &'static str) -> &'static str {
    match name {
        "tree" => "a tree first",
        "author" => "an author after tree and parents",
        _ => "a committer after its author",
    }
}

fn field(line: &[u8]) -> Result<Field<'_>, Untrusted> {
    let space = line.iter().position(|byte| *byte == b' ');
    let (name, value) = match space {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => return Err(Untrusted::commit("headers of a name and a value", line)),
    };
    if !name.iter().all(u8::is_ascii_graphic) {
        return Err(Untrusted::commit("headers with names in ASCII", line));
    }
    Ok(Field {
        name,
        lines: vec![value],
    })
}

/// Separates the signature from the other headers.
fn extra_headers(
    fields: &VecDeque<Field<'_>>,
) -> Result<(Vec<Header>, Option<Vec<u8>>), Untrusted> {
    if fields.len() > HEADER_LIMIT {
        return Err(Untrusted::commit("at most 64 extra headers", b"more"));
    }
    let signatures: Vec<_> = fields.iter().filter(|it| it.is_signature()).collect();
    let signature = match signatures.as_slice() {
        [] => None,
        [field] if field.name == b"gpgsig" => Some(field.text()),
        // It is over the same commit in a SHA-256 repository, so not over these bytes.
        [field] if field.name == b"gpgsig-sha256" => None,
        [field] => {
            return Err(Untrusted::commit(
                "no other signature than gpgsig",
                field.name,
            ));
        }
        [_, _, ..] => return Err(Untrusted::SeveralSignatures),
    };
    let mut headers = Vec::new();
    for field in fields.iter().filter(|it| !it.is_signature()) {
        let once = [&b"tree"[..], b"parent", b"author", b"committer"];
        if once.contains(&field.name) || is_second_encoding(field, &headers) {
            return Err(Untrusted::commit(
                "each header once and in order",
                field.name,
            ));
        }
        headers.push(Header {
            name: shown(field.name),
            value: field.lines.join(&b'\n'),
        });
    }
    Ok((headers, signature))
}

fn is_second_encoding(field: &Field<'_>, headers: &[Header]) -> bool {
    field.name == b"encoding" && headers.iter().any(|header| header.name == "encoding")
}

fn hexadecimal(value: &[u8]) -> Result<String, Untrusted> {
    hexadecimal_id(value).map(String::from)
}

/// An id as git writes it.
pub(super) fn hexadecimal_id(value: &[u8]) -> Result<CommitId, Untrusted> {
    let text = String::from_utf8_lossy(value).into_owned();
    CommitId::try_from(text).map_err(|_| Untrusted::commit("ids of 40 hexadecimal digits", value))
}

/// `name <email> seconds +hhmm`, as git fsck wants it.
pub(super) fn identity(value: &[u8]) -> Result<Identity, Untrusted> {
    let malformed = || Untrusted::commit("people as `name <email> seconds +0000`", value);
    let opening = value.iter().position(|byte| b"<>".contains(byte));
    let (name, rest) = value.split_at(opening.ok_or_else(malformed)?);
    let rest = rest.strip_prefix(b"<").ok_or_else(malformed)?;
    let name = name.strip_suffix(b" ").ok_or_else(malformed)?;
    let closing = rest.iter().position(|byte| b"<>".contains(byte));
    let (email, rest) = rest.split_at(closing.ok_or_else(malformed)?);
    let rest = rest.strip_prefix(b"> ").ok_or_else(malformed)?;
    let at = time(rest).ok_or_else(malformed)?;
    Ok(Identity {
        name: String::from_utf8_lossy(name).into_owned(),
        email: String::from_utf8_lossy(email).into_owned(),
        at,
    })
}

/// `seconds +hhmm`. The zone changes how the time is shown, not which it is.
fn time(text: &[u8]) -> Option<Timestamp> {
    let (seconds, zone) = std::str::from_utf8(text).ok()?.split_once(' ')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let zone = zone.strip_prefix(['+', '-'])?;
    let padded = seconds.len() > 1 && seconds.starts_with('0');
    if zone.len() != 4 || !digits(zone) || padded || !digits(seconds) {
        return None;
    }
    Timestamp::from_second(seconds.parse().ok()?).ok()
}

/// The end of something long.
fn tail(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.len().saturating_sub(40)..]
}
