//! The ledger from any bytes.
//!
//! In: any bytes. Out: nothing. Must not: panic, or take long; there is nothing
//! else that a caller could see.

use super::{VERSION, decode, encode, header_of};

/// Reads a ledger, and the same content under a header that fits it: else no
/// changed byte would ever come past the checksum.
///
/// # Panics
/// If what was understood is written as something else.
pub fn fuzz_ledger(bytes: &[u8]) {
    drop(decode(bytes));
    let content = bytes.split(|byte| *byte == b'\n').nth(1).unwrap_or(bytes);
    let header = header_of(VERSION, content);
    let whole = [header.as_bytes(), b"\n", content, b"\n"].concat();
    if let Ok(state) = decode(&whole) {
        let written = encode(&state).unwrap_or_default();
        assert_eq!(decode(&written).ok(), Some(state));
    }
}
