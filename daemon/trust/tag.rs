//! An annotated tag, parsed strictly: what a signed heartbeat is.
//!
//! In: the object's bytes, without the `tag <size>\0` that git hashes before
//! them. Out: its id, what it names, and what was signed. Must not: guess. What
//! git fsck refuses, and what two programs could read in two ways, is an error.

use super::commit::{Identity, digest, hexadecimal_id, identity};
use super::untrusted::Untrusted;
use crate::model::revision::{CommitId, TagId, TagName};

/// The largest tag object that is looked at, in bytes; an ordinary one has a
/// few hundred.
pub const OBJECT_LIMIT: usize = 64 << 10;

/// How the first line of any signature begins.
const BEGIN: &[u8] = b"-----BEGIN ";

/// A tag of a commit whose bytes leave no doubt about what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The SHA-1 of the object, computed here.
    pub id: TagId,
    /// The commit that it names.
    pub commit: CommitId,
    /// Its own name; the ref that leads to it may have another.
    pub name: TagName,
    /// Who made it, and when.
    pub tagger: Identity,
    /// The text of the signature.
    pub signature: Option<Vec<u8>>,
    /// What was signed: the object up to its signature.
    pub payload: Vec<u8>,
}

impl Tag {
    /// Parses a tag object: four headers and no other, a message, at most one
    /// signature.
    pub fn parse(object: &[u8]) -> Result<Self, Untrusted> {
        if object.len() > OBJECT_LIMIT {
            return Err(Untrusted::TagTooLarge {
                limit: OBJECT_LIMIT,
                found: object.len(),
            });
        }
        if let Some(at) = object.iter().position(|byte| *byte == 0) {
            let before = &object[at.saturating_sub(40)..=at];
            return Err(Untrusted::tag("no NUL", before));
        }
        let id = object_id(object)?;
        let mut lines = Lines(object);
        let commit = lines.header("object", "the object first")?;
        let commit = hexadecimal_id(commit)
            .map_err(|_| Untrusted::tag("ids of 40 hexadecimal digits", commit))?;
        match lines.header("type", "a type after its object")? {
            b"commit" => {}
            other => return Err(Untrusted::tag("a commit as its object", other)),
        }
        let name = name(lines.header("tag", "a name after its type")?)?;
        let tagger = lines.header("tagger", "a tagger after its name")?;
        let tagger = identity(tagger)
            .map_err(|_| Untrusted::tag("its tagger as `name <email> seconds +0000`", tagger))?;
        let empty = "an empty line after its tagger";
        match lines.next(empty)? {
            b"" => {}
            other => return Err(Untrusted::tag(empty, other)),
        }
        let (payload, signature) = split_signature(object, lines.0)?;
        Ok(Self {
            id,
            commit,
            name,
            tagger,
            signature: signature.map(<[u8]>::to_vec),
            payload: payload.to_vec(),
        })
    }
}

/// The id that git gives to these bytes; see [`digest`].
fn object_id(object: &[u8]) -> Result<TagId, Untrusted> {
    let header = format!("tag {}\0", object.len());
    let digest = digest(&[header.as_bytes(), object])?;
    hexadecimal_id(digest.as_bytes()).map(TagId)
}

fn name(value: &[u8]) -> Result<TagName, Untrusted> {
    let text = String::from_utf8_lossy(value).into_owned();
    TagName::try_from(text).map_err(|_| Untrusted::tag("a plain name", value))
}

/// What of an object was not read yet.
struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    fn next(&mut self, expected: &'static str) -> Result<&'a [u8], Untrusted> {
        let end = self.0.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or_else(|| Untrusted::tag(expected, self.0))?;
        let (line, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        Ok(line)
    }

    /// The value of the next header, which has to be this one.
    fn header(&mut self, name: &str, expected: &'static str) -> Result<&'a [u8], Untrusted> {
        let line = self.next(expected)?;
        let value = line.strip_prefix(name.as_bytes());
        let value = value.and_then(|rest| rest.strip_prefix(b" "));
        value.ok_or_else(|| Untrusted::tag(expected, line))
    }
}

/// Where in the message the signature begins: git takes the last line that may
/// begin one, so there has to be only one.
fn split_signature<'a>(
    object: &'a [u8],
    message: &[u8],
) -> Result<(&'a [u8], Option<&'a [u8]>), Untrusted> {
    let mut at = object.len() - message.len();
    let mut begins = Vec::new();
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(BEGIN) {
            begins.push(at);
        }
        at += line.len();
    }
    match begins.as_slice() {
        [] => Ok((object, None)),
        [at] => Ok((&object[..*at], Some(&object[*at..]))),
        [_, _, ..] => Err(Untrusted::SeveralSignatures),
    }
}
