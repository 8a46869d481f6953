//! Where to go on after a crash, a restart, or a reboot.
//!
//! In: the ledger's state and what the host is now. Out: the state to go on
//! from and the effects that are due. Must not: trust memory over the world.
//!
//! Within the same boot every phase takes up its own work again: the work is
//! adopting, so what still runs is waited for and what ended is read. After a
//! reboot no unit of ours is left, and the world says how far it came.

use super::permission::BootPermission;
use super::state::{AfterRestore, Context, Effect, Phase, State, Step};
use crate::model::deployment::{Deployment, Finished, Outcome, System};
use crate::model::failure::{Failure, FailureCode};
use crate::model::system::Observed;

/// How often a deployment is taken up again after a reboot in its middle.
pub(super) const MOST_INTERRUPTIONS: u32 = 1;

/// Finds where to go on.
pub fn recover(mut state: State, observed: &Observed, context: &Context<'_>) -> Step {
    let rebooted = state
        .phase
        .deployment()
        .is_some_and(|deployment| deployment.boot_id != context.boot_id);
    let last = state.last.as_ref().map(|last| &last.deployment.boot_id);
    if last.is_some_and(|last| *last != context.boot_id) {
        // The reboot brought the system before back, and its units with it.
        state.known_broken.clear();
    }
    if rebooted {
        let phase = std::mem::take(&mut state.phase);
        state = after_reboot(state, phase, observed, context);
    }
    let work = state.work().map(|(id, work)| Effect::Work(id, work));
    Step {
        state,
        effects: work.into_iter().collect(),
        stale: false,
    }
}

fn after_reboot(
    mut state: State,
    phase: Phase,
    observed: &Observed,
    context: &Context<'_>,
) -> State {
    let here = |mut deployment: Deployment| {
        deployment.boot_id = context.boot_id.clone();
        deployment
    };
    state.phase = match phase {
        Phase::Resting => Phase::Resting,
        // Nothing was touched: the same work once more, on the host as it is.
        Phase::Importing { deployment } => Phase::Importing {
            deployment: afresh(here(deployment), observed),
        },
        Phase::Evaluating { deployment } => Phase::Evaluating {
            deployment: afresh(here(deployment), observed),
        },
        Phase::Building {
            deployment,
            derivation,
        } => Phase::Building {
            deployment: afresh(here(deployment), observed),
            derivation,
        },
        Phase::Rooting { deployment, system } => Phase::Rooting {
            deployment: afresh(here(deployment), observed),
            system,
        },
        Phase::Inspecting { deployment, system } => Phase::Inspecting {
            deployment: afresh(here(deployment), observed),
            system,
        },
        // From here on the commit's own programs run as root: it may have been
        // they who took the host down.
        Phase::Checking {
            deployment, system, ..
        }
        | Phase::Testing { deployment, system }
        | Phase::Confirming { deployment, system } => {
            return interrupted(state, here(deployment), system, observed, context);
        }
        Phase::SettingProfile {
            deployment,
            system,
            permission,
        }
        | Phase::WritingBootEntry {
            deployment,
            system,
            permission,
        }
        | Phase::ReadingBack {
            deployment,
            system,
            permission,
        } => {
            return half_committed(
                state,
                here(deployment),
                system,
                permission,
                observed,
                context,
            );
        }
        Phase::Restoring {
            deployment,
            system,
            previous,
            then,
        } => Phase::Restoring {
            deployment: here(deployment),
            system,
            previous,
            then,
        },
    };
    state
}

/// The deployment starts from what the host is now.
fn afresh(mut deployment: Deployment, observed: &Observed) -> Deployment {
    deployment.before = observed.clone();
    deployment
}

/// The host went down before anything was written: it came up in the system
/// before. Once more from the inspection on, but not for ever.
fn interrupted(
    mut state: State,
    mut deployment: Deployment,
    system: System,
    observed: &Observed,
    context: &Context<'_>,
) -> State {
    deployment.interruptions += 1;
    if deployment.interruptions > MOST_INTERRUPTIONS {
        return give_up(state, deployment, system, context);
    }
    state.phase = Phase::Inspecting {
        deployment: afresh(deployment, observed),
        system,
    };
    state
}

/// The host went down while profile and entry were written.
///
/// If it came up in the new system, or was to be written without a test, the
/// writing is finished. Otherwise the profile goes back first: a profile that
/// does not run and was not booted is nobody's system.
fn half_committed(
    mut state: State,
    mut deployment: Deployment,
    system: System,
    permission: BootPermission,
    observed: &Observed,
    context: &Context<'_>,
) -> State {
    let runs = observed.running.as_ref() == Some(&system.toplevel);
    let untested = matches!(permission, BootPermission::BootWithoutTest(_));
    if runs || untested {
        state.phase = Phase::SettingProfile {
            deployment,
            system,
            permission,
        };
        return state;
    }
    deployment.interruptions += 1;
    let previous = deployment.before.profile.clone();
    let moved = observed.profile_toplevel() == Some(&system.toplevel);
    match previous.filter(|previous| moved && previous.toplevel != system.toplevel) {
        Some(previous) => {
            let then = if deployment.interruptions > MOST_INTERRUPTIONS {
                AfterRestore::Fail(too_often())
            } else {
                AfterRestore::Repeat
            };
            deployment.before.running = observed.running.clone();
            state.phase = Phase::Restoring {
                deployment,
                system,
                previous,
                then,
            };
            state
        }
        None if deployment.interruptions > MOST_INTERRUPTIONS => {
            give_up(state, deployment, system, context)
        }
        None => {
            state.phase = Phase::Inspecting {
                deployment: afresh(deployment, observed),
                system,
            };
            state
        }
    }
}

fn give_up(
    mut state: State,
    deployment: Deployment,
    system: System,
    context: &Context<'_>,
) -> State {
    state.last = Some(Finished {
        deployment,
        toplevel: Some(system.toplevel),
        outcome: Outcome::Failed(too_often()),
        finished: context.now,
    });
    state.phase = Phase::Resting;
    state
}

pub(super) fn too_often() -> Failure {
    Failure::new(
        FailureCode::Interrupted,
        "the host went down in the middle of the same activation twice",
        "Find out why it went down (the end of the journal of the boots before); \
         the next new commit is tried again.",
    )
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::super::state::{Way, Work};
    use super::*;
    use crate::model::system::{DefaultEntry, Generation, ProfileEntry};

    fn every_phase() -> Vec<Phase> {
        let (deployment, system) = (deployment(1), system(1));
        vec![
            Phase::Importing {
                deployment: deployment.clone(),
            },
            Phase::Evaluating {
                deployment: deployment.clone(),
            },
            Phase::Building {
                deployment: deployment.clone(),
                derivation: derivation(1),
            },
            Phase::Rooting {
                deployment: deployment.clone(),
                system: system.clone(),
            },
            Phase::Inspecting {
                deployment: deployment.clone(),
                system: system.clone(),
            },
            Phase::Checking {
                deployment: deployment.clone(),
                system: system.clone(),
                way: Way::Test,
            },
            Phase::Testing {
                deployment: deployment.clone(),
                system: system.clone(),
            },
            Phase::Confirming {
                deployment: deployment.clone(),
                system: system.clone(),
            },
            Phase::SettingProfile {
                deployment: deployment.clone(),
                system: system.clone(),
                permission: confirmed(),
            },
            Phase::WritingBootEntry {
                deployment: deployment.clone(),
                system: system.clone(),
                permission: confirmed(),
            },
            Phase::ReadingBack {
                deployment: deployment.clone(),
                system: system.clone(),
                permission: confirmed(),
            },
            Phase::Restoring {
                deployment: deployment.clone(),
                system: system.clone(),
                previous: ProfileEntry {
                    generation: Generation(1),
                    toplevel: toplevel(0),
                },
                then: AfterRestore::Fail(failure(FailureCode::BootLoaderFailed)),
            },
        ]
    }

    fn recovered(phase: Phase, observed: &Observed, boot_index: u64) -> Step {
        let policy = policy();
        let mut context = context(&policy, 100);
        context.boot_id = boot(boot_index);
        let state = State {
            phase,
            ..State::default()
        };
        recover(state, observed, &context)
    }

    fn work(step: &Step) -> Option<&Work> {
        match &step.effects[..] {
            [] => None,
            [Effect::Work(_, work)] => Some(work),
            other => panic!("recovery asks for {other:?}"),
        }
    }

    #[test]
    fn a_host_at_rest_stays_at_rest() {
        for boot in [0, 1] {
            let step = recovered(Phase::Resting, &observed(0), boot);
            assert_eq!((step.state, step.effects.len()), (State::default(), 0));
        }
    }

    #[test]
    fn what_an_activation_broke_is_forgiven_until_the_next_boot() {
        let policy = policy();
        let last = Finished {
            deployment: deployment(1),
            toplevel: Some(toplevel(1)),
            outcome: Outcome::Failed(failure(FailureCode::ActivationFailed)),
            finished: now(10),
        };
        let state = State {
            last: Some(last),
            known_broken: ["web.service".to_owned()].into(),
            ..State::default()
        };
        for (index, expected) in [(0, 1), (1, 0)] {
            let mut context = context(&policy, 100);
            context.boot_id = boot(index);
            let next = recover(state.clone(), &observed(0), &context).state;
            assert_eq!(next.known_broken.len(), expected, "in boot {index}");
        }
    }

    #[test]
    fn in_the_same_boot_every_phase_takes_up_its_own_work() {
        for phase in every_phase() {
            let step = recovered(phase.clone(), &observed(0), 0);
            assert_eq!(step.state.phase, phase);
            let state = State {
                phase,
                ..State::default()
            };
            assert_eq!(work(&step), state.work().map(|(_, work)| work).as_ref());
        }
    }

    #[test]
    fn after_a_reboot_into_the_old_system_nothing_is_written_before_a_new_test() {
        let expected = [
            ("importing", 0),
            ("evaluating", 0),
            ("building", 0),
            ("rooting", 0),
            ("inspecting", 0),
            ("inspecting", 1),
            ("inspecting", 1),
            ("inspecting", 1),
            ("inspecting", 1),
            ("inspecting", 1),
            ("inspecting", 1),
            ("restoring", 0),
        ];
        for (phase, (name, interruptions)) in every_phase().into_iter().zip(expected) {
            let from = phase.name();
            let step = recovered(phase, &observed(0), 1);
            let deployment = step.state.phase.deployment().expect("it goes on");
            assert_eq!(step.state.phase.name(), name, "from {from}");
            assert_eq!(deployment.interruptions, interruptions, "from {from}");
            assert_eq!(deployment.boot_id, boot(1), "from {from}");
        }
    }

    #[test]
    fn after_a_reboot_into_the_new_system_the_writing_is_finished() {
        for phase in every_phase().into_iter().skip(8).take(3) {
            let step = recovered(phase, &observed(1), 1);
            assert_eq!(step.state.phase.name(), "setting-profile");
        }
    }

    #[test]
    fn a_profile_that_was_moved_and_not_booted_goes_back_first() {
        let mut half = observed(0);
        half.profile = Some(ProfileEntry {
            generation: Generation(2),
            toplevel: toplevel(1),
        });
        let phase = every_phase().swap_remove(9);
        let step = recovered(phase, &half, 1);
        let Some(Work::Restore { previous, .. }) = work(&step) else {
            panic!("{step:?}");
        };
        assert_eq!(previous.toplevel, toplevel(0));
    }

    #[test]
    fn an_entry_that_policy_lets_write_untested_is_finished_after_a_reboot() {
        let phase = Phase::WritingBootEntry {
            deployment: deployment(1),
            system: system(1),
            permission: untested(),
        };
        let mut old = observed(0);
        old.default_entry = DefaultEntry::Unchecked;
        let step = recovered(phase, &old, 1);
        assert_eq!(step.state.phase.name(), "setting-profile");
    }

    #[test]
    fn the_second_interruption_ends_the_deployment() {
        let mut once = deployment(1);
        once.interruptions = 1;
        let (deployment, system) = (once, system(1));
        let phases = [
            Phase::Testing {
                deployment: deployment.clone(),
                system: system.clone(),
            },
            Phase::Confirming { deployment, system },
        ];
        for phase in phases {
            let step = recovered(phase, &observed(0), 1);
            let last = step.state.last.as_ref().expect("it came to its end");
            assert_eq!(step.state.phase, Phase::Resting);
            assert_eq!(
                last.outcome.failure().map(|failure| failure.code),
                Some(FailureCode::Interrupted)
            );
            assert_eq!(work(&step), None);
        }
    }
}
