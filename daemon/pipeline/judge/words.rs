//! Refusals in words.
//!
//! In: why a commit is refused. Out: a typed failure with a hint. Must not:
//! judge.

use crate::model::failure::{Failure, FailureCode};
use crate::trust::Untrusted;
use crate::trust::history::Refused;

/// The failure that people and programs are told.
pub(super) fn failure(refused: &Refused) -> Failure {
    let failure = Failure::new(code(refused), message(refused), hint(refused));
    failure.with_detail(&format!("reason: {}", refused.code()))
}

fn code(refused: &Refused) -> FailureCode {
    match refused {
        Refused::Missing { .. } => FailureCode::HistoryIncomplete,
        Refused::TooMuch { .. } => FailureCode::HistoryTooLong,
        Refused::Downgrade { .. } => FailureCode::Downgrade,
        Refused::Diverged { .. } => FailureCode::Diverged,
        Refused::NotIntroduced { .. } => FailureCode::NotIntroduced,
        Refused::Untrusted {
            source: Untrusted::Unsigned,
            ..
        } => FailureCode::CommitUnsigned,
        Refused::Untrusted { .. } => FailureCode::CommitUntrusted,
    }
}

fn message(refused: &Refused) -> String {
    match refused {
        Refused::Untrusted { source, .. } => format!("{refused} ({}): {source}", source.code()),
        Refused::Missing { .. }
        | Refused::TooMuch { .. }
        | Refused::Downgrade { .. }
        | Refused::Diverged { .. }
        | Refused::NotIntroduced { .. } => refused.to_string(),
    }
}

fn hint(refused: &Refused) -> String {
    match refused {
        Refused::Downgrade { tip, .. } | Refused::Diverged { tip, .. } => format!(
            "Nothing of it was evaluated. Find out who moved the branch. To go back on purpose, \
             push a commit on top (`git revert`); or allow this one, once, as root: \
             `deploy-flake allow {tip}`."
        ),
        Refused::NotIntroduced { .. } => {
            "Nothing of it was evaluated. It is another repository's, \
            or `introduction` in `[trust]` is wrong."
                .to_owned()
        }
        Refused::Untrusted { commit, .. } => format!(
            "Nothing of it was evaluated. Sign commits with a key that this host trusts, or find \
             out whose {commit} is. docs/trust.md explains the reason in brackets."
        ),
        Refused::Missing { .. } => {
            "Nothing of it was evaluated. Look at the remote for a shallow history. It is looked \
             at again."
                .to_owned()
        }
        Refused::TooMuch { .. } => {
            "Nothing of it was evaluated. Move the branch in smaller steps, or allow this commit, \
             once, as root: `deploy-flake allow COMMIT`."
                .to_owned()
        }
    }
}
