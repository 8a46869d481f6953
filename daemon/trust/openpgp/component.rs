//! A key or subkey, with what its owner said of it.
//!
//! In: a key packet and the signatures that bind it. Out: whether it may sign at
//! a given time. Must not: count a binding that it did not verify.

use jiff::Timestamp;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{PublicKey, PublicSubkey, Signature};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, PublicParams};

use super::{CLOCK_TOLERANCE, ending, instant};
use crate::trust::key_file::RSA_BITS;
use crate::trust::revocation::Revoked;
use crate::trust::untrusted::Untrusted;

/// A key that may have made a signature.
#[derive(Clone, Debug)]
pub(super) struct Component {
    pub(super) packet: KeyPacket,
    /// In upper-case hexadecimal digits.
    pub(super) fingerprint: String,
    /// Its owner revoked it.
    pub(super) revoked: bool,
    /// What its owner said of it, verified. One list for each user id of a
    /// primary key, one for the key itself, one for a subkey.
    pub(super) bindings: Vec<Vec<Binding>>,
}

#[derive(Clone, Debug)]
pub(super) enum KeyPacket {
    Primary(PublicKey),
    Subkey(PublicSubkey),
}

/// One statement of the owner about a key.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    made_at: Timestamp,
    /// The statement is not valid from then on.
    valid_until: Option<Timestamp>,
    /// The key is not valid from then on.
    key_until: Option<Timestamp>,
    /// Whether the key may sign data.
    pub(super) may_sign: bool,
}

impl Component {
    pub(super) fn new(packet: KeyPacket, revoked: bool) -> Self {
        Self {
            fingerprint: format!("{:X}", packet.details().fingerprint()),
            packet,
            revoked,
            bindings: Vec::new(),
        }
    }

    /// When the key was made; it is part of what its fingerprint is over.
    pub(super) fn created_at(&self) -> Timestamp {
        instant(self.packet.details().created_at().as_secs()).unwrap_or(Timestamp::MAX)
    }

    /// What a verified signature says of this key; nothing, without a time.
    pub(super) fn binding(&self, signature: &Signature, may_sign: bool) -> Option<Binding> {
        let made_at = signature.created().and_then(|it| instant(it.as_secs()))?;
        let valid_for = signature.signature_expiration_time().map(|it| it.as_secs());
        let key_for = signature.key_expiration_time().map(|it| it.as_secs());
        Some(Binding {
            made_at,
            valid_until: ending(made_at, valid_for),
            key_until: ending(self.created_at(), key_for),
            may_sign,
        })
    }

    /// Whether the key is one to be believed at all: strong, its own, not revoked, not expired.
    pub(super) fn stands(&self, revoked: &Revoked, now: Timestamp) -> Result<(), Untrusted> {
        let key = || self.fingerprint.clone();
        self.strong()?;
        if self.revoked || revoked.has_openpgp(&self.fingerprint) {
            return Err(Untrusted::KeyRevoked { key: key() });
        }
        if self.created_at() > now + CLOCK_TOLERANCE {
            let from = self.created_at();
            return Err(Untrusted::KeyNotYetValid { key: key(), from });
        }
        let mut current = self.current(now).peekable();
        if current.peek().is_none() {
            let missing = "a valid and strong signature of its owner";
            return Err(Untrusted::KeyNotBound {
                key: key(),
                missing,
            });
        }
        // Every user id says when the key ends. Whoever shortened one of them meant it.
        let until = current.filter_map(|binding| binding.key_until).min();
        match until.filter(|until| now >= *until) {
            Some(until) => Err(Untrusted::KeyExpired { key: key(), until }),
            None => Ok(()),
        }
    }

    /// Whether its owner lets it sign data.
    pub(super) fn may_sign(&self, now: Timestamp) -> Result<(), Untrusted> {
        if self.current(now).any(|binding| binding.may_sign) {
            return Ok(());
        }
        let key = self.fingerprint.clone();
        Err(Untrusted::KeyMayNotSign { key })
    }

    /// The newest valid statement of each list.
    fn current(&self, now: Timestamp) -> impl Iterator<Item = &Binding> {
        let is_valid = move |binding: &&Binding| {
            let ended = binding.valid_until.is_some_and(|until| now >= until);
            binding.made_at <= now + CLOCK_TOLERANCE && !ended
        };
        let newest = move |list: &'_ Vec<Binding>| -> Option<usize> {
            let valid = list.iter().enumerate().filter(|(_, it)| is_valid(it));
            valid.max_by_key(|(_, it)| it.made_at).map(|(at, _)| at)
        };
        self.bindings
            .iter()
            .filter_map(move |list| newest(list).and_then(|at| list.get(at)))
    }

    fn strong(&self) -> Result<(), Untrusted> {
        let details = self.packet.details();
        let weak = |found: String| Err(Untrusted::WeakAlgorithm { found });
        if let PublicParams::RSA(rsa) = details.public_params() {
            // A number begins with its length in bits, and the first number is the modulus.
            let bytes = rsa.to_bytes().unwrap_or_default();
            let bits = bytes.first_chunk().map_or(0, |it| u16::from_be_bytes(*it));
            return match usize::from(bits) {
                RSA_BITS.. => Ok(()),
                _ => weak(format!("RSA with {bits} bits")),
            };
        }
        let algorithm = details.algorithm();
        let strong = matches!(
            algorithm,
            PublicKeyAlgorithm::ECDSA
                | PublicKeyAlgorithm::EdDSALegacy
                | PublicKeyAlgorithm::Ed25519
                | PublicKeyAlgorithm::Ed448
        );
        if strong {
            Ok(())
        } else {
            weak(format!("{algorithm:?}"))
        }
    }
}

impl KeyPacket {
    pub(super) fn details(&self) -> &dyn KeyDetails {
        match self {
            Self::Primary(key) => key,
            Self::Subkey(key) => key,
        }
    }

    pub(super) fn made(&self, signature: &Signature, payload: &[u8]) -> bool {
        match self {
            Self::Primary(key) => signature.verify(key, payload).is_ok(),
            Self::Subkey(key) => signature.verify(key, payload).is_ok(),
        }
    }
}
