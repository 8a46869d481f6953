//! What may happen although the ledger cannot be written: leading back.
//!
//! In: the decision that is not on disk. Out: the way back, from a system that
//! is being tested. Must not: lead forward, or back from what was confirmed.
//!
//! The ledger then still says that the system is being tested, and the verdict,
//! which is on another file system, that it is led back from: any daemon that
//! reads both goes on with the way back. Without this, a system that fills the
//! disk would stay until the guardian's deadline.

use super::effect::Effect;
use super::phase::{Phase, Reboot};
use super::state::State;
use crate::model::failure::{Failure, FailureCode};

/// The way back that is due once the next state could not be saved for long.
pub fn way_back(next: &State) -> Option<Effect> {
    let phase = match &next.phase {
        Phase::RollingBack { .. } => next.phase.clone(),
        Phase::Replacing(activation)
        | Phase::Confirming(activation)
        | Phase::Claiming(activation) => Phase::RollingBack {
            activation: activation.clone(),
            failure: cannot_be_saved(),
            reboot: Reboot::LeadsBack,
        },
        Phase::Resting
        | Phase::Importing { .. }
        | Phase::Evaluating { .. }
        | Phase::Building { .. }
        | Phase::Rooting { .. }
        | Phase::Inspecting { .. }
        | Phase::Checking { .. }
        | Phase::Arming { .. }
        | Phase::Testing(_)
        | Phase::SettingProfile { .. }
        | Phase::WritingBootEntry { .. }
        | Phase::ReadingBack { .. }
        | Phase::Restoring { .. }
        | Phase::Disarming { .. } => return None,
    };
    let back = State {
        phase,
        ..next.clone()
    };
    back.work().map(|(id, work)| Effect::Work(id, work))
}

fn cannot_be_saved() -> Failure {
    Failure::new(
        FailureCode::StepFailed,
        "the daemon's ledger cannot be written in the tested system",
        "See whether /var/lib is full or read-only.",
    )
}

#[cfg(test)]
mod tests {
    use super::super::effect::Work;
    use super::super::fixtures::*;
    use super::*;

    fn way_back_of(phase: Phase) -> Option<Effect> {
        way_back(&State {
            phase,
            ..State::default()
        })
    }

    #[test]
    fn a_system_that_is_being_tested_is_led_back_from() {
        let phases = [
            Phase::Replacing(activation(1)),
            Phase::Confirming(activation(1)),
            Phase::Claiming(activation(1)),
            Phase::RollingBack {
                activation: activation(1),
                failure: failure(FailureCode::ActivationFailed),
                reboot: Reboot::LeadsBack,
            },
        ];
        for phase in phases {
            let name = phase.name();
            let Some(Effect::Work(_, Work::RollBack(rollback))) = way_back_of(phase) else {
                panic!("{name} has no way back");
            };
            assert_eq!(rollback.candidate, toplevel(1), "{name}");
            assert_eq!(rollback.previous, toplevel(0), "{name}");
            assert_eq!(rollback.baseline.active, baseline_active(), "{name}");
        }
    }

    fn baseline_active() -> std::collections::BTreeSet<String> {
        baseline().active
    }

    #[test]
    fn nothing_else_happens_that_is_not_on_disk() {
        assert_eq!(way_back_of(Phase::Resting), None);
        assert_eq!(way_back_of(Phase::Testing(activation(1))), None);
        let confirmed = Phase::SettingProfile {
            activation: activation(1),
            permission: confirmed(),
        };
        assert_eq!(way_back_of(confirmed), None);
    }
}
