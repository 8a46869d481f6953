//! What stands on the guardian's command line: all that it cannot do without.
//!
//! In: what it is armed with. Out: an argument vector, which the command line
//! reads back. Must not: read the plan file; that only adds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::deployment::DeploymentId;
use crate::model::policy::OnFailedRollback;
use crate::model::revision::CommitId;
use crate::model::system::Toplevel;

/// How long each kind of reboot may take before a harder one follows.
pub const REBOOT_PATIENCE: Duration = Duration::from_secs(30);

/// What one guardian is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orders {
    /// For which deployment.
    pub deployment: DeploymentId,
    /// The commit that asked for it.
    pub commit: CommitId,
    /// What is led back to.
    pub previous: Toplevel,
    /// What is led back from.
    pub candidate: Toplevel,
    /// `systemctl` of the previous system.
    pub systemctl: PathBuf,
    /// When the running system cannot be brought back live.
    pub on_failure: OnFailedRollback,
    /// What it was armed with besides.
    pub plan: PathBuf,
    /// How long each kind of reboot may take before a harder one follows.
    pub reboot_patience: Duration,
}

impl Orders {
    /// The command that carries them out.
    ///
    /// The program may be an older one: where an armed guardian has to be
    /// replaced, the daemon that was there before it is started with this. A
    /// flag is only ever added with a fallback for a program that refuses it,
    /// and none is renamed or taken away.
    pub fn command(&self, program: &Path) -> Vec<String> {
        [
            program.display().to_string(),
            "guardian".to_owned(),
            "--deployment".to_owned(),
            self.deployment.to_string(),
            "--commit".to_owned(),
            self.commit.to_string(),
            "--previous".to_owned(),
            self.previous.to_string(),
            "--candidate".to_owned(),
            self.candidate.to_string(),
            "--systemctl".to_owned(),
            self.systemctl.display().to_string(),
            "--on-failure".to_owned(),
            on_failure_word(self.on_failure).to_owned(),
            "--plan".to_owned(),
            self.plan.display().to_string(),
            "--reboot-patience".to_owned(),
            self.reboot_patience.as_secs().to_string(),
        ]
        .to_vec()
    }
}

/// The word for what follows a failed rollback, as in the configuration.
fn on_failure_word(on_failure: OnFailedRollback) -> &'static str {
    match on_failure {
        OnFailedRollback::Reboot => "reboot",
        OnFailedRollback::Stay => "stay",
    }
}

/// What a word means that follows `--on-failure`.
pub fn parse_on_failure(word: &str) -> Result<OnFailedRollback, String> {
    [OnFailedRollback::Reboot, OnFailedRollback::Stay]
        .into_iter()
        .find(|choice| on_failure_word(*choice) == word)
        .ok_or_else(|| "expected reboot or stay".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::system::StorePath;

    fn toplevel(name: &str) -> Toplevel {
        let path = format!("/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-{name}");
        Toplevel::new(StorePath::try_from(path).expect("a store path"))
    }

    #[test]
    fn the_command_line_is_the_one_that_older_guardians_understand() {
        let orders = Orders {
            deployment: DeploymentId("0123456789abcdef".to_owned()),
            commit: CommitId::try_from("0".repeat(40)).expect("a commit"),
            previous: toplevel("old"),
            candidate: toplevel("new"),
            systemctl: PathBuf::from("/nix/store/x/bin/systemctl"),
            on_failure: OnFailedRollback::Stay,
            plan: PathBuf::from("/run/plan.json"),
            reboot_patience: REBOOT_PATIENCE,
        };
        let command = orders.command(Path::new("/nix/store/y/bin/deploy-flake"));
        let expected = "/nix/store/y/bin/deploy-flake guardian \
            --deployment 0123456789abcdef \
            --commit 0000000000000000000000000000000000000000 \
            --previous /nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-old \
            --candidate /nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-new \
            --systemctl /nix/store/x/bin/systemctl \
            --on-failure stay --plan /run/plan.json --reboot-patience 30";
        assert_eq!(command.join(" "), expected);
    }
}
