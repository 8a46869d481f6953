//! Toplevels that failed: one failure, one activation.
//!
//! In: how deployments ended. Out: whether a toplevel may be activated by
//! itself. Must not: forget because of a restart, a reboot, or another commit
//! that asks for the same toplevel; only the toplevel's own success, or an
//! operator, lifts it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::deployment::{Deployment, Outcome};
use crate::model::failure::{Failure, FailureClass, FailureCode};
use crate::model::policy::Settings;
use crate::model::revision::CommitId;
use crate::model::system::Toplevel;

/// How many are kept; the oldest goes first. A branch that fails so often in a
/// row has brought so many new toplevels that the oldest is not coming back.
const MOST: usize = 64;

/// The toplevels that are not activated by themselves, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quarantine(Vec<Quarantined>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// What failed.
    pub toplevel: Toplevel,
    /// The commit that asked for it.
    pub commit: CommitId,
    /// Why, with its class.
    pub failure: Failure,
    /// Since when.
    pub since: Timestamp,
    /// The settings under which its own check refused it: others ask again.
    /// None if it was activated, which settings do not undo.
    pub refused_under: Option<Settings>,
}

impl Quarantine {
    /// Why the toplevel may not be activated under these settings, if so.
    pub fn holds(&self, toplevel: &Toplevel, settings: &Settings) -> Option<&Quarantined> {
        self.0.iter().find(|held| {
            let same_settings = held
                .refused_under
                .as_ref()
                .is_none_or(|refused_under| refused_under == settings);
            held.toplevel == *toplevel && same_settings
        })
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Quarantined> {
        self.0.iter()
    }

    /// Whether one of them is this toplevel.
    pub fn contains(&self, toplevel: &Toplevel) -> bool {
        self.0.iter().any(|held| held.toplevel == *toplevel)
    }

    pub(super) fn add(&mut self, quarantined: Quarantined) {
        self.lift(&quarantined.toplevel);
        self.0.push(quarantined);
        let surplus = self.0.len().saturating_sub(MOST);
        self.0.drain(..surplus);
    }

    pub(super) fn lift(&mut self, toplevel: &Toplevel) {
        self.0.retain(|held| held.toplevel != *toplevel);
    }

    /// Takes what an end means for the toplevel.
    pub(super) fn learn(
        &mut self,
        deployment: &Deployment,
        toplevel: &Toplevel,
        outcome: &Outcome,
        now: Timestamp,
    ) {
        let (failure, refused_under) = match outcome {
            Outcome::Deployed | Outcome::Unchanged => return self.lift(toplevel),
            // Nobody says that it failed.
            Outcome::RolledBackByReboot(failure) if failure.code == FailureCode::TestEnded => {
                return;
            }
            Outcome::RolledBack(failure)
            | Outcome::RolledBackByReboot(failure)
            | Outcome::RollbackFailed(failure) => (failure, None),
            Outcome::Failed(failure) if failure.code == FailureCode::Interrupted => (failure, None),
            Outcome::Refused(failure) if is_its_own_check(failure) => {
                (failure, Some(deployment.settings.clone()))
            }
            Outcome::Refused(_)
            | Outcome::Failed(_)
            | Outcome::Inconclusive(_)
            | Outcome::RebootRequired { .. }
            | Outcome::Superseded
            | Outcome::Overridden(_) => return,
        };
        self.add(Quarantined {
            toplevel: toplevel.clone(),
            commit: deployment.candidate.commit().clone(),
            failure: failure.clone(),
            since: now,
            refused_under,
        });
    }
}

/// Whether the closure itself said no.
fn is_its_own_check(failure: &Failure) -> bool {
    let checks = [
        FailureCode::CheckRefused,
        FailureCode::CheckTimeout,
        FailureCode::ActivationRefused,
    ];
    // A check that somebody ended has said nothing.
    failure.class == FailureClass::Deterministic && checks.contains(&failure.code)
}

/// Why a quarantined toplevel is refused.
pub(super) fn refusal(held: &Quarantined) -> Failure {
    Failure::new(
        FailureCode::Quarantined,
        format!(
            "{} failed on this host at {} as commit {} ({}: {}), and is not activated again by \
             itself",
            held.toplevel,
            held.since,
            held.commit,
            held.failure.code.as_str(),
            held.failure.message
        ),
        "Push a commit that mends it; or, if the cause lay outside of the commit, run \
         `deploy-flake retry` on this host.",
    )
    .with_detail(&held.failure.detail)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::*;

    fn learned(outcome: Outcome) -> Quarantine {
        let mut quarantine = Quarantine::default();
        quarantine.learn(&deployment(1), &toplevel(1), &outcome, now(10).wall);
        quarantine
    }

    #[test]
    fn what_was_activated_and_failed_is_held_under_any_settings() {
        let other = Settings {
            digest: "other".to_owned(),
            ..Settings::default()
        };
        for outcome in [
            Outcome::RolledBack(failure(FailureCode::UnhealthyAfterTest)),
            Outcome::RolledBackByReboot(failure(FailureCode::GuardianFired)),
            Outcome::RollbackFailed(failure(FailureCode::RollbackFailed)),
            Outcome::Failed(failure(FailureCode::Interrupted)),
        ] {
            let quarantine = learned(outcome);
            for settings in [Settings::default(), other.clone()] {
                assert!(quarantine.holds(&toplevel(1), &settings).is_some());
            }
            assert!(quarantine.holds(&toplevel(2), &other).is_none());
        }
    }

    #[test]
    fn what_its_own_check_refused_is_held_until_the_settings_change() {
        let quarantine = learned(Outcome::Refused(failure(FailureCode::CheckRefused)));
        assert!(
            quarantine
                .holds(&toplevel(1), &Settings::default())
                .is_some()
        );
        let other = Settings {
            digest: "other".to_owned(),
            ..Settings::default()
        };
        assert!(quarantine.holds(&toplevel(1), &other).is_none());
    }

    #[test]
    fn what_may_pass_is_not_held() {
        for outcome in [
            Outcome::Refused(failure(FailureCode::DiskFull)),
            Outcome::Inconclusive(failure(FailureCode::RemoteLost)),
            Outcome::Overridden(failure(FailureCode::Overridden)),
            Outcome::Superseded,
        ] {
            assert_eq!(learned(outcome), Quarantine::default());
        }
    }

    #[test]
    fn success_lifts_it_and_the_oldest_goes_first() {
        let bad = Outcome::RolledBack(failure(FailureCode::UnhealthyAfterTest));
        let mut quarantine = Quarantine::default();
        for index in 0..=u8::try_from(MOST).expect("small") {
            quarantine.learn(&deployment(1), &toplevel(index), &bad, now(10).wall);
        }
        assert_eq!(quarantine.iter().count(), MOST);
        assert!(!quarantine.contains(&toplevel(0)) && quarantine.contains(&toplevel(1)));
        quarantine.learn(
            &deployment(1),
            &toplevel(1),
            &Outcome::Deployed,
            now(11).wall,
        );
        assert!(!quarantine.contains(&toplevel(1)));
    }
}
