//! Whose turn it is with a step's unit.
//!
//! In: who is about to start, and who was given up. Out: one after the other, and
//! none that was given up. Must not: be held while anybody's step runs, but one that
//! may not be ended.
//!
//! What was given up is not ended but left alone, and may be anywhere: between
//! finding its unit's name free and taking it, it would stand in the way of the
//! deployment that came in its place, or end that one's unit for its own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::model::deployment::DeploymentId;
use crate::model::stage::UnitStep;

/// How many deployments are remembered that were given up: more than can be in
/// the middle of a step at once, when each took the place of the one before.
const REMEMBERED: usize = 64;

/// The turns of all steps.
#[derive(Debug)]
pub(super) struct Turns {
    starting: BTreeMap<UnitStep, tokio::sync::Mutex<()>>,
    given_up: Mutex<VecDeque<DeploymentId>>,
}

/// As long as it lives nobody else starts or ends this step's unit.
pub(super) type Turn<'a> = Option<tokio::sync::MutexGuard<'a, ()>>;

impl Default for Turns {
    fn default() -> Self {
        let each = UnitStep::ALL.iter();
        Self {
            starting: each
                .map(|step| (*step, tokio::sync::Mutex::default()))
                .collect(),
            given_up: Mutex::default(),
        }
    }
}

impl Turns {
    /// Waits for the turn; turns come in the order in which they were asked for.
    pub(super) async fn take(&self, step: UnitStep) -> Turn<'_> {
        match self.starting.get(&step) {
            Some(starting) => Some(starting.lock().await),
            None => None,
        }
    }

    /// Nothing more is started for this deployment.
    pub(super) fn give_up(&self, id: &DeploymentId) {
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        given_up.push_back(id.clone());
        if given_up.len() > REMEMBERED {
            given_up.pop_front();
        }
    }

    /// Whether that was said.
    pub(super) fn is_given_up(&self, id: &DeploymentId) -> bool {
        let given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        given_up.contains(id)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn deployment(number: usize) -> DeploymentId {
        DeploymentId(format!("{number:016x}"))
    }

    #[tokio::test]
    async fn one_step_is_taken_by_one_after_the_other_and_another_step_meanwhile() {
        let turns = Turns::default();
        let first = turns.take(UnitStep::Build).await;
        assert!(turns.take(UnitStep::Build).now_or_never().is_none());
        for step in UnitStep::ALL.iter().filter(|it| **it != UnitStep::Build) {
            assert!(
                turns.take(*step).now_or_never().flatten().is_some(),
                "{step:?}"
            );
        }
        drop(first);
        assert!(
            turns
                .take(UnitStep::Build)
                .now_or_never()
                .flatten()
                .is_some()
        );
    }

    #[test]
    fn the_last_ones_that_were_given_up_are_remembered() {
        let turns = Turns::default();
        for number in 0..=REMEMBERED {
            turns.give_up(&deployment(number));
        }
        assert!(!turns.is_given_up(&deployment(0)), "it is long over");
        assert!((1..=REMEMBERED).all(|number| turns.is_given_up(&deployment(number))));
        assert!(!turns.is_given_up(&deployment(REMEMBERED + 1)));
    }
}
