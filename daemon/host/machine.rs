//! What only this machine has.
//!
//! In: its id. Out: a number that is drawn from it. Must not: show the id, or
//! anything that it could be found out from: it is confidential
//! (machine-id(5)).

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::host::random;
use crate::model::system::BootId;

/// Where the id is.
const MACHINE_ID: &str = "/etc/machine-id";

/// Makes the number ours: another program that hashes the id gets another.
const APPLICATION: &[u8] = b"deploy-flake: when to look\0";

/// A number for this machine in this boot. Machines that were cloned with
/// their id differ by the boot; one without an id draws.
pub fn seed(boot: &BootId) -> u64 {
    match fs::read_to_string(Path::new(MACHINE_ID)) {
        Ok(id) if !id.trim().is_empty() => hash(id.trim(), boot),
        Ok(_) | Err(_) => random::bits(),
    }
}

fn hash(id: &str, boot: &BootId) -> u64 {
    let digest = Sha256::new()
        .chain_update(APPLICATION)
        .chain_update(id)
        .chain_update(&boot.0)
        .finalize();
    digest
        .iter()
        .take(8)
        .fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_and_boots_differ() {
        let boot = |name: &str| BootId(name.to_owned());
        let one = hash("0123456789abcdef0123456789abcdef", &boot("1"));
        assert_eq!(one, hash("0123456789abcdef0123456789abcdef", &boot("1")));
        assert_ne!(one, hash("0123456789abcdef0123456789abcdef", &boot("2")));
        assert_ne!(one, hash("1123456789abcdef0123456789abcdef", &boot("1")));
    }
}
