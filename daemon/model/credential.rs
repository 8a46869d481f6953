//! What a remote is shown of us: secrets in files, which systemd reads and
//! hands to the one unit that needs them (`LoadCredential=`).
//!
//! In: names and paths. Out: the same. Must not: hold a secret, or read one.

use std::path::PathBuf;

/// One file, and what the unit finds it as below `$CREDENTIALS_DIRECTORY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// What the unit finds it as.
    pub name: String,
    /// The file that systemd reads, as root.
    pub source: PathBuf,
}

/// What a credential is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The private key that ssh shows.
    Identity,
    /// The token that an https server wants.
    Token,
}

impl Use {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Identity, Self::Token];

    /// The key of a `[[remote]]` that names its file.
    pub fn key(self) -> &'static str {
        match self {
            Self::Identity => "identity_file",
            Self::Token => "token_file",
        }
    }

    /// The credential's name for a remote. A unit may have those of several.
    pub fn of(self, remote: &str) -> String {
        match self {
            Self::Identity => format!("{remote}.identity"),
            Self::Token => format!("{remote}.token"),
        }
    }
}
