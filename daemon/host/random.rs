//! The only source of random bits.
//!
//! In: nothing. Out: bits for jitter, and ids. Must not: be called by
//! decisions; they get random bits as an argument.

use rustix::rand::{GetRandomFlags, getrandom};

/// Random bits from the kernel.
///
/// # Panics
/// Only where the kernel has no random numbers at all, which Linux rules out
/// for requests of this size once it is up.
pub fn bits() -> u64 {
    let mut bytes = [0; 8];
    let filled = getrandom(&mut bytes[..], GetRandomFlags::empty());
    filled.expect("getrandom(2) never fails for 8 bytes without flags");
    u64::from_ne_bytes(bytes)
}

/// Sixteen random hexadecimal digits.
pub fn id() -> String {
    format!("{:016x}", bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_sixteen_digits_and_differ() {
        let (one, other) = (id(), id());
        assert_eq!((one.len(), other.len()), (16, 16));
        assert_ne!(one, other);
    }
}
