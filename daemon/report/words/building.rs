//! The words for how far a build is.
//!
//! In: progress. Out: one line. Must not: have it longer than progress is.

use super::phase;
use crate::model::progress::Progress;
use crate::store::snapshot::PhaseName;

/// How far a build is.
pub fn building(progress: &Progress) -> String {
    let doing = phase(PhaseName::Building);
    match progress.to_string() {
        nothing if nothing.is_empty() => doing.to_owned(),
        known => format!("{doing}, {known}"),
    }
}
