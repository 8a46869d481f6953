//! What the files of keys have in common: mistakes that are told, and public
//! keys of SSH.
//!
//! In: a line. Out: a key, or what is wrong with it. Must not: go on after a
//! mistake; half a list of keys is not a list of keys.

use ssh_key::public::KeyData;
use ssh_key::{Algorithm, HashAlg, PublicKey};

use super::untrusted::{Untrusted, shown};

/// The largest file of keys, in bytes.
pub const FILE_LIMIT: usize = 4 << 20;

/// The smallest RSA key that is believed, in bits.
pub(super) const RSA_BITS: usize = 2048;

/// A file of keys says something that is not understood, so all of it is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: expected {expected}, found {found:?}")]
pub struct Mistake {
    /// Where, such as `line 3`.
    pub at: String,
    pub expected: &'static str,
    /// What stands there, safe to show.
    pub found: String,
}

impl Mistake {
    pub(super) fn new(at: String, expected: &'static str, found: &[u8]) -> Self {
        let found = shown(found);
        Self {
            at,
            expected,
            found,
        }
    }

    pub(super) fn in_line(number: usize, expected: &'static str, found: &str) -> Self {
        Self::new(format!("line {number}"), expected, found.as_bytes())
    }
}

/// Parses `type base64 comment`.
pub(super) fn public_key(number: usize, text: &str) -> Result<KeyData, Mistake> {
    let kind = text.split_whitespace().next().unwrap_or_default();
    if is_certificate(kind) {
        let expected = "a public key that is no certificate";
        return Err(Mistake::in_line(number, expected, kind));
    }
    let key = PublicKey::from_openssh(text.trim()).ok();
    let key = key.filter(|key| is_known(key.key_data()));
    let expected = "a public key of SSH, as in a file that ends in .pub";
    key.map(|key| key.key_data().clone())
        .ok_or_else(|| Mistake::in_line(number, expected, text))
}

/// Whether the type is the one of a certificate instead of a key.
pub(super) fn is_certificate(kind: &str) -> bool {
    kind.contains("-cert-v0")
}

fn is_known(key: &KeyData) -> bool {
    !matches!(key, KeyData::Other(_))
}

/// `SHA256:` and base 64, as `ssh-keygen -l` shows it.
pub(super) fn fingerprint(key: &KeyData) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// Whether signatures by such a key are believed at all.
pub(super) fn strong_enough(key: &KeyData) -> Result<(), Untrusted> {
    let weak = |found: String| Err(Untrusted::WeakAlgorithm { found });
    if let KeyData::Rsa(rsa) = key {
        let bits = bits(rsa.n.as_positive_bytes().unwrap_or_default());
        return match bits {
            RSA_BITS.. => Ok(()),
            _ => weak(format!("RSA with {bits} bits")),
        };
    }
    let algorithm = key.algorithm();
    if algorithm == Algorithm::Dsa {
        return weak("DSA".to_owned());
    }
    let strong = matches!(
        algorithm,
        Algorithm::Ecdsa { .. }
            | Algorithm::Ed25519
            | Algorithm::SkEcdsaSha2NistP256
            | Algorithm::SkEd25519
    );
    if strong {
        return Ok(());
    }
    let found = shown(algorithm.as_str().as_bytes());
    Err(Untrusted::UnknownAlgorithm { found })
}

/// The length of a big-endian number.
pub(super) fn bits(number: &[u8]) -> usize {
    let mut significant = number.iter().skip_while(|byte| **byte == 0);
    let first = significant.next().copied().unwrap_or_default();
    let leading = usize::try_from(8 - first.leading_zeros()).unwrap_or_default();
    leading + 8 * significant.count()
}
