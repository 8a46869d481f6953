//! Signatures by SSH keys (PROTOCOL.sshsig).
//!
//! In: what was signed, the armored signature, the keys, the time. Out: the
//! signer. Must not: believe anything of a signature before its key is known.
//!
//! The order of the checks decides which reason is told: first what can be said
//! of the signature alone, then whether the key is known and made it, and only
//! then what is wrong with the key.

use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey, Signature, SshSig};

use super::allowed_signers::{AllowedSigners, Entry};
use super::base64;
use super::key_file::{fingerprint, is_certificate, strong_enough};
use super::keys::{Moment, Signer};
use super::revocation::Revoked;
use super::untrusted::{Untrusted, shown};
use super::wire::Wire;

/// How the text begins.
pub(super) const BEGIN: &[u8] = b"-----BEGIN SSH SIGNATURE-----\n";

const END: &[u8] = b"-----END SSH SIGNATURE-----\n";

/// What git has its signatures made for.
const NAMESPACE: &str = "git";

/// The longest line of base 64; ssh-keygen's have 70 digits.
const LINE_LIMIT: usize = 128;

/// Where a security key says that somebody touched it.
const USER_PRESENT: u8 = 0x01;

/// Verifies the signature over the payload.
pub(super) fn verify(
    payload: &[u8],
    armored: &[u8],
    allowed: &AllowedSigners,
    revoked: &Revoked,
    moment: Moment,
) -> Result<Signer, Untrusted> {
    let decoded = Decoded::of(armored)?;
    let key = fingerprint(&decoded.key);
    strong_enough(&decoded.key)?;
    let entries: Vec<&Entry> = allowed.entries_of(&decoded.key).collect();
    if entries.is_empty() {
        return Err(Untrusted::UnknownKey { key });
    }
    decoded.verify(payload)?;
    if revoked.has_ssh(&decoded.key) {
        return Err(Untrusted::KeyRevoked { key });
    }
    let entry = vouching(&entries, &key, moment)?;
    Ok(Signer {
        principal: entry.principal.clone(),
        key,
    })
}

/// The first of the key's lines that lets it sign now. If there is none, the
/// last line's reason is told.
fn vouching<'a>(entries: &[&'a Entry], key: &str, moment: Moment) -> Result<&'a Entry, Untrusted> {
    let mut reason = Untrusted::UnknownKey {
        key: key.to_owned(),
    };
    for entry in entries {
        match objection(entry, key, moment) {
            None => return Ok(entry),
            Some(objection) => reason = objection,
        }
    }
    Err(reason)
}

fn objection(entry: &Entry, key: &str, moment: Moment) -> Option<Untrusted> {
    let key = || key.to_owned();
    if !entry.may_sign_for(NAMESPACE) {
        return Some(Untrusted::KeyNotForGit { key: key() });
    }
    // The time that counts is the present: who has a retired key can date a commit back.
    if let Some(from) = entry.valid_after.filter(|from| moment.now < *from) {
        return Some(Untrusted::KeyNotYetValid { key: key(), from });
    }
    if let Some(until) = entry.valid_before.filter(|until| moment.now >= *until) {
        return Some(Untrusted::KeyExpired { key: key(), until });
    }
    // git looks at the commit's own time; what it refuses is refused here, too.
    let at = moment.made_at;
    let early = entry.valid_after.is_some_and(|from| at < from);
    let late = entry.valid_before.is_some_and(|until| at >= until);
    (early || late).then(|| Untrusted::DatedOutsideValidity { key: key(), at })
}

/// A signature whose parts are known, but not whether it fits.
struct Decoded {
    key: KeyData,
    hash: HashAlg,
    signature: Signature,
}

impl Decoded {
    fn of(armored: &[u8]) -> Result<Self, Untrusted> {
        let blob = dearmor(armored)?;
        let parts = Parts::of(&blob)?;
        if parts.namespace != NAMESPACE.as_bytes() {
            let found = shown(parts.namespace);
            return Err(Untrusted::WrongNamespace { found });
        }
        Ok(Self {
            key: key(parts.key)?,
            hash: hash(parts.hash)?,
            signature: signature(parts.signature)?,
        })
    }

    fn verify(&self, payload: &[u8]) -> Result<(), Untrusted> {
        let key = || fingerprint(&self.key);
        if self.lacks_user_presence() {
            return Err(Untrusted::NoUserPresence { key: key() });
        }
        let public = PublicKey::from(self.key.clone());
        let signature = SshSig::new(
            self.key.clone(),
            NAMESPACE,
            self.hash,
            self.signature.clone(),
        );
        let fits = signature.is_ok_and(|it| public.verify(NAMESPACE, payload, &it).is_ok());
        if fits {
            Ok(())
        } else {
            Err(Untrusted::BadSignature { key: key() })
        }
    }

    /// The last five bytes of a security key's signature are flags and a counter.
    fn lacks_user_presence(&self) -> bool {
        let security_key = matches!(
            self.key,
            KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_)
        );
        let bytes = self.signature.as_bytes();
        let flags = bytes.len().checked_sub(5).and_then(|at| bytes.get(at));
        security_key && flags.is_none_or(|flags| flags & USER_PRESENT == 0)
    }
}

/// The bytes between the two lines that frame them.
fn dearmor(armored: &[u8]) -> Result<Vec<u8>, Untrusted> {
    let expected = "its first and its last line, and nothing behind them";
    let body = armored
        .strip_prefix(BEGIN)
        .and_then(|it| it.strip_suffix(END));
    let body = body.ok_or_else(|| {
        let from = armored.len().saturating_sub(40);
        Untrusted::signature(expected, &armored[from..])
    })?;
    let mut digits = Vec::with_capacity(body.len());
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(text) if (1..=LINE_LIMIT).contains(&text.len()) => digits.extend_from_slice(text),
            Some(_) | None => return Err(Untrusted::signature("lines of base 64", line)),
        }
    }
    base64::decode(&digits).ok_or_else(|| Untrusted::signature("base 64", body))
}

/// The fields of a signature, not yet parsed.
struct Parts<'a> {
    key: &'a [u8],
    namespace: &'a [u8],
    hash: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(blob: &'a [u8]) -> Result<Self, Untrusted> {
        let mut wire = Wire(blob);
        if wire.take(6) != Some(b"SSHSIG") || wire.u32() != Some(1) {
            return Err(Untrusted::signature("SSHSIG in version 1", blob));
        }
        let cut = || Untrusted::signature("six fields", blob);
        let key = wire.string().ok_or_else(cut)?;
        let namespace = wire.string().ok_or_else(cut)?;
        let reserved = wire.string().ok_or_else(cut)?;
        let hash = wire.string().ok_or_else(cut)?;
        let signature = wire.string().ok_or_else(cut)?;
        if !reserved.is_empty() || !wire.is_at_end() {
            return Err(Untrusted::signature(
                "nothing reserved or behind it",
                wire.0,
            ));
        }
        Ok(Self {
            key,
            namespace,
            hash,
            signature,
        })
    }
}

fn key(blob: &[u8]) -> Result<KeyData, Untrusted> {
    let kind = Wire(blob).string().unwrap_or_default();
    if is_certificate(&String::from_utf8_lossy(kind)) {
        let found = shown(kind);
        return Err(Untrusted::Certificate { found });
    }
    let key = PublicKey::from_bytes(blob);
    let key = key.map_err(|_| Untrusted::signature("a key of SSH", kind))?;
    Ok(key.key_data().clone())
}

fn hash(name: &[u8]) -> Result<HashAlg, Untrusted> {
    match name {
        b"sha256" => Ok(HashAlg::Sha256),
        b"sha512" => Ok(HashAlg::Sha512),
        _ => Err(Untrusted::UnknownAlgorithm { found: shown(name) }),
    }
}

fn signature(blob: &[u8]) -> Result<Signature, Untrusted> {
    let kind = Wire(blob).string().unwrap_or_default();
    // Of RSA with SHA-1, and of DSA.
    if [&b"ssh-rsa"[..], b"ssh-dss"].contains(&kind) {
        let found = shown(kind);
        return Err(Untrusted::WeakAlgorithm { found });
    }
    let signature = Signature::try_from(blob)
        .ok()
        .filter(|_| ends_where_it_says(blob));
    signature.ok_or_else(|| Untrusted::signature("a signature of SSH", kind))
}

/// The crate does not look behind what it parses. A security key's flags and
/// counter are five bytes behind its signature.
fn ends_where_it_says(blob: &[u8]) -> bool {
    let mut wire = Wire(blob);
    let kind = wire.string().unwrap_or_default();
    let behind = if kind.starts_with(b"sk-") { 5 } else { 0 };
    wire.string().is_some() && wire.0.len() == behind
}
