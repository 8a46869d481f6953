//! The repositories that are asked for: a small one, one with many branches, and a big one.
//!
//! In: sizes, and the flake that a host's system is made of. Out: bare repositories, made by `git fast-import`, always the
//! same commits. Their newest commit is the flake of the system that runs already: it is followed, and changes nothing.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A repository with so many commits, the last of which has so many files.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Commits on `main`.
    pub commits: usize,
    /// Files in the last one.
    pub files: usize,
}

/// What a host's own repository looks like after some weeks.
pub const SMALL: Size = Size {
    commits: 20,
    files: 30,
};

/// About as many commits and files as a monorepo of some years.
pub const BIG: Size = Size {
    commits: 20_000,
    files: 50_000,
};

/// How many branches the repository with many branches has.
pub const BRANCHES: usize = 5_000;

/// The time of the first commit.
const BEGINNING: usize = 1_700_000_000;

/// Makes a bare repository.
pub fn make(bare: &Path, size: Size, flake: &[(String, String)]) {
    let mut child = begin_import(bare);
    let mut stream = BufWriter::new(child.stdin.take().expect("piped"));
    write(&mut stream, size, flake).expect("git reads it");
    drop(stream);
    assert!(child.wait().expect("our child").success());
    // As a server has it that tidies up now and then.
    git(bare, &["repack", "-a", "-d", "--quiet"]);
    git(bare, &["pack-refs", "--all"]);
}

/// Makes a bare repository of a stream.
pub fn import(bare: &Path, stream: &[u8]) {
    let mut child = begin_import(bare);
    let mut input = child.stdin.take().expect("piped");
    input.write_all(stream).expect("git reads it");
    drop(input);
    assert!(child.wait().expect("our child").success());
}

fn begin_import(bare: &Path) -> Child {
    fs::create_dir_all(bare).expect("the server's disk can be written");
    git(
        bare,
        &["init", "--quiet", "--bare", "--initial-branch=main"],
    );
    command(bare)
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("git is installed")
}

/// Adds many branches, all at `main`.
pub fn add_branches(bare: &Path) {
    let head = git(bare, &["rev-parse", "main"]);
    let mut child = command(bare)
        .args(["update-ref", "--stdin"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("git is installed");
    let mut input = child.stdin.take().expect("piped");
    for number in 0..BRANCHES {
        writeln!(input, "create refs/heads/ci/job-{number:05} {head}").expect("git reads it");
    }
    drop(input);
    assert!(child.wait().expect("our child").success());
    git(bare, &["pack-refs", "--all"]);
}

/// Runs git in a repository and gives what it printed.
pub fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = command(directory)
        .args(arguments)
        .output()
        .expect("git is installed");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A git that reads nobody's configuration.
fn command(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(directory)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    for role in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{role}_NAME"), "Bench")
            .env(format!("GIT_{role}_EMAIL"), "bench@example.org");
    }
    command
}

/// The first commit has most of the files; each later one adds some and changes one.
fn write(stream: &mut impl Write, size: Size, flake: &[(String, String)]) -> std::io::Result<()> {
    let Size { commits, files } = size;
    let each = (files - 1) / commits;
    let first = files - each * (commits - 1);
    let mut numbers = Numbers(7);
    let mut count = 0;
    for number in 0..commits {
        begin_commit(stream, number)?;
        for _ in 0..if number == 0 { first } else { each } {
            write_file(stream, &path(count), &text(count, 0))?;
            count += 1;
        }
        if number > 0 {
            let changed = numbers.below(count);
            write_file(stream, &path(changed), &text(changed, number))?;
        }
    }
    begin_commit(stream, commits)?;
    for (path, text) in flake {
        write_file(stream, path, text)?;
    }
    Ok(())
}

fn begin_commit(stream: &mut impl Write, number: usize) -> std::io::Result<()> {
    let message = format!("change {number}");
    writeln!(
        stream,
        "commit refs/heads/main\ncommitter Bench <bench@example.org> {} +0000\ndata {}\n{message}",
        BEGINNING + 60 * number,
        message.len()
    )
}

fn write_file(stream: &mut impl Write, path: &str, text: &str) -> std::io::Result<()> {
    writeln!(
        stream,
        "M 100644 inline {path}\ndata {}\n{text}",
        text.len()
    )
}

fn path(file: usize) -> String {
    format!(
        "machines/d{:03}/s{:02}/f{file:05}.nix",
        file % 200,
        file / 200 % 25
    )
}

/// About 600 bytes that look like a module.
fn text(file: usize, commit: usize) -> String {
    let mut numbers = Numbers((file * 1_000_003 + commit) as u64);
    let options: String = (0..14)
        .map(|option| {
            let [one, two] = [0; 2].map(|_| numbers.below(1 << 40) % 4000 * 268_435_399);
            format!("  option{option} = \"{one:x} {two:x}\";\n")
        })
        .collect();
    format!("{{ config, pkgs, ... }}:\n{{\n{options}}}\n")
}

/// Numbers that look drawn, the same each time (SplitMix64).
pub struct Numbers(pub u64);

impl Numbers {
    /// The next one, less than `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % end as u64) as usize
    }
}
