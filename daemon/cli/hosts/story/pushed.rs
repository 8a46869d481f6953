//! How a push ended on one host.
//!
//! In: what was brought there, and the host's last word. Out: its fate. Must not:
//! tell the host's condition for the push's: a host that led back from one is
//! what its branch asks for.

use super::super::errand::Cargo;
use super::super::far::{End, LastFailure};
use super::super::fate::{About, Ending, Fate};

/// The fate, by the ending that the last word amounts to, or why it is none.
pub(super) fn fate(cargo: &Cargo, ending: Result<Ending, String>, end: End) -> Fate {
    let glimpse = end.glimpse;
    let last = glimpse.last.filter(|last| {
        let pushed = last.pushed.as_ref();
        pushed.is_some_and(|it| it.source.as_str() == cargo.source.as_str())
    });
    let failure = last.and_then(|last| last.failure);
    let fate = match ending {
        Err(contradiction) => Fate::of(Ending::Error).because(contradiction),
        Ok(ending) if ending.is_fine() => Fate {
            about: Some(About::Snapshot(cargo.called.clone())),
            ..Fate::of(ending)
        },
        Ok(ending) => match failure {
            Some(failure) => failed(ending, &failure),
            None => Fate {
                to_do: glimpse.condition.remedy.map(|it| it.as_str().to_owned()),
                ..Fate::of(ending).because(glimpse.condition.why.as_str())
            },
        },
    };
    Fate {
        snapshot: Some(Box::new(end.snapshot)),
        ..fate
    }
}

fn failed(ending: Ending, failure: &LastFailure) -> Fate {
    let detail = Some(failure.detail.as_str().to_owned());
    let fate = Fate {
        detail: detail.filter(|it| !it.is_empty()),
        ..Fate::of(ending).because(failure.message.as_str())
    };
    match failure.hint.as_str() {
        "" => fate,
        hint => fate.with_remedy(hint),
    }
}
