//! How a step ended, read from what systemd keeps of its unit.
//!
//! In: a unit's status. Out: one of a few ends. Must not: call anything, or
//! say what an end means for the deployment.

use crate::host::systemd::{ActiveState, CREDENTIALS_STATUS, UnitStatus};

/// SIGTERM: what systemd ends a unit with when somebody stops it.
const SIGTERM: i32 = 15;

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepEnd {
    /// Every command exited with 0.
    Succeeded,
    /// A command exited with another status.
    Exited(i32),
    /// A signal ended it; also when somebody stopped the unit.
    Signalled(i32),
    /// It was ended at its deadline.
    TimedOut,
    /// It was ended because memory ran out.
    OutOfMemory,
    /// systemd could not run its command; why.
    CouldNotStart(String),
}

/// Reads the end; None is a unit that is not loaded any more, because
/// somebody stopped it.
pub(super) fn end_of(status: Option<&UnitStatus>) -> StepEnd {
    let Some(status) = status else {
        return StepEnd::Signalled(SIGTERM);
    };
    match status.result.as_str() {
        // A success remains active. One that is not, was stopped meanwhile,
        // and whether it was done by then, nobody knows.
        "success" if status.state.active_state == ActiveState::Active => StepEnd::Succeeded,
        "success" => StepEnd::Signalled(SIGTERM),
        "exit-code" => exited(status.exit_status),
        "signal" | "core-dump" => StepEnd::Signalled(status.exit_status),
        "timeout" => StepEnd::TimedOut,
        "oom-kill" => StepEnd::OutOfMemory,
        // `resources`, `start-limit-hit`, `exec-condition`, ...
        other => StepEnd::CouldNotStart(format!("systemd says {other:?}")),
    }
}

/// Statuses from 200 on are systemd's own, for what it could not set up before
/// the program started (systemd.exec(5), "Process Exit Codes"). None of the
/// programs that steps run uses them.
fn exited(status: i32) -> StepEnd {
    let what = match status {
        200 => "working directory missing (CHDIR)",
        203 => "program missing or not executable (EXEC)",
        209 => "output file cannot be opened (STDOUT)",
        216 => "group missing (GROUP)",
        217 => "user missing (USER)",
        225 => "network namespace refused (NETWORK)",
        226 => "mount namespace refused (NAMESPACE)",
        239 => "cache directory cannot be made (CACHE_DIRECTORY)",
        CREDENTIALS_STATUS => "credential missing or unreadable (CREDENTIALS)",
        other if (200..=243).contains(&other) => "set-up failed",
        other => return StepEnd::Exited(other),
    };
    StepEnd::CouldNotStart(format!("{what}, status {status}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::systemd::{ExitCode, UnitState};

    fn status(active_state: ActiveState, result: &str, exit_status: i32) -> UnitStatus {
        UnitStatus {
            state: UnitState {
                description: String::new(),
                active_state,
                sub_state: String::new(),
                has_job: false,
                is_transient: true,
            },
            result: result.to_owned(),
            exit_code: ExitCode::Exited,
            exit_status,
            invocation_id: String::new(),
            began: 0,
        }
    }

    #[test]
    fn ends_are_read_from_result_and_status() {
        use ActiveState::{Active, Failed, Inactive};
        for (active_state, result, exit_status, end) in [
            (Active, "success", 0, StepEnd::Succeeded),
            (Inactive, "success", 0, StepEnd::Signalled(SIGTERM)),
            (Failed, "exit-code", 4, StepEnd::Exited(4)),
            (Failed, "exit-code", 127, StepEnd::Exited(127)),
            (Failed, "signal", 9, StepEnd::Signalled(9)),
            (Failed, "core-dump", 11, StepEnd::Signalled(11)),
            (Failed, "timeout", 15, StepEnd::TimedOut),
            (Failed, "oom-kill", 9, StepEnd::OutOfMemory),
        ] {
            let status = status(active_state, result, exit_status);
            assert_eq!(end_of(Some(&status)), end, "{result} {exit_status}");
        }
    }

    #[test]
    fn what_systemd_could_not_set_up_never_ran() {
        for (result, exit_status) in [
            ("exit-code", 203),
            ("exit-code", 217),
            ("exit-code", 243),
            ("resources", 0),
        ] {
            let end = end_of(Some(&status(ActiveState::Failed, result, exit_status)));
            assert!(matches!(end, StepEnd::CouldNotStart(_)), "{end:?}");
        }
    }

    #[test]
    fn a_unit_that_vanished_did_not_succeed() {
        assert_eq!(end_of(None), StepEnd::Signalled(SIGTERM));
    }
}
