//! Brings paths of the local store into a host's, with the user's own `nix` and
//! `ssh`.
//!
//! In: a destination, and what is to be there. Out: news, and how it ended where
//! it is not there. Must not: begin where the host cannot be asked; leave a copy
//! running that took too long; or try the same for ever.
//!
//! What has arrived stays, so another attempt goes on where the last one ended.

use std::io;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::connection::{Teller, Way, ask_aloud};
use super::destination::Destination;
use super::errand::{Cargo, Errand};
use super::far::{self, LINE_BYTES};
use super::fate::{Ending, Fate};
use super::ssh;
use super::stderr::{is_final, refusal};
use super::story::{News, pause};
use crate::config::duration;
use crate::host::lines::{Ended, Lines};
use crate::host::{environment, random};

/// From PATH.
const NIX: &str = "nix";

/// How long `nix` has to end its ssh, and itself, once it is told to.
const LEAVING: Duration = Duration::from_secs(2);

/// What `status` ends with that comes with a state in which nothing is known.
const NEVER_RUN: i32 = 7;

/// Copies, in so many attempts.
///
/// # Errors
/// How it ended for the host, if it is not there.
pub(super) async fn bring(
    host: &Destination,
    cargo: &Cargo,
    way: &Way,
    teller: &Teller,
) -> Result<(), Fate> {
    if host.is_taken_for_nix_itself() {
        return Err(Fate::of(Ending::Error)
            .because("nix takes a host of this name for itself, and would copy nothing to it")
            .with_remedy("say nixos://USER@localhost, or 127.0.0.1"));
    }
    teller.tell(News::Connecting).await;
    is_ready(host, way, teller).await?;
    let (words, variables) = (words(host, cargo), variables(host, way));
    let mut attempt = 0;
    loop {
        let paths = cargo.paths.len();
        teller.tell(News::Copying { paths }).await;
        let copied = copy(NIX, &words, &variables, cargo.timeout).await;
        let failed = match copied.map_err(|error| no_nix(&error))? {
            Copied::There => return Ok(()),
            Copied::NotThere(failed) => failed,
        };
        if attempt == cargo.retries || failed.is_final {
            // A host that is gone is told as that.
            is_ready(host, way, teller).await?;
            return Err(failed.fate(host, attempt + 1));
        }
        attempt += 1;
        let after = pause(attempt, random::bits());
        let why = failed.why;
        teller.tell(News::NotCopied { why, after }).await;
        sleep(after).await;
    }
}

/// Whether the host answers, and has a daemon: before anything is copied.
async fn is_ready(host: &Destination, way: &Way, teller: &Teller) -> Result<(), Fate> {
    let errand = Errand::answer(&["status", "--output", "json"]);
    let asked = ask_aloud(host, &errand, way, &[0, NEVER_RUN], Some(teller)).await;
    let (bytes, _) = asked?;
    let status = serde_json::from_slice(&bytes).ok();
    let glimpse = status.and_then(|status| far::glimpse(&status).ok());
    match glimpse.and_then(|it| it.daemon_running) {
        Some(false) => Err(Fate::of(Ending::NotRunning)
            .because("nothing was copied")
            .with_remedy("see `systemctl status deploy-flake` on the host")),
        // A daemon of another version may say it in another way.
        Some(true) | None => Ok(()),
    }
}

/// What became of an attempt.
#[derive(Debug)]
enum Copied {
    There,
    NotThere(Failed),
}

/// Why it is not there.
#[derive(Debug)]
struct Failed {
    ending: Ending,
    /// Safe to show.
    why: String,
    to_do: Option<String>,
    /// Trying again is of no use.
    is_final: bool,
}

impl Failed {
    fn by(ended: &Ended) -> Self {
        let (why, to_do) = refusal(&ended.stderr_tail);
        Self {
            ending: Ending::Error,
            why,
            to_do,
            is_final: is_final(&ended.stderr_tail),
        }
    }

    fn late(limit: Duration) -> Self {
        Self {
            ending: Ending::GaveUp,
            why: format!("the copy took longer than {}", duration::show(limit)),
            to_do: Some("push again with a longer --copy-timeout".to_owned()),
            is_final: false,
        }
    }

    fn fate(self, host: &Destination, attempts: u32) -> Fate {
        let times = match attempts {
            1 => String::new(),
            many => format!(", {many} times"),
        };
        let usual = || format!("see whether `ssh {} nix --version` works", host.after_ssh());
        Fate::of(self.ending)
            .because(format!(
                "not copied, nothing was changed: {}{times}",
                self.why
            ))
            .with_remedy(self.to_do.unwrap_or_else(usual))
    }
}

/// One attempt. Dropped, it ends with its child.
async fn copy(
    program: &str,
    words: &[String],
    variables: &[(String, String)],
    limit: Duration,
) -> io::Result<Copied> {
    let mut lines = Lines::start_with(program, words, variables, LINE_BYTES)?;
    // What it writes is of no use; it is read so that the pipe does not fill up.
    let read = async {
        while lines.next().await?.is_some() {}
        Ok::<(), io::Error>(())
    };
    match timeout(limit, read).await {
        Ok(read) => read?,
        Err(_elapsed) => {
            lines.stop(LEAVING).await;
            return Ok(Copied::NotThere(Failed::late(limit)));
        }
    }
    let ended = lines.end().await?;
    Ok(match ended.status.success() {
        true => Copied::There,
        false => Copied::NotThere(Failed::by(&ended)),
    })
}

fn words(host: &Destination, cargo: &Cargo) -> Vec<String> {
    let store = format!("ssh-ng://{}", host.for_nix());
    let own = [
        "--extra-experimental-features",
        "nix-command flakes",
        "copy",
        // Sources have no signatures; their paths follow from what is in them.
        "--no-check-sigs",
        "--to",
        &store,
    ];
    let paths = cargo.paths.iter().map(ToString::to_string);
    own.map(str::to_owned).into_iter().chain(paths).collect()
}

/// Options for the ssh that nix starts: those that were given come first, then the user's
/// own for nix.
fn variables(host: &Destination, way: &Way) -> Vec<(String, String)> {
    let users = environment::nix_ssh_options();
    let options = ssh::options_for_nix(host, &way.options, users.as_deref(), way.prompts);
    vec![("NIX_SSHOPTS".to_owned(), options)]
}

/// nix could not be run, or not be listened to.
fn no_nix(error: &io::Error) -> Fate {
    Fate::of(Ending::Error)
        .because(format!("nix cannot be run: {error}"))
        .with_remedy("install Nix here: it copies what is pushed")
}

#[cfg(test)]
mod tests {
    use super::super::destination::parse;
    use super::super::ssh::Prompts;
    use super::super::words;
    use super::*;
    use crate::model::system::StorePath;

    /// Longer than any of these take on a busy machine.
    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Vec<String> {
        vec!["-c".to_owned(), script.to_owned()]
    }

    fn why(copied: io::Result<Copied>) -> Failed {
        match copied.expect("a shell runs") {
            Copied::There => panic!("it failed"),
            Copied::NotThere(failed) => failed,
        }
    }

    #[tokio::test]
    async fn a_copy_that_takes_too_long_is_ended_and_not_only_left_alone() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name).display().to_string();
        // As nix does it: what it is told to end, it ends with its own child.
        let script = format!(
            "trap 'kill $!; wait; touch {ended}; exit 1' TERM; sleep 60 & wait",
            ended = path("ended")
        );
        let failed = why(copy("sh", &shell(&script), &[], Duration::from_secs(1)).await);
        assert_eq!(failed.ending, Ending::GaveUp);
        assert_eq!(failed.why, "the copy took longer than 1s");
        assert!(
            directory.path().join("ended").exists(),
            "it was told to end"
        );

        // One that does not listen is killed, and would write the mark if it were not.
        let gate = path("gate");
        let script = format!(
            "trap '' TERM; until [ -e {gate} ]; do :; done; touch {mark}",
            mark = path("mark")
        );
        why(copy("sh", &shell(&script), &[], Duration::from_millis(100)).await);
        std::fs::write(&gate, "").expect("writable");
        let other = "i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done";
        let copied = copy("sh", &shell(other), &[], LONG).await;
        assert!(matches!(copied, Ok(Copied::There)), "{copied:?}");
        assert!(!directory.path().join("mark").exists(), "it lives");
    }

    #[tokio::test]
    async fn a_copy_is_started_once_and_says_why_it_failed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let starts = directory.path().join("starts");
        let script = format!(
            "echo $NIX_SSHOPTS >> {}; echo 'error: no \u{1b}[1mroom' >&2; exit 1",
            starts.display()
        );
        let variables = [("NIX_SSHOPTS".to_owned(), "-o A=b".to_owned())];
        let failed = why(copy("sh", &shell(&script), &variables, LONG).await);
        assert_eq!(failed.why, "no \\u{1b}[1mroom");
        assert!(!failed.is_final);
        let started = std::fs::read_to_string(&starts).expect("it was started");
        assert_eq!(started, "-o A=b\n");
        let denied = "echo 'root@web1: Permission denied (publickey).' >&2; exit 1";
        assert!(why(copy("sh", &shell(denied), &[], LONG).await).is_final);
    }

    #[test]
    fn what_was_not_copied_is_told_with_why_and_what_to_do() {
        let host = parse("nixos://root@web1/web").expect("it is one");
        let told = |failed: Failed, attempts| {
            let fate = failed.fate(&host, attempts);
            words::each(&[(host.label(), &fate)]).expect("it is not fine")
        };
        assert_eq!(
            told(Failed::late(Duration::from_secs(600)), 4),
            "root@web1/web: not over in time: not copied, nothing was changed: the copy took\n\
             longer than 10m, 4 times\n  to do: push again with a longer --copy-timeout"
        );
        let full = Failed {
            ending: Ending::Error,
            why: "no room".to_owned(),
            to_do: None,
            is_final: false,
        };
        assert_eq!(
            told(full, 1),
            "root@web1/web: error: not copied, nothing was changed: no room\n  to do: see whether \
             `ssh root@web1 nix --version` works"
        );
    }

    #[test]
    fn the_store_of_a_host_is_reached_as_the_host_is() {
        let source = "/nix/store/vwls3xha72mwhnx49kvhgi0wgmx2hdd7-source".to_owned();
        let source = StorePath::try_from(source).expect("a good path");
        let cargo = Cargo {
            source: source.clone(),
            paths: vec![source],
            called: "fleet".to_owned(),
            timeout: LONG,
            retries: 0,
        };
        for (text, store) in [
            ("web1", "ssh-ng://web1"),
            ("nixos://root@web1:2222/web", "ssh-ng://web1"),
            ("nixos://root@[2001:db8::1]:22/db", "ssh-ng://[2001:db8::1]"),
            // nix would take a bare `localhost` for itself.
            ("nixos://root@localhost:2222/vm", "ssh-ng://root@localhost"),
        ] {
            let words = words(&parse(text).expect(text), &cargo);
            assert_eq!(words[5], store, "{text}");
            assert_eq!(words[6..], [cargo.source.to_string()]);
        }
        for (text, is_itself) in [
            ("localhost", true),
            ("nixos://LOCALHOST:2222/vm", true),
            ("root@localhost", false),
            ("127.0.0.1", false),
            ("localhost.example.org", false),
        ] {
            let host = parse(text).expect(text);
            assert_eq!(host.is_taken_for_nix_itself(), is_itself, "{text}");
        }
        let host = parse("nixos://root@web1:2222").expect("it is one");
        let given = ["ConnectTimeout=60".to_owned(), "SetEnv A=b".to_owned()];
        assert_eq!(
            ssh::options_for_nix(&host, &given, Some("-i key -p 1"), Prompts::Forbidden),
            "-o ConnectTimeout=60 -o SetEnv=A=b -p 2222 -l root -i key -p 1 -o ConnectTimeout=10 \
             -o ServerAliveInterval=5 -o ServerAliveCountMax=3 -o BatchMode=yes"
        );
    }
}
