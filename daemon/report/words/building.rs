//! The words for how far a build is.
//!
//! In: progress. Out: one line. Must not: have it longer than it need be: what the
//! builder said last stands at its end, and a terminal cuts that off.

use super::phase;
use crate::model::progress::Progress;
use crate::store::snapshot::PhaseName;

/// How far a build is.
pub fn building(progress: &Progress) -> String {
    if progress.is_known() {
        format!("building, {progress}")
    } else {
        phase(PhaseName::Building).to_owned()
    }
}
