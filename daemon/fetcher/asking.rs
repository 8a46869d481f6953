//! One question to a remote by somebody who has no mirror: the probe.
//!
//! In: where a branch is to be found. Out: its commit. Must not: fetch, or
//! leave anything behind.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::fetcher::credentials::Credentials;
use crate::fetcher::mirror::Mirror;
use crate::fetcher::remote::{Besides, Fetcher};
use crate::fetcher::wire::Answer;
use crate::host::random;
use crate::model::remote::RemoteAddress;
use crate::model::revision::CommitId;

/// Where the empty repository is made that gix wants for a connection; in the
/// probe's unit it is private.
const SCRATCH: &str = "/tmp";

/// Asks on a fresh connection which commit the branch is, in the same way and
/// with the same limits as the fetcher. May block for as long as the remote is
/// silent. `credentials`: the directory where this process has them.
///
/// # Errors
/// Why there is no commit, as one line.
pub fn ask(remote: &RemoteAddress, credentials: Option<PathBuf>) -> Result<CommitId, String> {
    let scratch =
        Scratch::new(Path::new(SCRATCH)).map_err(|error| format!("{SCRATCH}: {error}"))?;
    let mirror = Mirror::own(&scratch.0).map_err(|error| format!("{error:#}"))?;
    let credentials = Credentials::new(credentials).map_err(|error| error.to_string())?;
    let answer = Fetcher::new(mirror, credentials).poll(remote, Besides::default());
    match answer.unwrap_or_else(|trouble| trouble.answer(&remote.url)) {
        Answer::Head { commit, .. } | Answer::Fetched { commit } => Ok(commit),
        Answer::BranchMissing => Err(format!(
            "{} has no branch {}",
            remote.shown_url(),
            remote.branch
        )),
        Answer::Failed { message, .. } => Err(message),
        Answer::Lineage { .. } | Answer::Heartbeat { .. } => {
            Err("the answer belongs to another question".to_owned())
        }
    }
}

/// A directory that goes with its owner.
struct Scratch(PathBuf);

impl Scratch {
    /// Fails where the name is taken: nobody else can have put anything there.
    fn new(parent: &Path) -> std::io::Result<Self> {
        let path = parent.join(format!("deploy-flake-{}", random::id()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is empty but for a repository, and goes with the unit.
        let _ = fs::remove_dir_all(&self.0);
    }
}
