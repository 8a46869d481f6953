//! Why a commit, or a tag, is not trusted: one variant for each reason.
//!
//! In: what a check found. Out: a code for programs and a line for people. Must
//! not: show anything of a commit that was not made safe to show.

use jiff::Timestamp;

use crate::model::text::one_line;

/// How much of what was found is shown, in characters.
const FOUND_LIMIT: usize = 80;

/// Why nobody vouches for a commit or a tag.
///
/// The text of each says what was expected and what was found, on one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    #[error("expected a signature, found none")]
    Unsigned,
    #[error("expected a commit object with {expected}, found {found:?}")]
    MalformedCommit {
        expected: &'static str,
        found: String,
    },
    #[error("expected a commit object of at most {limit} bytes, found {found}")]
    CommitTooLarge { limit: usize, found: usize },
    #[error("expected a tag object with {expected}, found {found:?}")]
    MalformedTag {
        expected: &'static str,
        found: String,
    },
    #[error("expected a tag object of at most {limit} bytes, found {found}")]
    TagTooLarge { limit: usize, found: usize },
    #[error("expected an object of its own, found one made to collide with another in SHA-1")]
    Sha1Collision,
    #[error("expected one signature, found several")]
    SeveralSignatures,
    #[error("expected a signature by an SSH or OpenPGP key, found one that begins with {found:?}")]
    UnknownFormat { found: String },
    #[error("expected a signature by an SSH or OpenPGP key, found one by an X.509 certificate")]
    X509,
    #[error(
        "expected a signature by an SSH key, found OpenPGP, which this program is built without"
    )]
    OpenPgpNotBuilt,
    #[error("expected a signature with {expected}, found {found:?}")]
    MalformedSignature {
        expected: &'static str,
        found: String,
    },
    #[error("expected a signature for namespace \"git\", found one for {found:?}")]
    WrongNamespace { found: String },
    #[error("expected an algorithm that is strong, found {found}")]
    WeakAlgorithm { found: String },
    #[error("expected an algorithm that is known here, found {found:?}")]
    UnknownAlgorithm { found: String },
    #[error("expected a plain SSH key, found a certificate of type {found:?}")]
    Certificate { found: String },
    #[error("expected one of the keys that are trusted, found {key}")]
    UnknownKey { key: String },
    #[error(
        "expected a signature over what is signed, found one that does not fit, said to be by {key}"
    )]
    BadSignature { key: String },
    #[error("expected a touch of the security key {key}, found a signature made without one")]
    NoUserPresence { key: String },
    #[error("expected a key that may sign for namespace \"git\", found {key}, which may not")]
    KeyNotForGit { key: String },
    #[error("expected a key that may sign data, found {key}, which may not")]
    KeyMayNotSign { key: String },
    #[error("expected a key that its owner vouches for, found {key} without {missing}")]
    KeyNotBound { key: String, missing: &'static str },
    #[error("expected a key that is valid now, found {key}, which is not valid before {from}")]
    KeyNotYetValid { key: String, from: Timestamp },
    #[error("expected a key that is valid now, found {key}, which was valid until {until}")]
    KeyExpired { key: String, until: Timestamp },
    #[error("expected a time at which its key was valid, found {at} by {key}")]
    DatedOutsideValidity { key: String, at: Timestamp },
    #[error("expected a key that is not revoked, found {key}")]
    KeyRevoked { key: String },
    #[error("expected a signature made before now, found one of {at}")]
    SignatureFromTheFuture { at: Timestamp },
    #[error("expected a signature that is valid now, found one that was valid until {until}")]
    SignatureExpired { until: Timestamp },
}

impl Untrusted {
    /// The reason's name for programs; it stays the same from version to version.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::MalformedCommit { .. } => "malformed-commit",
            Self::CommitTooLarge { .. } => "commit-too-large",
            Self::MalformedTag { .. } => "malformed-tag",
            Self::TagTooLarge { .. } => "tag-too-large",
            Self::Sha1Collision => "sha1-collision",
            Self::SeveralSignatures => "several-signatures",
            Self::UnknownFormat { .. } => "unknown-format",
            Self::X509 => "x509",
            Self::OpenPgpNotBuilt => "openpgp-not-built",
            Self::MalformedSignature { .. } => "malformed-signature",
            Self::WrongNamespace { .. } => "wrong-namespace",
            Self::WeakAlgorithm { .. } => "weak-algorithm",
            Self::UnknownAlgorithm { .. } => "unknown-algorithm",
            Self::Certificate { .. } => "certificate",
            Self::UnknownKey { .. } => "unknown-key",
            Self::BadSignature { .. } => "bad-signature",
            Self::NoUserPresence { .. } => "no-user-presence",
            Self::KeyNotForGit { .. } => "key-not-for-git",
            Self::KeyMayNotSign { .. } => "key-may-not-sign",
            Self::KeyNotBound { .. } => "key-not-bound",
            Self::KeyNotYetValid { .. } => "key-not-yet-valid",
            Self::KeyExpired { .. } => "key-expired",
            Self::DatedOutsideValidity { .. } => "dated-outside-validity",
            Self::KeyRevoked { .. } => "key-revoked",
            Self::SignatureFromTheFuture { .. } => "signature-from-the-future",
            Self::SignatureExpired { .. } => "signature-expired",
        }
    }

    pub(super) fn commit(expected: &'static str, found: &[u8]) -> Self {
        let found = shown(found);
        Self::MalformedCommit { expected, found }
    }

    pub(super) fn tag(expected: &'static str, found: &[u8]) -> Self {
        let found = shown(found);
        Self::MalformedTag { expected, found }
    }

    pub(super) fn signature(expected: &'static str, found: &[u8]) -> Self {
        let found = shown(found);
        Self::MalformedSignature { expected, found }
    }
}

/// What was found, made safe to show and short.
pub(super) fn shown(found: &[u8]) -> String {
    // A character has at most four bytes: no more than this can be shown.
    let beginning = &found[..found.len().min(4 * FOUND_LIMIT)];
    one_line(&String::from_utf8_lossy(beginning), FOUND_LIMIT)
}
