//! Why Nix or git said no, from their own words.
//!
//! In: the last lines of an output. Out: a cause, if the words are known. Must
//! not: take a commit's failure for the network's the other way round: words
//! that are not known are the commit's own, and a cause that may pass wins
//! over one that will not.
//!
//! The words are those of Nix 2.26 and git 2.47, kept as fixtures; those of
//! other versions stand beside them where they are known.

use crate::model::failure::{Failure, FailureCode};

/// How much of a line goes into a message, in characters.
const LINE_LIMIT: usize = 300;

/// Why a program said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Somebody ended it: Nix catches the signal and exits with 1.
    Interrupted,
    /// The Nix daemon is away.
    NixDaemonAway,
    /// A machine that is to build does not answer.
    BuilderUnreachable,
    /// A file system is full.
    DiskFull,
    /// Memory ran out.
    OutOfMemory,
    /// The evaluation's own repository cannot be read.
    RepositoryDamaged,
    /// The mirror does not have the commit.
    NotInMirror,
    /// git's own check refuses an object.
    ObjectRefused,
    /// `flake.lock` does not hold every input.
    LockFileIncomplete,
    /// Something could not be downloaded.
    InputUnavailable,
    /// There is no `flake.nix`.
    FlakeMissing,
    /// There is no such configuration.
    ConfigurationMissing,
    /// Nix itself ended a builder at a time limit of `nix.conf`.
    BuilderTimedOut,
}

/// Words and what they mean; the first that is found counts. What may pass by
/// itself comes first, because it makes everything after it fail, too.
const WORDS: &[(&str, Cause)] = &[
    ("error: interrupted by the user", Cause::Interrupted),
    ("cannot connect to socket at", Cause::NixDaemonAway),
    (
        "cannot open connection to remote store",
        Cause::NixDaemonAway,
    ),
    ("Nix daemon disconnected unexpectedly", Cause::NixDaemonAway),
    // The same, when it goes while something is sent to it, or in the middle
    // of its answer.
    ("error: writing to file: Broken pipe", Cause::NixDaemonAway),
    (
        "error: writing to file: Connection reset",
        Cause::NixDaemonAway,
    ),
    (
        "error: reading from file: Connection reset",
        Cause::NixDaemonAway,
    ),
    ("error: unexpected end-of-file", Cause::NixDaemonAway),
    // What Nix tries when there is not even a socket.
    (
        "opening lock file '/nix/var/nix/db/big-lock'",
        Cause::NixDaemonAway,
    ),
    ("No space left on device", Cause::DiskFull),
    ("database or disk is full", Cause::DiskFull),
    ("Disk quota exceeded", Cause::DiskFull),
    ("error: out of memory", Cause::OutOfMemory),
    ("GC Warning: Out of Memory", Cause::OutOfMemory),
    ("Cannot allocate memory", Cause::OutOfMemory),
    // The kernel's choice, when a builder takes too much.
    ("failed due to signal 9", Cause::OutOfMemory),
    // Somebody stopped the Nix daemon with everything that it had started.
    ("failed due to signal 15", Cause::Interrupted),
    ("Killed signal terminated program", Cause::OutOfMemory),
    (
        "while fetching the input 'git+file:///var/cache/deploy-flake/build/repository",
        Cause::RepositoryDamaged,
    ),
    ("not our ref", Cause::NotInMirror),
    ("does not appear to be a git repository", Cause::NotInMirror),
    // The end of what `fetch.fsckObjects` says, and what git dies of before it
    // comes to that.
    ("fsck error in pack", Cause::ObjectRefused),
    ("empty filename in tree entry", Cause::ObjectRefused),
    ("malformed mode in tree entry", Cause::ObjectRefused),
    // Before the network's words: an input that has to be looked up because
    // the lock does not hold it, is the commit's own fault.
    ("requires lock file changes", Cause::LockFileIncomplete),
    ("while updating the flake input", Cause::LockFileIncomplete),
    // Nix goes on without it, and ends with what a commit for another kind of
    // machine ends with.
    ("failed to start SSH connection", Cause::BuilderUnreachable),
    ("cannot build on 'ssh", Cause::BuilderUnreachable),
    ("unable to download", Cause::InputUnavailable),
    ("Could not resolve host", Cause::InputUnavailable),
    ("Couldn't resolve host", Cause::InputUnavailable),
    (
        "Temporary failure in name resolution",
        Cause::InputUnavailable,
    ),
    ("Network is unreachable", Cause::InputUnavailable),
    ("Failed to open archive", Cause::InputUnavailable),
    ("Cannot find Git revision", Cause::InputUnavailable),
    ("ailed to fetch git repository", Cause::InputUnavailable),
    (
        "Could not read from remote repository",
        Cause::InputUnavailable,
    ),
    ("unable to access 'http", Cause::InputUnavailable),
    (
        "some substitutes for the outputs of derivation",
        Cause::InputUnavailable,
    ),
    // What nixpkgs' fetchurl says.
    ("from any mirror", Cause::InputUnavailable),
    ("source/flake.nix' does not exist", Cause::FlakeMissing),
    ("does not contain a '/flake.nix' file", Cause::FlakeMissing),
    ("does not contain a 'flake.nix' file", Cause::FlakeMissing),
    ("does not provide attribute", Cause::ConfigurationMissing),
    ("timed out after", Cause::BuilderTimedOut),
];

/// A cause, and the line that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Finding<'a> {
    /// What it is.
    pub(super) cause: Cause,
    /// Where it says so.
    line: &'a str,
}

/// The cause and its last line, if the words are known.
pub(super) fn find(tail: &str) -> Option<Finding<'_>> {
    WORDS.iter().find_map(|&(words, cause)| {
        let evidence = tail.lines().filter(|line| is_evidence(line));
        let line = evidence.rev().find(|line| line.contains(words))?;
        Some(Finding { cause, line })
    })
}

/// The cause alone.
pub(super) fn cause(tail: &str) -> Option<Cause> {
    find(tail).map(|finding| finding.cause)
}

/// The failure for a cause that is the same for every step; None: the step
/// must say itself what it means to it.
pub(super) fn common_failure(finding: Finding<'_>) -> Option<Failure> {
    let (code, message, hint) = match finding.cause {
        Cause::NixDaemonAway => (
            FailureCode::StepFailed,
            "the Nix daemon does not answer",
            "It is tried again by itself; see `systemctl status nix-daemon`.",
        ),
        Cause::Interrupted => (
            FailureCode::StepFailed,
            "somebody ended it",
            "It is tried again later.",
        ),
        Cause::BuilderUnreachable => (
            FailureCode::InputUnavailable,
            "a machine that is to build does not answer",
            "It is tried again later; see `builders` in nix.conf(5), and whether the host \
             reaches what is named above.",
        ),
        Cause::DiskFull => (
            FailureCode::DiskFull,
            "a file system is full",
            "Free some space, for example with `nix-collect-garbage`; it is tried again later.",
        ),
        Cause::OutOfMemory => (
            FailureCode::OutOfMemory,
            "memory ran out",
            "Give the host more memory or swap; it is tried again later.",
        ),
        Cause::InputUnavailable => (
            FailureCode::InputUnavailable,
            "something could not be downloaded",
            "It is tried again later; see whether the host reaches what is named above.",
        ),
        Cause::RepositoryDamaged
        | Cause::NotInMirror
        | Cause::ObjectRefused
        | Cause::LockFileIncomplete
        | Cause::FlakeMissing
        | Cause::ConfigurationMissing
        | Cause::BuilderTimedOut => return None,
    };
    let message = format!("{message}: {}", beginning(finding.line));
    Some(Failure::new(code, message, hint))
}

/// One line for a message: what stands before its error, and its far end, are
/// in the detail.
fn beginning(line: &str) -> String {
    let start = line.find("error: ").map_or(0, |at| at + "error: ".len());
    let line = line[start..].trim_start_matches(['>', ' ']);
    line.trim_end().chars().take(LINE_LIMIT).collect()
}

/// Warnings tell what did not matter in the end; excerpts of the source may
/// hold any words.
fn is_evidence(line: &str) -> bool {
    let line = line.trim_start();
    let is_excerpt = line
        .split_once('|')
        .is_some_and(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()));
    !line.starts_with("warning:") && !is_excerpt
}

/// Which object git refuses, and why; or the line that says that it refuses one.
pub(super) fn refused_object(tail: &str, finding: Finding<'_>) -> String {
    let named = errors(tail).find(|error| error.starts_with("object "));
    beginning(named.unwrap_or(finding.line))
}

/// The first error that names something.
pub(super) fn first_error(tail: &str) -> &str {
    errors(tail).next().unwrap_or("no reason was given")
}

/// The last error that names something: below its trace, where Nix puts it.
pub(super) fn last_error(tail: &str) -> &str {
    errors(tail).last().unwrap_or("no reason was given")
}

/// What follows each `error:`, on its line or on the next; traces come before
/// the error that they lead to, and are passed over.
fn errors(tail: &str) -> impl Iterator<Item = &str> {
    let lines = tail.lines().map(str::trim_start);
    let next_lines = tail.lines().map(str::trim).skip(1).chain([""]);
    lines.zip(next_lines).filter_map(|(line, next)| {
        let same = line.strip_prefix("error:")?.trim();
        let text = if same.is_empty() { next } else { same };
        let names_something = !text.is_empty() && !text.starts_with('…');
        // Some go on with what their log was.
        names_something.then(|| text.trim_end_matches(';'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole outputs of Nix 2.26.3 and git 2.47.3, as the units get them.
    macro_rules! fixture {
        ($name:literal) => {
            ($name, include_str!(concat!("fixtures/", $name, ".txt")))
        };
    }

    #[test]
    fn causes_are_read_from_real_outputs() {
        for ((name, output), expected) in [
            (fixture!("eval-daemon-down"), Cause::NixDaemonAway),
            (fixture!("eval-daemon-no-socket"), Cause::NixDaemonAway),
            (fixture!("eval-daemon-cannot-start"), Cause::NixDaemonAway),
            (fixture!("build-daemon-dies"), Cause::NixDaemonAway),
            (fixture!("eval-cache-full"), Cause::DiskFull),
            (fixture!("build-store-full"), Cause::DiskFull),
            (fixture!("eval-out-of-memory"), Cause::OutOfMemory),
            (fixture!("eval-object-missing"), Cause::RepositoryDamaged),
            (fixture!("eval-object-flipped"), Cause::RepositoryDamaged),
            (fixture!("eval-object-empty"), Cause::RepositoryDamaged),
            (fixture!("eval-head-empty"), Cause::RepositoryDamaged),
            (fixture!("import-not-in-mirror"), Cause::NotInMirror),
            (fixture!("import-no-mirror"), Cause::NotInMirror),
            (fixture!("import-name-refused"), Cause::ObjectRefused),
            (fixture!("import-submodule-refused"), Cause::ObjectRefused),
            (fixture!("import-name-empty"), Cause::ObjectRefused),
            (fixture!("eval-lock-incomplete"), Cause::LockFileIncomplete),
            (
                fixture!("eval-lock-missing-offline"),
                Cause::LockFileIncomplete,
            ),
            (fixture!("eval-lock-indirect"), Cause::LockFileIncomplete),
            (fixture!("eval-github-unreachable"), Cause::InputUnavailable),
            (
                fixture!("eval-github-unreachable-retried"),
                Cause::InputUnavailable,
            ),
            (fixture!("eval-git-unreachable"), Cause::InputUnavailable),
            (fixture!("eval-ssh-unreachable"), Cause::InputUnavailable),
            (
                fixture!("eval-tarball-unreachable"),
                Cause::InputUnavailable,
            ),
            (
                fixture!("eval-fetchurl-unreachable"),
                Cause::InputUnavailable,
            ),
            (fixture!("build-fetch-unreachable"), Cause::InputUnavailable),
            (fixture!("eval-flake-missing"), Cause::FlakeMissing),
            (
                fixture!("eval-configuration-missing"),
                Cause::ConfigurationMissing,
            ),
            (
                fixture!("eval-configuration-empty"),
                Cause::ConfigurationMissing,
            ),
        ] {
            assert_eq!(cause(output), Some(expected), "{name}");
        }
    }

    #[test]
    fn what_the_commit_itself_does_wrong_has_no_other_cause() {
        for (name, output) in [
            fixture!("eval-throw"),
            fixture!("eval-syntax"),
            fixture!("eval-recursion"),
            fixture!("eval-impure"),
            fixture!("eval-import-from-derivation"),
            fixture!("eval-lock-garbage"),
            fixture!("eval-not-a-string"),
            fixture!("build-fails"),
            fixture!("build-dependency-fails"),
            fixture!("build-hash-mismatch"),
            fixture!("build-wrong-system"),
        ] {
            assert_eq!(cause(output), None, "{name}");
        }
    }

    #[test]
    fn a_damaged_repository_of_ours_is_told_from_a_mirror_without_the_commit() {
        for (name, output) in [
            fixture!("import-object-empty"),
            fixture!("import-ref-empty"),
            fixture!("import-head-empty"),
            fixture!("import-not-a-directory"),
        ] {
            assert_eq!(cause(output), None, "{name}");
        }
    }

    #[test]
    fn warnings_and_excerpts_are_no_evidence() {
        let output = "warning: error: unable to download 'https://cache.example.org'\n\
                      error:\n   1| throw \"No space left on device\"\n\
                      error: builder for '/nix/store/x.drv' failed with exit code 1";
        assert_eq!(cause(output), None);
    }

    #[test]
    fn what_other_versions_say_is_known() {
        for (line, expected) in [
            (
                "error: source tree referenced by 'git+file:///x' does not contain a '/flake.nix' file",
                Cause::FlakeMissing,
            ),
            (
                "error: some substitutes for the outputs of derivation '/nix/store/x.drv' failed \
                 (usually happens due to networking issues); try '--fallback' to build",
                Cause::InputUnavailable,
            ),
            (
                "error: builder for '/nix/store/x.drv' failed due to signal 9 (Killed)",
                Cause::OutOfMemory,
            ),
            ("error: interrupted by the user", Cause::Interrupted),
            (
                "error: builder for '/nix/store/x.drv' failed due to signal 15 (Terminated)",
                Cause::Interrupted,
            ),
            ("error: writing to file: Broken pipe", Cause::NixDaemonAway),
            ("error: unexpected end-of-file", Cause::NixDaemonAway),
            (
                "cannot build on 'ssh-ng://arm': error: failed to start SSH connection to 'arm'\n\
                 error: a 'aarch64-linux' with features {} is required to build \
                 '/nix/store/x.drv', but I am a 'x86_64-linux' with features {}",
                Cause::BuilderUnreachable,
            ),
            (
                "error: building of '/nix/store/x.drv^out' timed out after 60 seconds of silence",
                Cause::BuilderTimedOut,
            ),
        ] {
            assert_eq!(cause(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn a_message_names_what_was_found() {
        for ((_, output), expected) in [
            (
                fixture!("build-fetch-unreachable"),
                "something could not be downloaded: unable to download 'https://example.org/x': \
                 Could not resolve hostname (6) Could not resolve host: example.org",
            ),
            (
                fixture!("build-store-full"),
                "a file system is full: writing to file: No space left on device",
            ),
        ] {
            let failure = find(output).and_then(common_failure);
            assert_eq!(
                failure.map(|failure| failure.message).as_deref(),
                Some(expected)
            );
        }
    }

    #[test]
    fn the_error_that_names_something_is_found() {
        let (_, throw) = fixture!("eval-throw");
        assert_eq!(last_error(throw), "No such thing: this host is broken");
        let (_, dependency) = fixture!("build-dependency-fails");
        assert!(first_error(dependency).starts_with("builder for '/nix/store/"));
        let (_, root) = fixture!("root-not-built");
        assert_eq!(last_error(root), "Unable to start any build");
        assert_eq!(last_error(""), "no reason was given");
    }
}
