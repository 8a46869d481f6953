//! OpenPGP's ASCII armor, read strictly.
//!
//! In: a text. Out: the bytes of its blocks. Must not: look for a block within
//! something else, as other programs do; two of them could find two.

use crate::trust::base64;
use crate::trust::key_file::Mistake;
use crate::trust::untrusted::Untrusted;

const BEGIN_KEY: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END_KEY: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// The bytes of a detached signature. The text is one block and nothing else.
pub(super) fn signature(armored: &[u8]) -> Result<Vec<u8>, Untrusted> {
    let expected = "its first and its last line, and nothing behind them";
    let text = std::str::from_utf8(armored).ok();
    let body = text
        .and_then(|it| it.strip_prefix("-----BEGIN PGP SIGNATURE-----\n"))
        // gpg ends its block with a line break, and git adds one where a tool does not.
        .and_then(|it| {
            it.trim_end_matches('\n')
                .strip_suffix("-----END PGP SIGNATURE-----")
        });
    let body = body.ok_or_else(|| {
        let from = armored.len().saturating_sub(40);
        Untrusted::signature(expected, &armored[from..])
    })?;
    let lines: Vec<&str> = body.split_terminator('\n').collect();
    block(&lines).ok_or_else(|| Untrusted::signature("headers, an empty line, base 64", armored))
}

/// The bytes of every block of public keys. Between blocks there may be empty
/// lines and comments that begin with `#`.
pub(super) fn public_keys(text: &str) -> Result<Vec<Vec<u8>>, Mistake> {
    let mut blocks = Vec::new();
    let mut open: Option<Vec<&str>> = None;
    let mut number = 0;
    for line in text.lines() {
        number += 1;
        match (&mut open, line) {
            (None, BEGIN_KEY) => open = Some(Vec::new()),
            (None, line) if line.trim().is_empty() || line.starts_with('#') => {}
            (None, line) => return Err(Mistake::in_line(number, BEGIN_KEY, line)),
            (Some(lines), END_KEY) => {
                let expected = "a block of headers, an empty line, and base 64";
                let bytes = block(lines);
                blocks.push(bytes.ok_or_else(|| Mistake::in_line(number, expected, line))?);
                open = None;
            }
            (Some(lines), line) => lines.push(line),
        }
    }
    match open {
        None => Ok(blocks),
        Some(_) => Err(Mistake::in_line(number, END_KEY, "the end of the text")),
    }
}

/// Headers, an empty line, base 64, and a checksum, which nothing depends on
/// (RFC 9580, 6.1): what counts is signed.
fn block(lines: &[&str]) -> Option<Vec<u8>> {
    let empty = lines.iter().position(|line| line.is_empty())?;
    let (headers, body) = (&lines[..empty], &lines[empty + 1..]);
    if !headers.iter().all(|line| line.contains(": ")) {
        return None;
    }
    let body = match body {
        [body @ .., checksum] if checksum.len() == 5 && checksum.starts_with('=') => body,
        body => body,
    };
    let bytes = base64::decode(body.concat().as_bytes())?;
    (!bytes.is_empty()).then_some(bytes)
}
