//! A pack that git would not make: by hand, byte by byte.

use gix::hash::{Kind, hasher};

use crate::fetcher::tests::protocol::claim;

/// Kinds of a pack's entries.
const BLOB: u8 = 3;
const DIFFERENCE: u8 = 6;

/// A pack of a blob, and of a difference to it that makes 129 MiB of it: each of
/// its commands is one byte, and copies all 64 KiB.
pub(super) fn of_copies() -> Vec<u8> {
    let base = vec![0; 1 << 16];
    let copies = vec![0x80; 129 << 4];
    let sizes = [base.len(), base.len() * copies.len()].map(sevens);
    let difference = [&*sizes[0], &*sizes[1], &*copies].concat();
    let mut pack = claim(2);
    let start = pack.len();
    pack.extend(entry(BLOB, base.len()));
    pack.extend(stored(&base));
    let distance = pack.len() - start;
    pack.extend(entry(DIFFERENCE, difference.len()));
    pack.extend(back(distance));
    pack.extend(stored(&difference));
    let mut sha1 = hasher(Kind::Sha1);
    sha1.update(&pack);
    let digest = sha1.try_finalize().expect("no collision");
    pack.extend(digest.as_slice());
    pack
}

/// The head of an entry.
fn entry(kind: u8, size: usize) -> Vec<u8> {
    let low = u8::try_from(size & 15).expect("4 bits");
    [vec![0x80 | kind << 4 | low], sevens(size >> 4)].concat()
}

/// A size: seven bits a byte, the lowest first, all but the last marked.
fn sevens(size: usize) -> Vec<u8> {
    let low = u8::try_from(size & 127).expect("7 bits");
    match size >> 7 {
        0 => vec![low],
        rest => [vec![0x80 | low], sevens(rest)].concat(),
    }
}

/// How far back a base is: seven bits a byte, the highest first, all but the
/// last marked, and less by one.
fn back(distance: usize) -> Vec<u8> {
    let digit = |number: usize| u8::try_from(number & 127).expect("7 bits");
    let mut digits = vec![digit(distance)];
    let mut rest = distance >> 7;
    while rest > 0 {
        rest -= 1;
        digits.insert(0, 0x80 | digit(rest));
        rest >>= 7;
    }
    digits
}

/// Deflated, that is not at all.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut all = vec![0x78, 0x01];
    let mut parts = bytes.chunks(usize::from(u16::MAX)).peekable();
    while let Some(part) = parts.next() {
        let length = u16::try_from(part.len()).expect("a part is no longer");
        all.push(u8::from(parts.peek().is_none()));
        all.extend(length.to_le_bytes());
        all.extend((!length).to_le_bytes());
        all.extend(part);
    }
    let (mut one, mut two) = (1_u32, 0);
    for byte in bytes {
        one = (one + u32::from(*byte)) % 65_521;
        two = (two + one) % 65_521;
    }
    all.extend((two << 16 | one).to_be_bytes());
    all
}
