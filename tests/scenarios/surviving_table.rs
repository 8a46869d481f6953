//! How long a host was not well, for the table in `docs/reliability.md`: one line for each sabotage.
//!
//! In: moments of the harness's monotonic clock. Out: lines of a file that `tests/all` prints, tab-separated, in the
//! order in which the scenarios ended. Must not: judge; the scenarios do.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use crate::testbed::cache;

/// The file, below the directory of the scenarios' logs.
const FILE: &str = "sabotages.tsv";

/// What became of one sabotage.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Which, and under which circumstances.
    pub(crate) sabotage: String,
    /// How its deployment ended, as the status has it.
    pub(crate) outcome: String,
    /// Why, as the status has it.
    pub(crate) code: String,
    /// From the beginning until the old system is healthy again; None if nothing was activated.
    pub(crate) healthy: Option<Duration>,
    /// From the beginning until the old system's daemon has told the end and rests.
    pub(crate) following: Option<Duration>,
}

impl Row {
    /// Adds it to the table.
    pub(crate) fn write(&self) {
        let line = format!(
            "{}\t{}\t{}\t{}\t{}\n",
            self.sabotage,
            self.outcome,
            self.code,
            seconds(self.healthy),
            seconds(self.following)
        );
        let path = cache::logs().join(FILE);
        let file = File::options().create(true).append(true).open(path);
        // In one piece: scenarios end at the same time.
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("target can be written");
    }
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |it| format!("{:.1}", it.as_secs_f64()))
}
