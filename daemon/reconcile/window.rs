//! Which deployment an operator can speak of: the one in its confirm window.
//!
//! In: the phase, and whom they named. Out: its id, or why there is none. Must
//! not: take a word for another deployment than the one that was meant.

use super::phase::Phase;
use crate::model::deployment::DeploymentId;

/// Why an operator's word on a system is not taken now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    /// None is in its confirm window.
    #[error(
        "no system is in its confirm window (the daemon is {0}), so there is nothing to confirm \
         or reject"
    )]
    NoWindow(&'static str),
    /// Another one is than the one that was named.
    #[error("deployment {0} is in its confirm window, and another one was named")]
    Another(DeploymentId),
}

/// Finds the deployment in its confirm window. `named`: the one that has to be.
pub fn judged(phase: &Phase, named: Option<&DeploymentId>) -> Result<DeploymentId, NotNow> {
    let Phase::Confirming(activation) = phase else {
        return Err(NotNow::NoWindow(phase.name()));
    };
    let id = &activation.deployment.id;
    match named {
        Some(named) if named != id => Err(NotNow::Another(id.clone())),
        Some(_) | None => Ok(id.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::*;
    use super::*;

    #[test]
    fn only_the_deployment_in_its_window_is_judged_and_only_if_it_was_meant() {
        let phase = Phase::Confirming(activation(1));
        let (id, other) = (deployment(1).id, DeploymentId("other".to_owned()));
        assert_eq!(judged(&phase, None), Ok(id.clone()));
        assert_eq!(judged(&phase, Some(&id)), Ok(id.clone()));
        assert_eq!(judged(&phase, Some(&other)), Err(NotNow::Another(id)));
        for phase in [Phase::Resting, Phase::Testing(activation(1))] {
            let name = phase.name();
            assert_eq!(judged(&phase, None), Err(NotNow::NoWindow(name)));
        }
    }
}
