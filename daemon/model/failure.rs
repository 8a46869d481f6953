//! What can go wrong, as types: a code that never changes, a class that says
//! whether trying again makes sense, and words for people.
//!
//! In: what a stage found. Out: a value for the ledger, the journal and the
//! status. Must not: decide what follows; `reconcile` does.

use serde::{Deserialize, Serialize};

/// Whether the same commit may do better next time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// Network, disk, memory, a lock: tried again, later and later.
    Transient,
    /// The commit's own: never tried again until a new commit comes.
    Deterministic,
    /// The host's own state: looked at again after the same short while.
    Host,
}

impl FailureClass {
    /// The word for journal and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Deterministic => "deterministic",
            Self::Host => "host",
        }
    }
}

macro_rules! failure_codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $class:ident;)*) => {
        /// What went wrong. The codes are part of the documented interface.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum FailureCode {
            $($(#[$doc])* #[serde(rename = $code)] $variant,)*
        }

        impl FailureCode {
            /// Every code, in the order of the pipeline.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code as it is written in status, journal and documentation.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The class that a failure with this code has.
            pub fn class(self) -> FailureClass {
                match self { $(Self::$variant => FailureClass::$class,)* }
            }
        }
    };
}

failure_codes! {
    /// The remote could not be connected to.
    RemoteUnreachable = "remote-unreachable", Transient;
    /// Nobody knows the remote's host name.
    RemoteUnresolved = "remote-unresolved", Transient;
    /// The remote could not show that it is who it has to be.
    RemoteUntrusted = "remote-untrusted", Transient;
    /// The remote's certificate is for another name.
    RemoteNameMismatch = "remote-name-mismatch", Transient;
    /// Nobody has told this host the ssh server's key.
    RemoteKeyUnknown = "remote-key-unknown", Transient;
    /// The ssh server has another key than it has to have.
    RemoteKeyChanged = "remote-key-changed", Transient;
    /// The remote wants to be asked elsewhere; redirects are not followed.
    RemoteRedirected = "remote-redirected", Transient;
    /// The remote does not let this host read it.
    RemoteDenied = "remote-denied", Transient;
    /// What this host is to show the remote is missing, or cannot be used.
    CredentialUnusable = "credential-unusable", Transient;
    /// The remote says that it cannot answer.
    RemoteError = "remote-error", Transient;
    /// What the remote answered is not git's protocol.
    RemoteNotGit = "remote-not-git", Transient;
    /// The remote did not answer in time, or sent less than gets anywhere.
    RemoteTooSlow = "remote-too-slow", Transient;
    /// The remote sent more than is taken.
    RemoteTooBig = "remote-too-big", Transient;
    /// The remote is a repository that Nix does not read.
    RemoteUnsupported = "remote-unsupported", Transient;
    /// The remote answered and does not have the branch.
    BranchMissing = "branch-missing", Transient;
    /// The branch names something else than a commit.
    BranchNotACommit = "branch-not-a-commit", Transient;
    /// The pack could not be fetched into the mirror.
    FetchFailed = "fetch-failed", Transient;
    /// What the remote sent is damaged, or lacks what belongs to the commit.
    PackDamaged = "pack-damaged", Transient;
    /// The commit is older than the one that was confirmed last.
    Downgrade = "downgrade", Deterministic;
    /// The commit does not descend from the one that was confirmed last.
    Diverged = "diverged", Deterministic;
    /// The commit does not descend from the introduction.
    NotIntroduced = "not-introduced", Deterministic;
    /// A commit that has to be signed is not.
    CommitUnsigned = "commit-unsigned", Deterministic;
    /// A commit that has to be signed is not by a key that may.
    CommitUntrusted = "commit-untrusted", Deterministic;
    /// Commits that the verdict depends on are not there.
    HistoryIncomplete = "history-incomplete", Transient;
    /// More commits than are looked at.
    HistoryTooLong = "history-too-long", Deterministic;
    /// The files of keys cannot be read, or were refused.
    KeysUnusable = "keys-unusable", Host;
    /// The remote's heartbeat is missing, too old, not by a key that may make
    /// it, or names a commit that the branch lacks.
    RemoteStale = "remote-stale", Transient;
    /// The commit could not be imported into the evaluation's repository.
    ImportFailed = "import-failed", Transient;
    /// git's own check refuses an object of the commit's history.
    ObjectRefused = "object-refused", Deterministic;
    /// What was pushed is no valid path of this host's store.
    SourceInvalid = "source-invalid", Deterministic;
    /// The commit holds no `flake.nix`.
    FlakeMissing = "flake-missing", Deterministic;
    /// The flake has no configuration for this host.
    ConfigurationMissing = "configuration-missing", Deterministic;
    /// `flake.lock` is incomplete; it is never written here.
    LockFileIncomplete = "lock-file-incomplete", Deterministic;
    /// An input of the flake, or a substitute, could not be downloaded.
    InputUnavailable = "input-unavailable", Transient;
    /// The flake does not evaluate.
    EvaluationFailed = "evaluation-failed", Deterministic;
    /// Evaluation took longer than its deadline.
    EvaluationTimeout = "evaluation-timeout", Transient;
    /// The build failed.
    BuildFailed = "build-failed", Deterministic;
    /// The build took longer than its deadline.
    BuildTimeout = "build-timeout", Transient;
    /// A step was ended because memory ran out.
    OutOfMemory = "out-of-memory", Transient;
    /// A file system is full.
    DiskFull = "disk-full", Transient;
    /// The toplevel is not the derivation's own output, or has no GC root.
    NotRooted = "not-rooted", Transient;
    /// The toplevel has no `bin/switch-to-configuration`.
    NotSwitchable = "not-switchable", Deterministic;
    /// The boot loader's default entry cannot be read.
    BootLoaderUnreadable = "boot-loader-unreadable", Host;
    /// The system was not healthy before anything was done.
    SystemUnhealthy = "system-unhealthy", Host;
    /// The system is still starting, or is shutting down.
    HostBusy = "host-busy", Host;
    /// The closure's own check refused.
    CheckRefused = "check-refused", Deterministic;
    /// The closure's own check took longer than its deadline.
    CheckTimeout = "check-timeout", Deterministic;
    /// The closure's own check asked to be run later.
    CheckPostponed = "check-postponed", Transient;
    /// The new system would not run this daemon.
    DaemonMissing = "daemon-missing", Deterministic;
    /// The new system would run no ssh server, and this one does.
    SshServerMissing = "ssh-server-missing", Deterministic;
    /// The new system's daemon would not follow this host's remote.
    RemoteMissing = "remote-missing", Deterministic;
    /// Configuration or closure are bound to another machine.
    MachineMismatch = "machine-mismatch", Deterministic;
    /// This toplevel failed before, and is not activated again by itself.
    Quarantined = "quarantined", Deterministic;
    /// The way back could not be armed and read back, so nothing was activated.
    GuardianNotArmed = "guardian-not-armed", Transient;
    /// A switch inhibitor differs: the system needs a reboot.
    SwitchInhibited = "switch-inhibited", Deterministic;
    /// `switch-to-configuration` says that the system needs a reboot.
    RebootRequired = "reboot-required", Deterministic;
    /// The boot entry is written, and mode `boot` leaves the rest to a reboot.
    WaitsForReboot = "waits-for-reboot", Deterministic;
    /// Somebody else is switching.
    LockHeld = "lock-held", Transient;
    /// `test` ended before it touched anything.
    ActivationRefused = "activation-refused", Deterministic;
    /// `test` failed half-way.
    ActivationFailed = "activation-failed", Deterministic;
    /// `test` took longer than its deadline.
    ActivationTimeout = "activation-timeout", Deterministic;
    /// The system is not healthy after `test`.
    UnhealthyAfterTest = "unhealthy-after-test", Deterministic;
    /// A unit that must be active is not, after `test`.
    RequiredUnitDown = "required-unit-down", Deterministic;
    /// The ssh server does not answer after `test`.
    SshUnreachable = "ssh-unreachable", Deterministic;
    /// There was a default route before `test`, and there is none after.
    RouteLost = "route-lost", Deterministic;
    /// The remote could be asked before `test`, and cannot after.
    RemoteLost = "remote-lost", Transient;
    /// One of the operator's own probes failed after `test`.
    ProbeFailed = "probe-failed", Deterministic;
    /// An operator rejected the system in its confirm window.
    Rejected = "rejected", Deterministic;
    /// The new system's daemon could not take over.
    DaemonNotReplaced = "daemon-not-replaced", Deterministic;
    /// The guardian acted: nobody had confirmed the system by its deadline.
    GuardianFired = "guardian-fired", Deterministic;
    /// The way back did not lead to a healthy system.
    RollbackFailed = "rollback-failed", Deterministic;
    /// Somebody switched the host while a deployment went on.
    Overridden = "overridden", Deterministic;
    /// The profile could not be set.
    ProfileFailed = "profile-failed", Transient;
    /// The boot loader could not be installed.
    BootLoaderFailed = "boot-loader-failed", Transient;
    /// Profile or default entry are not what was just written.
    ReadBackMismatch = "read-back-mismatch", Transient;
    /// The host went down in the middle of it, more than once.
    Interrupted = "interrupted", Deterministic;
    /// A reboot took away what was only tested.
    TestEnded = "test-ended", Deterministic;
    /// A step could not be started or watched.
    StepFailed = "step-failed", Transient;
}

impl FailureCode {
    /// Whether the remote answered, and what it offers is not followed, or
    /// cannot be judged.
    pub fn is_of_offer(self) -> bool {
        matches!(
            self,
            Self::Downgrade
                | Self::Diverged
                | Self::NotIntroduced
                | Self::CommitUnsigned
                | Self::CommitUntrusted
                | Self::HistoryIncomplete
                | Self::HistoryTooLong
                | Self::KeysUnusable
                | Self::RemoteStale
        )
    }

    /// Whether it is the remote's own, or the network's between: nothing that
    /// a system of this host could be blamed for.
    pub fn is_of_remote(self) -> bool {
        matches!(
            self,
            Self::RemoteUnreachable
                | Self::RemoteUnresolved
                | Self::RemoteUntrusted
                | Self::RemoteNameMismatch
                | Self::RemoteKeyUnknown
                | Self::RemoteKeyChanged
                | Self::RemoteRedirected
                | Self::RemoteDenied
                | Self::RemoteError
                | Self::RemoteNotGit
                | Self::RemoteTooSlow
                | Self::RemoteTooBig
                | Self::RemoteUnsupported
                | Self::BranchMissing
                | Self::BranchNotACommit
                | Self::PackDamaged
        )
    }
}

/// One thing that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What, for programs.
    pub code: FailureCode,
    /// Whether the same commit may do better next time.
    pub class: FailureClass,
    /// What was expected and what was found: one sentence without its period.
    pub message: String,
    /// The last lines of the output, or the names of units; may be empty.
    pub detail: String,
    /// What to do next, as a sentence.
    pub hint: String,
}

/// How much of a detail is kept, in bytes: enough for the end of an output.
const DETAIL_LIMIT: usize = 4000;

impl Failure {
    /// A failure of the code's own class.
    pub fn new(code: FailureCode, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            code,
            class: code.class(),
            message: message.into(),
            detail: String::new(),
            hint: hint.into(),
        }
    }

    /// Adds another detail after the one that is there.
    pub fn with_more(self, detail: &str) -> Self {
        let both = format!("{}\n{detail}", self.detail);
        self.with_detail(&both)
    }

    /// Sets the detail: the end of an output.
    pub fn with_detail(mut self, detail: &str) -> Self {
        let mut start = detail.len().saturating_sub(DETAIL_LIMIT);
        while !detail.is_char_boundary(start) {
            start += 1;
        }
        self.detail = detail[start..].trim().to_owned();
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_is_its_own_and_survives_serialisation() {
        let codes: HashSet<_> = FailureCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), FailureCode::ALL.len());
        for code in FailureCode::ALL {
            let text = serde_json::to_string(code).expect("a unit variant serialises");
            assert_eq!(text, format!("\"{}\"", code.as_str()));
        }
    }

    #[test]
    fn a_long_detail_keeps_its_end() {
        let failure = Failure::new(FailureCode::BuildFailed, "m", "h")
            .with_detail(&format!("{}é the end", "x".repeat(DETAIL_LIMIT)));
        assert!(failure.detail.len() <= DETAIL_LIMIT);
        assert!(failure.detail.ends_with("the end"));
    }
}
