//! The keys that are never believed again.
//!
//! In: a text of public keys and fingerprints, or a revocation list of OpenSSH.
//! Out: whether a key is among them. Must not: leave anything out that it does
//! not understand.
//!
//! ```text
//! # a comment
//! ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI... alice's lost notebook
//! SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU
//! 0123 4567 89AB CDEF 0123  4567 89AB CDEF 0123 4567
//! ```

use std::collections::HashSet;

use gix::hash::{Kind, hasher};
use sha2::{Digest, Sha256};
use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey};

use super::base64;
use super::key_file::{FILE_LIMIT, Mistake, public_key};
use super::krl;

/// The keys that are revoked, by their fingerprints.
#[derive(Clone, Debug, Default)]
pub struct Revoked {
    /// Of SSH keys.
    sha256: HashSet<[u8; 32]>,
    /// Of SSH keys, in hexadecimal digits; only a revocation list has them.
    sha1: HashSet<String>,
    /// Of OpenPGP keys and subkeys, in upper-case hexadecimal digits.
    openpgp: HashSet<String>,
}

impl Revoked {
    /// Parses either format; which one it is shows in its first bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Mistake> {
        let file = || "the file".to_owned();
        if bytes.len() > FILE_LIMIT {
            return Err(Mistake::new(file(), "at most 4 MiB", b"more"));
        }
        if bytes.starts_with(krl::MAGIC) {
            return Ok(Self::of_krl(&krl::parse(bytes)?));
        }
        let text = std::str::from_utf8(bytes);
        let expected = "text in UTF-8 or a revocation list of OpenSSH";
        Self::of_text(text.map_err(|_| Mistake::new(file(), expected, bytes))?)
    }

    fn of_text(text: &str) -> Result<Self, Mistake> {
        let mut revoked = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                revoked.add(index + 1, line)?;
            }
        }
        Ok(revoked)
    }

    fn add(&mut self, number: usize, line: &str) -> Result<(), Mistake> {
        if let Some(text) = line.strip_prefix("SHA256:") {
            let digest = ssh_fingerprint(text);
            let expected = "SHA256: and 43 digits of base 64, as ssh-keygen -l shows it";
            let digest = digest.ok_or_else(|| Mistake::in_line(number, expected, line))?;
            self.sha256.insert(digest);
        } else if let Some(digits) = openpgp_fingerprint(line) {
            self.openpgp.insert(digits);
        } else {
            let key = public_key(number, line).map_err(|mistake| match mistake.expected {
                certificate if certificate.contains("certificate") => mistake,
                _ => {
                    let expected = "a public key of SSH, SHA256:..., or a fingerprint of OpenPGP";
                    Mistake::in_line(number, expected, line)
                }
            })?;
            self.add_key(&key);
        }
        Ok(())
    }

    fn add_key(&mut self, key: &KeyData) {
        self.sha256
            .extend(key.fingerprint(HashAlg::Sha256).sha256());
    }

    fn of_krl(list: &krl::Krl<'_>) -> Self {
        let mut revoked = Self::default();
        for key in &list.keys {
            revoked.sha256.insert(Sha256::digest(key).into());
            if let Ok(key) = PublicKey::from_bytes(key) {
                revoked.add_key(key.key_data());
            }
        }
        let digests = list.sha256.iter();
        let digests = digests.filter_map(|it| it.first_chunk::<32>());
        revoked.sha256.extend(digests);
        revoked
            .sha1
            .extend(list.sha1.iter().map(|it| hexadecimal(it)));
        revoked
    }

    /// Whether this SSH key is revoked.
    pub(super) fn has_ssh(&self, key: &KeyData) -> bool {
        let sha256 = key.fingerprint(HashAlg::Sha256).sha256();
        sha256.is_some_and(|it| self.sha256.contains(&it)) || self.has_sha1(key)
    }

    /// A key that cannot be hashed is made to collide with another: nobody's.
    fn has_sha1(&self, key: &KeyData) -> bool {
        if self.sha1.is_empty() {
            return false;
        }
        let mut sha1 = hasher(Kind::Sha1);
        match PublicKey::from(key.clone()).to_bytes() {
            Ok(bytes) => sha1.update(&bytes),
            Err(_) => return true,
        }
        let digest = sha1.try_finalize();
        digest.map_or(true, |digest| self.sha1.contains(&digest.to_string()))
    }

    /// Whether this OpenPGP key or subkey is revoked. In upper-case digits.
    #[cfg(feature = "openpgp")]
    pub(super) fn has_openpgp(&self, fingerprint: &str) -> bool {
        self.openpgp.contains(fingerprint)
    }
}

/// Without the padding that ssh-keygen leaves out; with it, too.
fn ssh_fingerprint(text: &str) -> Option<[u8; 32]> {
    let digits = text.split_whitespace().next()?.trim_end_matches('=');
    base64::decode(format!("{digits}=").as_bytes())?
        .try_into()
        .ok()
}

/// 40 (version 4) or 64 (version 6) digits, with or without gpg's spaces and `0x`.
fn openpgp_fingerprint(line: &str) -> Option<String> {
    let digits: String = line.split_whitespace().collect();
    let digits = digits.strip_prefix("0x").unwrap_or(&digits);
    let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let whole = hexadecimal && [40, 64].contains(&digits.len());
    whole.then(|| digits.to_ascii_uppercase())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
