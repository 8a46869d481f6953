//! The exit codes, all in one place. They are part of the documented interface
//! (`docs/exit-codes.md`).
//!
//! In: how a command ended. Out: a number. Must not: mean two things.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked for: deployed, or already there.
    Success,
    /// Something that is in none of the other classes.
    Error,
    /// The arguments were not understood.
    Usage,
    /// The commit was refused or failed, or the host does not allow it.
    Refused,
    /// The remote could not be asked.
    RemoteUnreachable,
    /// The system needs a reboot.
    RebootRequired,
    /// It was not over in the time given with `--timeout`.
    GaveUp,
    /// The daemon is not running.
    NotRunning,
    /// The commit failed, and so did the way back: the host needs a human.
    NeedsHuman,
    /// The commit was activated and failed; the previous system runs again.
    RolledBack,
    /// The branch asks for another commit than the expected one.
    Unexpected,
    /// Several hosts ended in different ways, not all of them well.
    Mixed,
    /// The commit was there already; a code of its own only where that is asked
    /// for with `--detailed-exit-code`.
    AlreadyThere,
    /// Somebody interrupted it.
    Interrupted,
    /// ssh did not get to the host, or not back to it.
    Unreachable,
}

impl Exit {
    /// Every code of our own.
    pub const ALL: &[Self] = &[
        Self::Success,
        Self::Error,
        Self::Usage,
        Self::Refused,
        Self::RemoteUnreachable,
        Self::RebootRequired,
        Self::GaveUp,
        Self::NotRunning,
        Self::NeedsHuman,
        Self::RolledBack,
        Self::Unexpected,
        Self::Mixed,
        Self::AlreadyThere,
        Self::Interrupted,
        Self::Unreachable,
    ];

    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::RemoteUnreachable => 4,
            Self::RebootRequired => 5,
            Self::GaveUp => 6,
            Self::NotRunning => 7,
            Self::NeedsHuman => 8,
            Self::RolledBack => 9,
            Self::Unexpected => 10,
            Self::Mixed => 11,
            Self::AlreadyThere => 12,
            // What a shell makes of SIGINT, and what ssh ends with.
            Self::Interrupted => 130,
            Self::Unreachable => 255,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_its_own_and_documented() {
        let documentation = include_str!("../../docs/exit-codes.md");
        let codes = (0..=12).chain([130, 255]);
        for (number, exit) in codes.zip(Exit::ALL) {
            assert_eq!(exit.code(), number);
            let row = format!("\n| {number} |");
            assert!(documentation.contains(&row), "{exit:?} is not documented");
        }
        assert_eq!(Exit::ALL.len(), 15);
    }
}
