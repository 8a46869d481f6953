//! Where in a commit the flake is, and with what its inputs are fetched.
//!
//! In: values that `config` validated. Out: the same. Must not: know about
//! files or TOML, or hold a secret.

use std::path::PathBuf;

/// How a commit is evaluated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flake {
    /// The directory with `flake.nix`, without `..`; None: the top.
    pub directory: Option<String>,
    /// Whether submodules are part of the flake.
    pub submodules: bool,
    /// Settings of Nix with secrets in them, such as `access-tokens`.
    pub nix_config: Option<PathBuf>,
}
