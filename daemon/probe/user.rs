//! The operator's own probes: commands that say whether the host is well.
//!
//! In: those of the configuration, and the closure's own program. Out: how
//! each ended. Must not: let one take longer than it may, or know what it
//! looks at.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;

use crate::host::command::{self, Command, Output};
use crate::model::health::UserProbeResult;
use crate::model::policy::UserProbe;
use crate::model::text::one_line;

/// The name of the closure's own program, as a probe.
const HEALTH_CHECK: &str = "health-check";

/// How much of what a probe says is kept, in characters.
const SAID_LIMIT: usize = 500;

/// Every probe; the closure's own program may take as long as all of them.
pub(super) fn commands(configured: &[UserProbe], health_check: Option<&Path>) -> Vec<UserProbe> {
    let own = health_check.map(|program| UserProbe {
        name: HEALTH_CHECK.to_owned(),
        command: vec![program.display().to_string()],
        deadline: Duration::MAX,
    });
    configured.iter().cloned().chain(own).collect()
}

/// Runs all of them at once.
pub(super) async fn look(probes: Vec<UserProbe>, deadline: Duration) -> Vec<UserProbeResult> {
    join_all(probes.into_iter().map(|probe| run(probe, deadline))).await
}

async fn run(probe: UserProbe, deadline: Duration) -> UserProbeResult {
    let mut words = probe.command.into_iter();
    let program = words.next().unwrap_or_default();
    let command = Command::new(program, words);
    let output = command::run(&command, probe.deadline.min(deadline)).await;
    let result = match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(said(&output)),
        Err(error) => Err(format!("{:#}", anyhow::Error::new(error))),
    };
    UserProbeResult {
        name: probe.name,
        result,
    }
}

/// Its status, and the end of what it said: complaints rather than output.
fn said(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let words = match &*output.stderr_tail {
        "" => stdout.trim(),
        complaint => complaint,
    };
    let skipped = words.chars().count().saturating_sub(SAID_LIMIT);
    let words: String = words.chars().skip(skipped).collect();
    let said = format!("{}: {words}", output.status);
    one_line(said.trim_end_matches([':', ' ']), 2 * SAID_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(script: &str, deadline: Duration) -> UserProbe {
        UserProbe {
            name: script.to_owned(),
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            deadline,
        }
    }

    #[tokio::test]
    async fn each_probe_says_how_it_ended_in_the_order_of_the_configuration() {
        let long = Duration::from_secs(60);
        let probes = vec![
            probe("exit 0", long),
            probe("echo out; echo no web >&2; exit 3", long),
            probe("echo out; exit 4", long),
            probe("sleep 3600", Duration::from_millis(20)),
        ];
        let results = look(probes, long).await;
        let results: Vec<_> = results.into_iter().map(|it| it.result).collect();
        let err = |words: &str| Err(words.to_owned());
        assert_eq!(
            results,
            [
                Ok(()),
                err("exit status: 3: no web"),
                err("exit status: 4: out"),
                err("/bin/sh did not end within 0.02"),
            ]
        );
    }

    #[tokio::test]
    async fn no_probe_takes_longer_than_all_may() {
        let probes = vec![probe("sleep 3600", Duration::from_secs(60))];
        let results = look(probes, Duration::from_millis(20)).await;
        assert!(results[0].result.is_err(), "{results:?}");
    }

    #[test]
    fn the_closures_own_program_is_one_of_the_probes() {
        let commands = commands(&[], Some(Path::new("/c/health-check")));
        assert_eq!(commands.len(), 1);
        assert_eq!(commands[0].name, "health-check");
        assert_eq!(commands[0].command, ["/c/health-check"]);
    }
}
