//! The keys that are trusted, and the verdict on one commit or tag.
//!
//! In: the texts of the keys, a commit or tag, the time. Out: who signed it, or
//! the one reason why nobody vouches for it. Must not: know where keys come from.

use jiff::Timestamp;

use super::allowed_signers::AllowedSigners;
use super::commit::Commit;
use super::key_file::Mistake;
#[cfg(feature = "openpgp")]
use super::openpgp;
use super::revocation::Revoked;
use super::ssh;
use super::tag::Tag;
use super::untrusted::{Untrusted, shown};

/// The files of keys, as they were read.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyTexts<'a> {
    /// SSH keys, in the format of ssh-keygen(1), section ALLOWED SIGNERS.
    pub allowed_signers: Option<&'a str>,
    /// OpenPGP keys: armored blocks of public keys, one file each.
    pub keyrings: &'a [&'a str],
    /// What is never believed again, whatever the other files say.
    pub revoked: Option<&'a [u8]>,
}

/// The keys that may vouch for commits.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    allowed_signers: AllowedSigners,
    #[cfg(feature = "openpgp")]
    keyring: openpgp::Keyring,
    #[cfg(not(feature = "openpgp"))]
    _keyring: (),
    revoked: Revoked,
}

/// A file of keys was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysRefused {
    #[error("the allowed signers are refused")]
    AllowedSigners(#[source] Mistake),
    /// With the place of the keyring among the others, from 0.
    #[error("OpenPGP keyring {index} is refused")]
    Keyring { index: usize, source: Mistake },
    #[error("the revoked keys are refused")]
    Revoked(#[source] Mistake),
}

/// Who vouches for a commit or a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// SSH: the principal that the allowed signers name. OpenPGP: the user id.
    pub principal: String,
    /// The key's fingerprint: `SHA256:` and base 64 for SSH, hexadecimal digits
    /// for OpenPGP (of the subkey, if one signed).
    pub key: String,
}

/// The two times that a verdict depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// The present.
    pub(super) now: Timestamp,
    /// What commit or tag say of themselves. It can only make a verdict worse.
    pub(super) made_at: Timestamp,
}

impl Keys {
    /// Parses all files. One mistake refuses all of them: a revocation that is
    /// not understood must not be left out.
    pub fn load(texts: &KeyTexts<'_>) -> Result<Self, KeysRefused> {
        let allowed_signers = texts.allowed_signers.unwrap_or_default();
        let revoked = texts.revoked.unwrap_or_default();
        Ok(Self {
            allowed_signers: AllowedSigners::parse(allowed_signers)
                .map_err(KeysRefused::AllowedSigners)?,
            #[cfg(feature = "openpgp")]
            keyring: keyring(texts.keyrings)?,
            #[cfg(not(feature = "openpgp"))]
            _keyring: keyring(texts.keyrings)?,
            revoked: Revoked::parse(revoked).map_err(KeysRefused::Revoked)?,
        })
    }

    /// Judges a commit that was parsed already.
    ///
    /// `now` is the present, not the commit's own time: whoever has a retired
    /// key can give a commit any time at all.
    pub fn verify(&self, commit: &Commit, now: Timestamp) -> Result<Signer, Untrusted> {
        let moment = Moment {
            now,
            made_at: commit.committer.at,
        };
        self.verify_signed(&commit.payload, commit.signature.as_deref(), moment)
    }

    /// Judges a tag that was parsed already, as [`Keys::verify`] does a commit.
    pub fn verify_tag(&self, tag: &Tag, now: Timestamp) -> Result<Signer, Untrusted> {
        let moment = Moment {
            now,
            made_at: tag.tagger.at,
        };
        self.verify_signed(&tag.payload, tag.signature.as_deref(), moment)
    }

    fn verify_signed(
        &self,
        payload: &[u8],
        signature: Option<&[u8]>,
        moment: Moment,
    ) -> Result<Signer, Untrusted> {
        let armored = signature.ok_or(Untrusted::Unsigned)?;
        match Format::of(armored)? {
            Format::Ssh => {
                let (allowed, revoked) = (&self.allowed_signers, &self.revoked);
                ssh::verify(payload, armored, allowed, revoked, moment)
            }
            Format::OpenPgp => self.verify_openpgp(payload, armored, moment),
        }
    }

    #[cfg(feature = "openpgp")]
    fn verify_openpgp(
        &self,
        payload: &[u8],
        armored: &[u8],
        moment: Moment,
    ) -> Result<Signer, Untrusted> {
        openpgp::verify(payload, armored, &self.keyring, &self.revoked, moment.now)
    }

    #[cfg(not(feature = "openpgp"))]
    fn verify_openpgp(&self, _: &[u8], _: &[u8], _: Moment) -> Result<Signer, Untrusted> {
        Err(Untrusted::OpenPgpNotBuilt)
    }
}

/// Parses and judges a commit object: its bytes without the header that git
/// hashes before them. See [`Keys::verify`].
pub fn verify(object: &[u8], keys: &Keys, now: Timestamp) -> Result<Signer, Untrusted> {
    keys.verify(&Commit::parse(object)?, now)
}

#[cfg(feature = "openpgp")]
fn keyring(texts: &[&str]) -> Result<openpgp::Keyring, KeysRefused> {
    let mut keyring = openpgp::Keyring::default();
    for (index, text) in texts.iter().enumerate() {
        let added = keyring.add(text);
        added.map_err(|source| KeysRefused::Keyring { index, source })?;
    }
    Ok(keyring)
}

/// To leave keys out silently would be to refuse their commits without a reason.
#[cfg(not(feature = "openpgp"))]
fn keyring(texts: &[&str]) -> Result<(), KeysRefused> {
    let expected = "no OpenPGP keys, for this program is built without them";
    match texts.first() {
        None => Ok(()),
        Some(text) => Err(KeysRefused::Keyring {
            index: 0,
            source: Mistake::in_line(1, expected, text),
        }),
    }
}

/// The kinds of signatures that can be verified.
enum Format {
    Ssh,
    OpenPgp,
}

impl Format {
    fn of(armored: &[u8]) -> Result<Self, Untrusted> {
        let first = armored.split(|byte| *byte == b'\n').next();
        match first.unwrap_or_default() {
            b"-----BEGIN SSH SIGNATURE-----" => Ok(Self::Ssh),
            b"-----BEGIN PGP SIGNATURE-----" => Ok(Self::OpenPgp),
            b"-----BEGIN SIGNED MESSAGE-----" => Err(Untrusted::X509),
            other => Err(Untrusted::UnknownFormat {
                found: shown(other),
            }),
        }
    }
}
