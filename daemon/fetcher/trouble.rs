//! What did not work, in the words that may leave this process.
//!
//! In: errors of gix and of the file system. Out: a problem and one line of
//! text. Must not: let through control characters, or the secrets of a URL.

use std::io;

use crate::fetcher::wire::{Answer, Problem};
use crate::model::remote::secret_part;

/// How many characters of a message are kept: a remote chooses some of them.
const MESSAGE_LIMIT: usize = 1500;

/// Why a request came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// What did not work, for programs.
    pub(super) problem: Problem,
    /// The whole chain of causes.
    message: String,
}

impl Trouble {
    /// A problem in our own words.
    pub(super) fn new(problem: Problem, message: impl Into<String>) -> Self {
        Self {
            problem,
            message: message.into(),
        }
    }

    /// What gix says. `problem` names the operation; the causes may know better.
    pub(super) fn from_gix(problem: Problem, error: &gix::Error) -> Self {
        let message = format!("{error:#}");
        let full = error
            .iter_errors()
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(is_full);
        let problem = if full {
            Problem::DiskFull
        } else if error.is_resource_exhausted() {
            Problem::TooBig
        } else {
            whose(problem, error, &message)
        };
        Self::new(problem, message)
    }

    /// The same problem, with somebody else's words about it.
    pub(super) fn because(self, words: &str) -> Self {
        let message = format!("{}: {words}", self.message);
        Self { message, ..self }
    }

    /// The same words about another problem.
    pub(super) fn become_problem(self, problem: Problem) -> Self {
        Self { problem, ..self }
    }

    /// Whether a new connection may do better than one that was kept.
    pub(super) fn may_be_a_lost_connection(&self) -> bool {
        !matches!(self.problem, Problem::TooSlow | Problem::TooBig)
    }

    /// What the file system says of the mirror.
    pub(super) fn from_io(operation: &str, error: &io::Error) -> Self {
        let problem = if is_full(error) {
            Problem::DiskFull
        } else {
            Problem::Fetch
        };
        Self::new(problem, format!("{operation}: {error}"))
    }

    /// The answer that tells of it, about a request that named this URL.
    pub(super) fn answer(self, url: &str) -> Answer {
        Answer::Failed {
            problem: self.problem,
            message: one_line(&without_secrets(&self.message, url)),
        }
    }
}

/// The operation's problem, made more precise.
fn whose(problem: Problem, error: &gix::Error, message: &str) -> Problem {
    if problem == Problem::Remote {
        at_remote(error, message)
    } else if problem == Problem::Fetch {
        while_fetching(error, message)
    } else {
        problem
    }
}

/// What kept us from asking. gix tells most of it in words only: those of
/// curl begin with its error's number.
fn at_remote(error: &gix::Error, message: &str) -> Problem {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if error.is_unauthenticated() || error.is_permission_denied() {
        Problem::Unauthorized
    } else if says(&["[6] ", "failed to lookup address information"]) {
        Problem::Unresolved
    } else if message.contains("subject name") && says(NAMES) {
        Problem::WrongName
    } else if says(&["[35] ", "[51] ", "[60] ", "[77] ", "[83] ", "[91] "]) {
        Problem::Untrusted
    } else if says(&["Operation too slow"]) {
        Problem::TooSlow
    } else if says(&["[100] "]) {
        Problem::TooBig
    } else if says(&["Received HTTP status 3"]) {
        Problem::Redirected
    } else if says(&["Received HTTP status"]) {
        Problem::ServerError
    } else if says(NOT_GIT) {
        Problem::NotGit
    } else {
        Problem::Remote
    }
}

/// What curl says of a certificate for somebody else. It looks at the name
/// first, and then at who vouches for it.
const NAMES: &[&str] = &["matches target", "does not match target"];

/// What gix says of answers that it cannot make sense of.
const NOT_GIT: &[&str] = &[
    "A packet line could not be decoded",
    "line was expected, but there was none",
    "Capabilities could not be parsed",
    "The protocol version indicated by",
    "Expected a data line",
    "Didn't find 'application/x-git",
    "Expected to see service",
    "Failed to parse",
    "hexadecimal characters is invalid",
];

/// What gix says of a pack, or of a commit in it, that it cannot make sense of.
const SENT: &[&str] = &[
    "Failed to write the received pack",
    "A commit could not be decoded",
];

/// What kept the pack from coming.
fn while_fetching(error: &gix::Error, message: &str) -> Problem {
    if message.contains("Operation too slow") {
        Problem::TooSlow
    } else if SENT.iter().any(|word| message.contains(word)) && !broke_off(error) {
        Problem::Pack
    } else {
        Problem::Fetch
    }
}

/// Whether connection or file system failed, and not what came over it.
fn broke_off(error: &gix::Error) -> bool {
    use io::ErrorKind as Kind;
    error
        .iter_errors()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| {
            matches!(
                cause.kind(),
                Kind::ConnectionReset
                    | Kind::ConnectionAborted
                    | Kind::NotConnected
                    | Kind::BrokenPipe
                    | Kind::TimedOut
                    | Kind::NotFound
                    | Kind::PermissionDenied
                    | Kind::ReadOnlyFilesystem
            )
        })
}

/// No room, or no room for this user.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Escapes what could forge a line or move a cursor, and keeps the beginning.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for (count, character) in text.trim().chars().enumerate() {
        if count == MESSAGE_LIMIT {
            line.push('…');
            break;
        }
        match character {
            '\n' => line.push(' '),
            plain if !plain.is_control() => line.push(plain),
            control => line.extend(control.escape_default()),
        }
    }
    line
}

/// Removes the name and password of `url` wherever it stands in `text`.
fn without_secrets(text: &str, url: &str) -> String {
    let Some(secret) = secret_part(url) else {
        return text.to_owned();
    };
    let mut clean = text.replace(&format!("{secret}@"), "");
    if let Some((_, password)) = secret.split_once(':')
        && !password.is_empty()
    {
        clean = clean.replace(password, "…");
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str, url: &str) -> String {
        let answer = Trouble::new(Problem::Remote, text).answer(url);
        let Answer::Failed { message, .. } = answer else {
            panic!("trouble is a failure");
        };
        message
    }

    #[test]
    fn a_message_is_one_line_without_control_characters() {
        let hostile = "remote: hi\nroot\u{7}\u{1b}]52;c;aGk=\u{9b}31m\r";
        let line = message(hostile, "https://example.org/r");
        assert_eq!(line, "remote: hi root\\u{7}\\u{1b}]52;c;aGk=\\u{9b}31m");
        assert!(!line.chars().any(char::is_control));
    }

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let full = || io::Error::from_raw_os_error(28);
        let deep = gix::Error::from_error(io::Error::other(full()));
        assert_eq!(
            Trouble::from_gix(Problem::Fetch, &deep).problem,
            Problem::DiskFull
        );
        let direct = gix::Error::from_error(full());
        assert_eq!(
            Trouble::from_gix(Problem::Fetch, &direct).problem,
            Problem::DiskFull
        );
        assert_eq!(Trouble::from_io("x", &full()).problem, Problem::DiskFull);
    }

    #[test]
    fn a_message_has_an_end() {
        let line = message(&"x".repeat(1_000_000), "https://example.org/r");
        assert_eq!(line.chars().count(), MESSAGE_LIMIT + 1);
    }

    #[test]
    fn the_secrets_of_a_url_stay_here() {
        let url = "https://robot:tok3n@example.org/r.git";
        let text = format!("could not reach {url}: tok3n was not accepted");
        assert_eq!(
            message(&text, url),
            "could not reach https://example.org/r.git: … was not accepted"
        );
        let bare = "https://tok3n@example.org/r.git";
        assert_eq!(message(bare, bare), "https://example.org/r.git");
    }
}
