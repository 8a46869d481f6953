//! The only source of random bits.
//!
//! In: nothing. Out: bits for jitter, and ids. Must not: be called by
//! decisions; they get random bits as an argument.

use std::io;

/// Random bits from the kernel.
///
/// # Panics
/// Only where the kernel has no random numbers at all, which Linux rules out
/// for requests of this size once it is up.
pub fn bits() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes).expect("a kernel that is up has 8 random bytes for everybody");
    u64::from_ne_bytes(bytes)
}

/// getrandom(2) never fails for so few bytes without flags.
#[cfg(target_os = "linux")]
fn fill(bytes: &mut [u8; 8]) -> io::Result<()> {
    use rustix::rand::{GetRandomFlags, getrandom};

    getrandom(&mut bytes[..], GetRandomFlags::empty())?;
    Ok(())
}

/// Elsewhere the kernel's random bits are a device, which everybody may read.
#[cfg(not(target_os = "linux"))]
fn fill(bytes: &mut [u8; 8]) -> io::Result<()> {
    use std::io::Read as _;

    std::fs::File::open("/dev/urandom")?.read_exact(bytes)
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
