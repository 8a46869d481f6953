//! What failed looks are called, and what people can do about them.
//!
//! In: why a look found nothing. Out: a typed failure with a hint. Must not:
//! show the secrets of a URL.

use std::path::Path;
use std::time::Duration;

use super::conversation::Broken;
use super::look::{Asked, LookError, ROUNDS};
use super::place::Place;
use crate::fetcher::wire::Problem;
use crate::host::journal::Said;
use crate::model::failure::{Failure, FailureCode};
use crate::model::remote::RemoteAddress;

impl LookError {
    /// Whose words in the journal explain it.
    pub(super) fn said(&self) -> Said {
        match self {
            Self::EndedBeforePoll | Self::Broken(_, Broken::Ended) => Said::WithSystemd,
            Self::BranchMissing
            | Self::Restless(_)
            | Self::Failed(..)
            | Self::Broken(..)
            | Self::Unexpected(_) => Said::ByProcesses,
        }
    }

    /// The failure that people and programs are told.
    pub(super) fn failure(&self, address: &RemoteAddress, place: &Place) -> Failure {
        let url = address.shown_url();
        match self {
            Self::BranchMissing => missing(address, &url),
            Self::EndedBeforePoll => ended(Asked::Poll, &url, place),
            Self::Restless(message) => restless(address, &url).with_detail(message),
            Self::Failed(Problem::Remote, message) => {
                because(tried(Problem::Remote, &url), message).with_detail(message)
            }
            Self::Failed(problem, message) => tried(*problem, &url).with_detail(message),
            Self::Broken(asked, Broken::Ended) => ended(*asked, &url, place),
            Self::Broken(asked, Broken::Late(deadline)) => late(*asked, &url, *deadline),
            Self::Broken(asked, broken) => confused(*asked, &url).with_detail(&chain(broken)),
            Self::Unexpected(asked) => confused(*asked, &url),
        }
    }
}

/// The code for a fetcher that is no help.
fn code(asked: Asked) -> FailureCode {
    match asked {
        Asked::Poll => FailureCode::RemoteUnreachable,
        Asked::Fetch | Asked::Lineage | Asked::Heartbeat => FailureCode::FetchFailed,
    }
}

fn missing(address: &RemoteAddress, url: &str) -> Failure {
    let branch = &address.branch;
    Failure::new(
        FailureCode::BranchMissing,
        format!("{url} has no branch {branch}"),
        format!("Push the branch {branch}, or set the remote's `branch` to one that exists."),
    )
}

fn restless(address: &RemoteAddress, url: &str) -> Failure {
    let branch = &address.branch;
    Failure::new(
        FailureCode::FetchFailed,
        format!("branch {branch} of {url} moved {ROUNDS} times while it was fetched"),
        "It is tried again; nothing needs to be done unless this repeats.",
    )
}

fn ended(asked: Asked, url: &str, place: &Place) -> Failure {
    Failure::new(
        code(asked),
        format!("the fetcher ended while it asked {url}"),
        format!(
            "A new one is started for the next try. See `journalctl -u {}`.",
            place.unit()
        ),
    )
}

fn confused(asked: Asked, url: &str) -> Failure {
    Failure::new(
        code(asked),
        format!("the fetcher gave no sensible answer about {url}"),
        "A new one is started for the next try. If this repeats, it is a defect: please report it.",
    )
}

fn late(asked: Asked, url: &str, deadline: Duration) -> Failure {
    let seconds = deadline.as_secs();
    let fetch = "`fetch` in `[deadlines]`";
    let poll = "the remote's `timeout`, or `poll` in `[deadlines]`";
    let (code, did, keys) = match asked {
        Asked::Poll => (FailureCode::RemoteUnreachable, "did not answer", poll),
        Asked::Fetch => (
            FailureCode::RemoteTooSlow,
            "did not send its commits",
            fetch,
        ),
        Asked::Lineage => (
            FailureCode::FetchFailed,
            "has a history that was not read",
            fetch,
        ),
        Asked::Heartbeat => (
            FailureCode::RemoteTooSlow,
            "did not send its heartbeat",
            poll,
        ),
    };
    Failure::new(
        code,
        format!("{url} {did} within {seconds} s"),
        format!(
            "Check the network between this host and the remote. If it is only slow, raise {keys}."
        ),
    )
}

/// The kernel ended the fetcher.
pub(super) fn out_of_memory(address: &RemoteAddress, limit: u64) -> Failure {
    let mebibytes = limit >> 20;
    Failure::new(
        FailureCode::OutOfMemory,
        format!(
            "the fetcher needed more than {mebibytes} MiB for {}",
            address.shown_url()
        ),
        "If the repository really is that large, raise `memory` in `[fetch]`. It is tried again.",
    )
}

/// A credential's file is not there.
pub(super) fn credential_missing(address: &RemoteAddress, file: &Path) -> Failure {
    let url = address.shown_url();
    Failure::new(
        FailureCode::CredentialUnusable,
        format!(
            "{}, which {url} is to be shown, is not there",
            file.display()
        ),
        "Put the file there, or correct the path in the remote's configuration. It is looked for with each look.",
    )
}

/// systemd could not read a credential's file.
pub(super) fn credential_unreadable(address: &RemoteAddress, place: &Place) -> Failure {
    let url = address.shown_url();
    Failure::new(
        FailureCode::CredentialUnusable,
        format!("systemd cannot hand over what {url} is to be shown"),
        format!(
            "See `journalctl -u {}`, and check the file that the remote's configuration names: at most 1 MiB, and readable by root.",
            place.unit()
        ),
    )
}

/// What the fetcher tells by itself.
fn tried(problem: Problem, url: &str) -> Failure {
    match problem {
        Problem::Remote => Failure::new(
            FailureCode::RemoteUnreachable,
            format!("{url} could not be asked"),
            reach(url),
        ),
        Problem::Unresolved => Failure::new(
            FailureCode::RemoteUnresolved,
            format!("nobody knows the host of {url}"),
            "Check the URL, and the resolver of this host. It is tried again.",
        ),
        Problem::Untrusted => Failure::new(
            FailureCode::RemoteUntrusted,
            format!("{url} could not show that it is who it has to be"),
            "Check the URL, this host's clock, and its certificate authorities (`ca_file`). If nothing is wrong with them, somebody else may be answering.",
        ),
        Problem::WrongName => Failure::new(
            FailureCode::RemoteNameMismatch,
            format!("the certificate of {url} is for another name"),
            "Write the name that it is for into the remote's `url`. If the name is right, somebody else may be answering.",
        ),
        Problem::HostKeyUnknown => Failure::new(
            FailureCode::RemoteKeyUnknown,
            format!("nobody has told this host the key of {url}"),
            "Set the remote's `host_keys` to the server's own, asked for in another way than over the same network.",
        ),
        Problem::HostKeyChanged => Failure::new(
            FailureCode::RemoteKeyChanged,
            format!("{url} has another key than it has to have"),
            "Find out why before anything else: somebody else may be answering. If the server has a new key, set `host_keys`.",
        ),
        Problem::Credential => Failure::new(
            FailureCode::CredentialUnusable,
            format!("what this host is to show {url} cannot be used"),
            "Check the file that the remote's `identity_file` or `token_file` names: a private key without a passphrase, or a token of one word.",
        ),
        Problem::Redirected => Failure::new(
            FailureCode::RemoteRedirected,
            format!("{url} wants to be asked elsewhere"),
            "Set the remote's `url` to the address it has now: redirects are not followed.",
        ),
        Problem::Unauthorized => Failure::new(
            FailureCode::RemoteDenied,
            format!("{url} does not let this host read it"),
            "Check the URL (many servers answer so for a repository that does not exist), and what the remote is shown: `identity_file` or `token_file`.",
        ),
        Problem::ServerError => Failure::new(
            FailureCode::RemoteError,
            format!("{url} says that it cannot answer"),
            "Check the URL and the server. It is tried again.",
        ),
        Problem::NotGit => Failure::new(
            FailureCode::RemoteNotGit,
            format!("what {url} answers is not git's protocol"),
            "Check the URL; a login page or a proxy may stand in between. It is tried again.",
        ),
        Problem::TooSlow => Failure::new(
            FailureCode::RemoteTooSlow,
            format!("{url} is silent or too slow"),
            "Check the network between this host and the remote, and the server. It is tried again.",
        ),
        Problem::TooBig => Failure::new(
            FailureCode::RemoteTooBig,
            format!("{url} sent more than is taken"),
            "If the repository really is that large, raise `pack` and `memory` in `[fetch]`; keep large files out of it.",
        ),
        Problem::Unsupported => Failure::new(
            FailureCode::RemoteUnsupported,
            format!("{url} is no repository that can be deployed from"),
            "Serve the configuration from a repository of SHA-1 objects.",
        ),
        Problem::NotACommit => Failure::new(
            FailureCode::BranchNotACommit,
            format!("the branch of {url} is not a commit"),
            "Push a commit to the branch.",
        ),
        Problem::NotATag => Failure::new(
            FailureCode::RemoteStale,
            format!("the heartbeat of {url} is not a tag"),
            "Push a signed tag.",
        ),
        Problem::Pack | Problem::Incomplete => Failure::new(
            FailureCode::PackDamaged,
            format!("what {url} sent is damaged or incomplete"),
            "Nothing of it is used, and it is asked again. Check the remote's repository with `git fsck`.",
        ),
        Problem::Fetch | Problem::Moved => Failure::new(
            FailureCode::FetchFailed,
            format!("the new commit could not be fetched from {url}"),
            "It is tried again. If this repeats, check the remote's repository with `git fsck`.",
        ),
        Problem::Mirror => Failure::new(
            FailureCode::FetchFailed,
            "the mirror was damaged, and was removed",
            "The next try makes it anew. If this repeats, check the disk under /var/cache.",
        ),
        Problem::DiskFull => Failure::new(
            FailureCode::DiskFull,
            "there is no room for the mirror",
            "Make room on the file system of /var/cache/deploy-flake. It is tried again.",
        ),
        Problem::Protocol => Failure::new(
            FailureCode::FetchFailed,
            "the fetcher did not understand the daemon",
            "This is a defect: please report it.",
        ),
    }
}

/// What to look at when a remote cannot be asked.
fn reach(url: &str) -> &'static str {
    if url.starts_with("file:") {
        // git refuses repositories of other users, and gix drops its words.
        "Check that the repository exists, and that it belongs to the user deploy-flake-fetch or is a `safe.directory` in /etc/gitconfig."
    } else {
        "Check the URL, and that this host can reach it. It is tried again."
    }
}

/// Adds the innermost cause, such as "Connection refused": whoever asks for
/// the status sees the message alone.
fn because(mut failure: Failure, chain: &str) -> Failure {
    let cause = chain.rsplit(": ").next().unwrap_or_default().trim();
    let cause = cause.trim_end_matches('.');
    if !cause.is_empty() {
        failure.message = format!("{}: {cause}", failure.message);
    }
    failure
}

/// The error and its causes.
fn chain(error: &Broken) -> String {
    match error {
        Broken::Malformed(source) => format!("{error}: {source}"),
        Broken::Stream(source) => format!("{error}: {source}"),
        Broken::Late(_) | Broken::Ended | Broken::TooLong => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::FailureClass;
    use crate::model::remote::Access;
    use crate::model::revision::Branch;

    fn address() -> RemoteAddress {
        RemoteAddress {
            name: "origin".to_owned(),
            url: "https://robot:tok3n@example.org/r.git".to_owned(),
            branch: Branch::try_from("main".to_owned()).expect("a branch name"),
            access: Access::default(),
        }
    }

    fn place() -> Place {
        Place::of(crate::model::offer::RemoteNumber(0), "origin")
    }

    #[test]
    fn every_failure_has_its_code_a_hint_and_no_secret() {
        use FailureCode as Code;
        let failed = |problem| LookError::Failed(problem, "its words".to_owned());
        let late = || Broken::Late(Duration::from_secs(30));
        let broken = LookError::Broken;
        for (error, code) in [
            (LookError::BranchMissing, Code::BranchMissing),
            (LookError::EndedBeforePoll, Code::RemoteUnreachable),
            (LookError::Restless(String::new()), Code::FetchFailed),
            (LookError::Unexpected(Asked::Poll), Code::RemoteUnreachable),
            (broken(Asked::Poll, late()), Code::RemoteUnreachable),
            (broken(Asked::Fetch, late()), Code::RemoteTooSlow),
            (broken(Asked::Fetch, Broken::Ended), Code::FetchFailed),
            (
                broken(Asked::Poll, Broken::TooLong),
                Code::RemoteUnreachable,
            ),
            (failed(Problem::Remote), Code::RemoteUnreachable),
            (failed(Problem::Unresolved), Code::RemoteUnresolved),
            (failed(Problem::Untrusted), Code::RemoteUntrusted),
            (failed(Problem::WrongName), Code::RemoteNameMismatch),
            (failed(Problem::HostKeyUnknown), Code::RemoteKeyUnknown),
            (failed(Problem::HostKeyChanged), Code::RemoteKeyChanged),
            (failed(Problem::Credential), Code::CredentialUnusable),
            (failed(Problem::Redirected), Code::RemoteRedirected),
            (failed(Problem::Unauthorized), Code::RemoteDenied),
            (failed(Problem::ServerError), Code::RemoteError),
            (failed(Problem::NotGit), Code::RemoteNotGit),
            (failed(Problem::TooSlow), Code::RemoteTooSlow),
            (failed(Problem::TooBig), Code::RemoteTooBig),
            (failed(Problem::Unsupported), Code::RemoteUnsupported),
            (failed(Problem::NotACommit), Code::BranchNotACommit),
            (failed(Problem::NotATag), Code::RemoteStale),
            (failed(Problem::Pack), Code::PackDamaged),
            (failed(Problem::Incomplete), Code::PackDamaged),
            (failed(Problem::Fetch), Code::FetchFailed),
            (failed(Problem::Mirror), Code::FetchFailed),
            (failed(Problem::DiskFull), Code::DiskFull),
            (failed(Problem::Protocol), Code::FetchFailed),
        ] {
            let failure = error.failure(&address(), &place());
            assert_eq!(failure.code, code, "{error:?}");
            assert_eq!(failure.class, FailureClass::Transient, "{error:?}");
            assert!(failure.hint.ends_with('.'), "{failure:?}");
            assert!(!failure.message.ends_with('.'), "{failure:?}");
            assert!(!format!("{failure:?}").contains("tok3n"), "{failure:?}");
        }
    }

    #[test]
    fn a_remote_that_cannot_be_asked_is_told_with_the_innermost_cause() {
        let told = |words: &str| {
            let failed = LookError::Failed(Problem::Remote, words.to_owned());
            failed.failure(&address(), &place()).message
        };
        let url = "https://example.org/r.git";
        assert_eq!(
            told("could not connect: i/o: Connection refused (os error 111)"),
            format!("{url} could not be asked: Connection refused (os error 111)")
        );
        assert_eq!(told(""), format!("{url} could not be asked"));
    }

    #[test]
    fn a_late_answer_names_the_key_that_gives_more_time() {
        let late = Broken::Late(Duration::from_secs(600));
        let failure = LookError::Broken(Asked::Fetch, late).failure(&address(), &place());
        assert_eq!(
            failure.message,
            "https://example.org/r.git did not send its commits within 600 s"
        );
        assert!(failure.hint.contains("raise `fetch` in `[deadlines]`"));
    }
}
