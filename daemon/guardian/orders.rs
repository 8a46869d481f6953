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

/// Stands before what follows a failed rollback.
const ON_FAILURE: &str = "--on-failure";

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
    /// replaced and its own words are lost, the program of the daemon that was
    /// there before is started with this. It leaves out flags that it does not
    /// know, if it is not of before that; none is renamed or taken away.
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
            ON_FAILURE.to_owned(),
            on_failure_word(self.on_failure).to_owned(),
            "--plan".to_owned(),
            self.plan.display().to_string(),
            "--reboot-patience".to_owned(),
            self.reboot_patience.as_secs().to_string(),
        ]
        .to_vec()
    }
}

/// The same command for a guardian that stays where the host is: the words of
/// whichever version armed it, but that one. None: it stays already.
pub fn staying(command: &[String]) -> Option<Vec<String>> {
    let stay = on_failure_word(OnFailedRollback::Stay);
    let mut words = command.to_vec();
    let flag = words.iter().position(|word| word == ON_FAILURE);
    match flag.and_then(|flag| words.get_mut(flag + 1)) {
        Some(word) if word == stay => return None,
        Some(word) => stay.clone_into(word),
        None => words.extend([ON_FAILURE.to_owned(), stay.to_owned()]),
    }
    Some(words)
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
    fn an_armed_guardian_is_kept_from_rebooting_with_the_rest_of_its_own_words() {
        let words = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
        for (armed, expected) in [
            ("g --on-failure stay --older 1", None),
            (
                "g --older 1 --on-failure reboot --plan /x",
                Some("g --older 1 --on-failure stay --plan /x"),
            ),
            ("g --plan /x", Some("g --plan /x --on-failure stay")),
        ] {
            let expected = expected.map(words);
            assert_eq!(staying(&words(armed)), expected, "{armed}");
        }
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
