//! Signatures by OpenPGP keys (RFC 9580).
//!
//! In: what was signed, the armored signature, the keyring, the time. Out: the
//! signer. Must not: leave the policy to the crate that does the arithmetic: it
//! accepts SHA-1, expired and revoked keys, and says so in its documentation.

mod armor;
mod component;
mod keyring;

use jiff::{SignedDuration, Timestamp};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{
    Packet, PacketParser, Signature, SignatureType, SignatureVersion, SubpacketData,
};

pub(super) use keyring::Keyring;

use super::keys::Signer;
use super::revocation::Revoked;
use super::untrusted::{Untrusted, shown};
use keyring::Candidate;

/// How far the clocks of signer and host may differ.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// Verifies the signature over the payload.
pub(super) fn verify(
    payload: &[u8],
    armored: &[u8],
    keyring: &Keyring,
    revoked: &Revoked,
    now: Timestamp,
) -> Result<Signer, Untrusted> {
    let signature = parse(armored)?;
    strong(&signature)?;
    let named: Vec<_> = keyring.named_by(&signature).collect();
    if named.is_empty() {
        let key = issuer(&signature);
        return Err(Untrusted::UnknownKey { key });
    }
    let fitting: Vec<_> = named
        .iter()
        .filter(|candidate| candidate.made(&signature, payload))
        .collect();
    // One key may be there twice, once of them revoked: what speaks against any speaks against all.
    for candidate in &fitting {
        candidate.stands(revoked, now)?;
    }
    let Some(Candidate { key, certificate }) = fitting.first() else {
        let key = issuer(&signature);
        return Err(Untrusted::BadSignature { key });
    };
    timely(&signature, key.created_at(), now)?;
    Ok(Signer {
        principal: certificate.user.clone(),
        key: key.fingerprint.clone(),
    })
}

/// Exactly one signature packet, over binary data.
fn parse(armored: &[u8]) -> Result<Signature, Untrusted> {
    let bytes = armor::signature(armored)?;
    let mut packets = PacketParser::new(bytes.as_slice());
    let one = "one packet with a signature";
    let signature = match packets.next() {
        Some(Ok(Packet::Signature(signature))) => signature,
        Some(_) | None => return Err(Untrusted::signature(one, &bytes)),
    };
    if packets.next().is_some() {
        return Err(Untrusted::signature(one, b"more"));
    }
    if signature.typ() != Some(SignatureType::Binary) {
        let found = format!("{:?}", signature.typ());
        return Err(Untrusted::signature(
            "a signature over binary data",
            found.as_bytes(),
        ));
    }
    Ok(signature)
}

/// Whether a digest of this kind says anything.
fn is_strong(hash: Option<HashAlgorithm>) -> bool {
    matches!(
        hash,
        Some(
            HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
                | HashAlgorithm::Sha3_256
                | HashAlgorithm::Sha3_512
        )
    )
}

fn strong(signature: &Signature) -> Result<(), Untrusted> {
    let version = signature.version();
    if !matches!(version, SignatureVersion::V4 | SignatureVersion::V6) {
        let found = format!("an OpenPGP signature of version {version:?}");
        return Err(Untrusted::WeakAlgorithm { found });
    }
    if !is_strong(signature.hash_alg()) {
        let hash = signature.hash_alg();
        let found = hash.map_or("no hash".to_owned(), |hash| hash.to_string());
        return Err(Untrusted::WeakAlgorithm { found });
    }
    Ok(())
}

/// Times, and whether the signature says anything that has to be understood and is not.
fn timely(signature: &Signature, key_at: Timestamp, now: Timestamp) -> Result<(), Untrusted> {
    let made_at = signature.created().and_then(|it| instant(it.as_secs()));
    let made_at = made_at.ok_or_else(|| Untrusted::signature("its time of creation", b"none"))?;
    if made_at > now + CLOCK_TOLERANCE {
        return Err(Untrusted::SignatureFromTheFuture { at: made_at });
    }
    if made_at < key_at {
        let found = made_at.to_string();
        return Err(Untrusted::signature(
            "a time later than its key's",
            found.as_bytes(),
        ));
    }
    let valid_for = signature.signature_expiration_time().map(|it| it.as_secs());
    if let Some(until) = ending(made_at, valid_for).filter(|until| now >= *until) {
        return Err(Untrusted::SignatureExpired { until });
    }
    match signature
        .config()
        .and_then(|it| it.hashed_subpackets().find(|it| is_unknown(it)))
    {
        Some(_) => Err(Untrusted::signature(
            "no critical part that is unknown",
            b"one",
        )),
        None => Ok(()),
    }
}

fn is_unknown(subpacket: &pgp::packet::Subpacket) -> bool {
    subpacket.is_critical
        && matches!(
            subpacket.data,
            SubpacketData::Other(..) | SubpacketData::Experimental(..) | SubpacketData::Notation(_)
        )
}

/// An OpenPGP time: seconds since 1970, in 32 bits.
fn instant(seconds: u32) -> Option<Timestamp> {
    Timestamp::from_second(i64::from(seconds)).ok()
}

/// When something ends that is valid for so many seconds; 0 means for ever.
fn ending(from: Timestamp, seconds: Option<u32>) -> Option<Timestamp> {
    let seconds = seconds.filter(|seconds| *seconds != 0)?;
    from.checked_add(SignedDuration::from_secs(i64::from(seconds)))
        .ok()
}

/// Whom the signature names, for people.
fn issuer(signature: &Signature) -> String {
    let fingerprint = signature
        .issuer_fingerprint()
        .first()
        .map(|it| format!("{it:X}"));
    let key_id = || {
        signature
            .issuer_key_id()
            .first()
            .map(|it| it.to_string().to_uppercase())
    };
    fingerprint
        .or_else(key_id)
        .unwrap_or_else(|| shown(b"no key"))
}
