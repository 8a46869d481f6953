//! The points of a deployment at which the power is cut, and what has to be true of the boot that follows.
//!
//! In: nothing. Out: a table. A point is held by a gate of the test bed where there is one, so that it is met for sure.

/// What stands in the default boot entry when the power comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Boots {
    /// The system before, and nothing of the new one was activated: the deployment goes on as if nothing had been.
    OldUntried,
    /// The system before. It may have been the new one's doing: it is tried once more, and that is counted.
    OldTried,
    /// The new system: there is nothing left to do but to say so.
    New,
}

/// A point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) name: &'static str,
    /// The gate that holds the deployment there or, where it is seen in passing, soon after.
    gate: Option<&'static str>,
    /// What is seen from the disk or `/run` when the point is reached: a file, and what is in it.
    seen: Option<(&'static str, &'static str)>,
    pub(crate) boots: Boots,
}

/// The file by which systemd knows the guardian's timer.
const TIMER: &str = "/run/systemd/transient/deploy-flake-guardian.timer";

const LEDGER: &str = "/var/lib/deploy-flake/ledger";

pub(crate) const POINTS: [Point; 6] = [
    Point {
        name: "while the guardian is armed and nothing is activated",
        gate: Some("switch-to-configuration-test"),
        seen: Some((TIMER, "")),
        boots: Boots::OldUntried,
    },
    Point {
        name: "in the test, before its activation script",
        gate: Some("activate"),
        seen: None,
        boots: Boots::OldTried,
    },
    Point {
        name: "in the confirm window",
        gate: None,
        seen: Some((LEDGER, r#""name": ?"confirming""#)),
        boots: Boots::OldTried,
    },
    Point {
        name: "between profile and boot entry",
        gate: Some("switch-to-configuration-boot"),
        seen: None,
        boots: Boots::OldTried,
    },
    Point {
        name: "while the boot entry is written, before it is the default",
        gate: Some("default-entry"),
        seen: None,
        boots: Boots::OldTried,
    },
    Point {
        name: "before the guardian is disarmed",
        gate: None,
        seen: Some((LEDGER, r#""name": ?"(reading-back|disarming)""#)),
        boots: Boots::New,
    },
];

impl Point {
    /// The gate to close before the commit comes, if any.
    pub(crate) fn gate(&self) -> Option<String> {
        let gate = self.gate?;
        Some(format!("{GATES}/{gate}.closed"))
    }

    /// The file and its content by which the point is known to be reached.
    pub(crate) fn sign(&self) -> (String, &'static str) {
        match (self.seen, self.gate) {
            (Some((file, pattern)), _) => (file.to_owned(), pattern),
            (None, Some(gate)) => (format!("{GATES}/{gate}.reached"), ""),
            (None, None) => unreachable!("a point is held or seen"),
        }
    }

    /// Whether the deployment stands still there, so that there is time to look around.
    pub(crate) fn is_held(&self) -> bool {
        self.seen.is_none()
    }
}

const GATES: &str = "/run/testbed-gates";
