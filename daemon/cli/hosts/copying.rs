//! Brings paths of the local store into a host's, with the user's own `nix` and
//! `ssh`.
//!
//! In: a destination, and what is to be there. Out: news, and how it ended where
//! it is not there. Must not: begin where the host cannot be asked, or try the
//! same for ever.
//!
//! What has arrived stays, so another attempt goes on where the last one ended.

mod attempt;

use std::io;

use tokio::time::sleep;

use self::attempt::{Attempt, Telling, copy};

use super::connection::{Teller, Way, ask_aloud};
use super::destination::Destination;
use super::errand::{Cargo, Errand};
use super::far;
use super::fate::{Ending, Fate};
use super::ssh;
use super::story::{News, pause};
use crate::host::{environment, random};

/// From PATH.
const NIX: &str = "nix";

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
        let mut telling = Telling::begin(teller, paths).await;
        let copied = copy(NIX, &words, &variables, cargo.timeout, &mut telling).await;
        let failed = match copied.map_err(|error| no_nix(&error))? {
            Attempt::There => return Ok(()),
            Attempt::Failed(failed) => failed,
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

fn words(host: &Destination, cargo: &Cargo) -> Vec<String> {
    let store = format!("ssh-ng://{}", host.for_nix());
    let own = [
        "--extra-experimental-features",
        "nix-command flakes",
        "copy",
        "--log-format",
        "internal-json",
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
    use std::time::Duration;

    use super::super::destination::parse;
    use super::super::ssh::Prompts;
    use super::*;
    use crate::model::system::StorePath;

    #[test]
    fn the_store_of_a_host_is_reached_as_the_host_is() {
        let source = "/nix/store/vwls3xha72mwhnx49kvhgi0wgmx2hdd7-source".to_owned();
        let source = StorePath::try_from(source).expect("a good path");
        let cargo = Cargo {
            source: source.clone(),
            paths: vec![source],
            called: "fleet".to_owned(),
            timeout: Duration::from_secs(60),
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
            assert_eq!(words[7], store, "{text}");
            assert_eq!(words[8..], [cargo.source.to_string()]);
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
