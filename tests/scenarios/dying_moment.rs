//! Moments of a deployment at which somebody dies: what outside eyes can see of one.
//!
//! In: a scene and the commit that is on its way. Out: whether the moment has come. It may be over when the death comes.

use std::cell::Cell;

use crate::common::text;
use crate::dying_host::Scene;
use crate::testbed::repository::CommitId;

/// The systemd unit file of the guardian's timer, there as soon as it is loaded.
const TIMER: &str = "/run/systemd/transient/deploy-flake-guardian.timer";

/// Where tokens are.
const TOKENS: &str = "/run/deploy-flake/private";

/// A moment.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moment {
    /// The ledger holds a phase.
    Written(&'static str),
    /// The guardian's timer is loaded.
    Armed,
    /// Daemon or guardian have decided.
    Decided,
    /// The end is in the ledger; what the guardian was armed with may still be there.
    Over,
}

impl Moment {
    /// Waits for the moment, as tightly as can be.
    #[track_caller]
    pub(crate) fn wait(self, scene: &Scene, commit: &CommitId) {
        scene.wait_tightly(&format!("{self:?}"), || self.has_come(scene, commit));
    }

    /// Waits for the moment; false: the commit's deployment was over before anybody saw it.
    #[track_caller]
    pub(crate) fn is_seen(self, scene: &Scene, commit: &CommitId) -> bool {
        let is_seen = Cell::new(false);
        scene.wait_tightly(&format!("{self:?}"), || {
            is_seen.set(self.has_come(scene, commit));
            is_seen.get() || scene.is_over(commit)
        });
        is_seen.get()
    }

    /// Kills the daemon at the moment; returns the phase in which it left the ledger.
    #[track_caller]
    pub(crate) fn kill_daemon(self, scene: &Scene, commit: &CommitId) -> String {
        let left = self.try_to_kill_daemon(scene, commit);
        left.unwrap_or_else(|| panic!("{self:?} was over before anybody saw it"))
    }

    /// The same; None: the moment was over before anybody saw it.
    #[track_caller]
    pub(crate) fn try_to_kill_daemon(self, scene: &Scene, commit: &CommitId) -> Option<String> {
        let daemon = scene.daemon();
        if !self.is_seen(scene, commit) {
            return None;
        }
        daemon.kill();
        let left = text(&scene.ledger()["phase"]["name"]);
        eprintln!("the daemon died: {self:?}, in {left}");
        Some(left)
    }

    fn has_come(self, scene: &Scene, commit: &CommitId) -> bool {
        match self {
            Self::Written(phase) => scene.is_in(phase),
            Self::Armed => scene.host.path(TIMER).exists(),
            Self::Decided => {
                let names = scene.host.path(TOKENS).read_dir().into_iter().flatten();
                let is_token = |name: &str| name.starts_with("token.");
                let mut names = names.flatten().map(|entry| entry.file_name());
                names.any(|name| name.to_str().is_some_and(is_token))
            }
            Self::Over => scene.is_over(commit),
        }
    }
}
