//! OpenSSH's binary lists of revoked keys (PROTOCOL.krl).
//!
//! In: bytes. Out: keys and fingerprints. Must not: skip a part that could
//! revoke a plain key. Parts about certificates are skipped: certificates are
//! never accepted here.

use super::key_file::Mistake;
use super::wire::Wire;

/// How each file of this format begins.
pub(super) const MAGIC: &[u8] = b"SSHKRL\n\0";

const FORMAT_VERSION: u32 = 1;

/// What the list revokes.
#[derive(Default)]
pub(super) struct Krl<'a> {
    /// Whole keys in SSH's encoding.
    pub(super) keys: Vec<&'a [u8]>,
    /// SHA-1 of such keys.
    pub(super) sha1: Vec<&'a [u8]>,
    /// SHA-256 of such keys.
    pub(super) sha256: Vec<&'a [u8]>,
}

/// Parses the whole list.
pub(super) fn parse(bytes: &[u8]) -> Result<Krl<'_>, Mistake> {
    let mut wire = Wire(bytes);
    let result = header(&mut wire).and_then(|()| sections(&mut wire));
    let at = bytes.len() - wire.0.len();
    result.map_err(|expected| {
        let found = &bytes[at..bytes.len().min(at + 16)];
        Mistake::new(format!("byte {at}"), expected, found)
    })
}

type Expected = &'static str;

fn header(wire: &mut Wire<'_>) -> Result<(), Expected> {
    let cut = "the header of a revocation list";
    if wire.take(MAGIC.len()) != Some(MAGIC) {
        return Err(cut);
    }
    if wire.u32() != Some(FORMAT_VERSION) {
        return Err("version 1 of the format");
    }
    // Version, date of generation, flags: eight bytes each.
    wire.take(24).ok_or(cut)?;
    let _reserved = wire.string().ok_or(cut)?;
    let _comment = wire.string().ok_or(cut)?;
    Ok(())
}

fn sections<'a>(wire: &mut Wire<'a>) -> Result<Krl<'a>, Expected> {
    const CERTIFICATES: u8 = 1;
    const EXPLICIT_KEY: u8 = 2;
    const FINGERPRINT_SHA1: u8 = 3;
    const FINGERPRINT_SHA256: u8 = 5;
    let mut krl = Krl::default();
    while !wire.is_at_end() {
        let before = *wire;
        let kind = wire.byte().ok_or("a section")?;
        let body = wire.string().ok_or("a section as long as it says")?;
        match kind {
            CERTIFICATES => {}
            EXPLICIT_KEY => krl.keys.extend(strings(body, None)?),
            FINGERPRINT_SHA1 => krl.sha1.extend(strings(body, Some(20))?),
            FINGERPRINT_SHA256 => krl.sha256.extend(strings(body, Some(32))?),
            _ => {
                *wire = before;
                return Err("sections of keys, fingerprints or certificates only");
            }
        }
    }
    Ok(krl)
}

fn strings(body: &[u8], length: Option<usize>) -> Result<Vec<&[u8]>, Expected> {
    let mut wire = Wire(body);
    let mut strings = Vec::new();
    while !wire.is_at_end() {
        let string = wire.string().ok_or("entries as long as they say")?;
        if string.is_empty() || length.is_some_and(|length| length != string.len()) {
            return Err("entries as long as their hash");
        }
        strings.push(string);
    }
    Ok(strings)
}
