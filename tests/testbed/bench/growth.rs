//! How much a mirror grows over thousands of fetches and forced pushes.
//!
//! In: the fetcher under test, asked as the daemon asks it, without a host. Out: a table: the most that the mirror ever took, and
//! what it takes at the end.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use deploy_flake::fetcher::wire::{Answer, Request};
use deploy_flake::model::remote::{Access, RemoteAddress};
use deploy_flake::model::revision::{Branch, CommitId};

use crate::fetches::size;
use crate::repositories::{self, Numbers, git};
use crate::table::megabytes;
use crate::testbed::cache;

/// How many commits are fetched, one by one.
const FETCHES: usize = 2_000;

/// Of so many commits one is forced away by the next.
const FORCED: usize = 10;

/// What each forced commit brings, and no other keeps, in bytes that do not shrink.
const BALLAST: usize = 100_000;

/// How often the mirror is measured.
const SAMPLE: usize = 5;

/// As much as the configuration's default allows.
const PACK_LIMIT: u64 = 512 << 20;

/// Prints the table.
pub fn print() {
    let directory = tempfile::TempDir::new_in("/dev/shm").expect("memory");
    let upstream = directory.path().join("upstream.git");
    let commits = history(&upstream);
    let mirror = directory.path().join("mirror");
    let mut fetcher = Fetcher::start(&mirror);
    let (mut most, mut most_packs) = (0, 0);
    for (number, commit) in commits.iter().enumerate() {
        // As a push does, without a process for it.
        fs::write(upstream.join("refs/heads/main"), format!("{commit}\n")).expect("our file");
        fetcher.fetch(&upstream, commit);
        if number % SAMPLE == 0 {
            most = most.max(size(&mirror));
            let packs = fs::read_dir(mirror.join(".git/objects/pack")).expect("a mirror");
            let is_pack = |path: &Path| path.extension().is_some_and(|it| it == "pack");
            let packs = packs
                .flatten()
                .filter(|entry| is_pack(&entry.path()))
                .count();
            most_packs = most_packs.max(packs);
        }
    }
    let came = FETCHES / FORCED * BALLAST;
    println!(
        "\n| mirror over {FETCHES} fetches, every {FORCED}th commit forced away with {} kB | |\n|---|---|\n\
         | what was forced away, altogether | {} MB |\n| the most it took | {} MB in {most_packs} packs |\n\
         | at the end | {} MB |",
        BALLAST / 1000,
        megabytes(came as u64),
        megabytes(most),
        megabytes(size(&mirror)),
    );
}

/// A fetcher, asked through its standard input.
struct Fetcher {
    child: Child,
    requests: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Fetcher {
    fn start(mirror: &Path) -> Self {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        let child = Command::new(&cache::daemon().path)
            .args(["fetcher", "--mirror"])
            .arg(mirror)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .expect("the program can be run");
        let requests = ours.try_clone().expect("a descriptor");
        Self {
            child,
            requests,
            answers: BufReader::new(ours),
        }
    }

    fn fetch(&mut self, upstream: &Path, commit: &str) {
        let commit = CommitId::try_from(commit.to_owned()).expect("git prints ids");
        let request = Request::Fetch {
            remote: RemoteAddress {
                name: "origin".to_owned(),
                url: format!("file://{}", upstream.display()),
                branch: Branch::try_from("main".to_owned()).expect("a branch"),
                access: Access::default(),
            },
            commit: commit.clone(),
            pack_limit: PACK_LIMIT,
        };
        let mut line = serde_json::to_vec(&request).expect("requests serialise");
        line.push(b'\n');
        self.requests.write_all(&line).expect("the fetcher runs");
        let mut answer = String::new();
        self.answers
            .read_line(&mut answer)
            .expect("the fetcher runs");
        let answer: Answer = serde_json::from_str(&answer).expect("an answer");
        assert_eq!(answer, Answer::Fetched { commit });
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a history in which some commits are siblings of their successors, and gives their ids in order.
fn history(bare: &Path) -> Vec<String> {
    let mut stream = String::new();
    let mut numbers = Numbers(11);
    let mut trunk = None;
    for number in 1..=FETCHES {
        let is_forced = number.is_multiple_of(FORCED);
        let _ = write!(
            stream,
            "commit refs/heads/commit-{number}\nmark :{number}\ncommitter Bench <bench@example.org> {} +0000\ndata 1\nx\n",
            1_700_000_000 + number
        );
        if let Some(trunk) = trunk {
            let _ = writeln!(stream, "from :{trunk}");
        }
        let mut text = number.to_string();
        while is_forced && text.len() < 2 * BALLAST {
            let _ = write!(text, "{:08x}", numbers.below(1 << 32));
        }
        let _ = write!(stream, "M 644 inline file\ndata {}\n{text}\n", text.len());
        if !is_forced {
            trunk = Some(number);
        }
    }
    repositories::import(bare, stream.as_bytes());
    let refs = git(
        bare,
        &["for-each-ref", "--format=%(refname:lstrip=2) %(objectname)"],
    );
    let mut commits: Vec<(usize, String)> = refs
        .lines()
        .filter_map(|line| line.strip_prefix("commit-")?.split_once(' '))
        .map(|(number, id)| (number.parse().expect("a number"), id.to_owned()))
        .collect();
    commits.sort();
    assert_eq!(commits.len(), FETCHES, "what is measured is there");
    commits.into_iter().map(|(_, id)| id).collect()
}
