//! The real tools in a directory of their own, which is gone with the value.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// When the ordinary commits were made: 2024-06-01.
pub(super) const DATE: i64 = 1_717_200_000;

/// git knows it without being told.
pub(super) const EMPTY_TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

pub(super) struct Tools {
    directory: TempDir,
    /// What each commit follows, if it follows anything.
    parent: Option<String>,
}

impl Tools {
    pub(super) fn new() -> Self {
        Self::with_parent(None)
    }

    /// The same for commits that all follow another, by its id.
    pub(super) fn with_parent(parent: Option<String>) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("trust-")
            .tempdir()
            .expect("a temporary directory");
        let tools = Self { directory, parent };
        for gnupg in ["gnupg", "stranger"] {
            tools.private_directory(gnupg);
        }
        tools.run("git", &["init", "--quiet", "--bare", "repository"], b"");
        tools
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn text(&self, name: &str) -> String {
        let path = self.path(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("a file can be written");
    }

    fn private_directory(&self, name: &str) {
        use std::os::unix::fs::DirBuilderExt;
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700);
        builder.create(self.path(name)).expect("a directory");
    }

    /// Runs a program that has to succeed; returns its output.
    pub(super) fn run(&self, program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.attempt(program, arguments, input);
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {} {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// Runs a program, for at most a minute, in the directory.
    #[expect(
        clippy::disallowed_methods,
        reason = "the tools that a test compares with; `timeout` is the deadline"
    )]
    pub(super) fn attempt(&self, program: &str, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new("timeout")
            .args(["60", program])
            .args(arguments)
            .current_dir(self.directory.path())
            .env("HOME", self.directory.path())
            .env("GNUPGHOME", self.path("gnupg"))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        // What is written fits into a pipe or is read at once; a program that does not read it ends early.
        let mut stdin = child.stdin.take().expect("it was piped");
        if let Err(error) = stdin.write_all(input) {
            assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        }
        drop(stdin);
        child.wait_with_output().expect("a child can be waited for")
    }

    pub(super) fn git(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let arguments = [&["--git-dir", "repository"], arguments].concat();
        self.run("git", &arguments, input)
    }

    /// An unsigned commit as git makes it, at a time in seconds since 1970. git itself
    /// judges each one that is made of it.
    pub(super) fn payload(&self, message: &str, at: i64) -> Vec<u8> {
        let who = format!("Ann <ann@example.org> {at} +0000");
        let parent = self.parent.iter().map(|it| format!("parent {it}\n"));
        let parent: String = parent.collect();
        format!("tree {EMPTY_TREE}\n{parent}author {who}\ncommitter {who}\n\n{message}\n")
            .into_bytes()
    }

    /// Writes any bytes as a commit object; returns its id.
    pub(super) fn store(&self, object: &[u8]) -> String {
        let arguments = [
            "hash-object",
            "-w",
            "-t",
            "commit",
            "--literally",
            "--stdin",
        ];
        let id = self.git(&arguments, object);
        String::from_utf8(id).expect("an id").trim().to_owned()
    }

    /// Whether git calls the commit well signed.
    pub(super) fn git_trusts(&self, id: &str) -> bool {
        let allowed = "gpg.ssh.allowedSignersFile=allowed_signers";
        let revoked = "gpg.ssh.revocationFile=revoked";
        let arguments = [
            "--git-dir=repository",
            "-c",
            allowed,
            "-c",
            revoked,
            "verify-commit",
            "--raw",
            id,
        ];
        self.attempt("git", &arguments, b"").status.success()
    }

    /// Makes an SSH key pair `name` and `name.pub`; returns the public line without its comment.
    pub(super) fn ssh_key(&self, name: &str, kind: &str, bits: &str) -> String {
        let arguments = [
            "-q", "-t", kind, "-b", bits, "-N", "", "-C", name, "-f", name,
        ];
        self.run("ssh-keygen", &arguments, b"");
        let line = self.text(&format!("{name}.pub"));
        let words: Vec<&str> = line.split(' ').take(2).collect();
        words.join(" ")
    }

    pub(super) fn ssh_sign(&self, key: &str, namespace: &str, payload: &[u8]) -> Vec<u8> {
        let arguments = ["-q", "-Y", "sign", "-n", namespace, "-f", key];
        self.run("ssh-keygen", &arguments, payload)
    }

    /// Runs gpg without questions.
    #[cfg(feature = "openpgp")]
    pub(super) fn gpg(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        const QUIET: [&str; 8] = [
            "--batch",
            "--quiet",
            "--yes",
            "--no-tty",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        ];
        self.run("gpg", &[&QUIET, arguments].concat(), input)
    }
}

impl Drop for Tools {
    /// Each of gpg's directories has an agent once it holds a key.
    fn drop(&mut self) {
        for home in ["gnupg", "stranger"] {
            let home = self.path(home).display().to_string();
            self.attempt("gpgconf", &["--homedir", &home, "--kill", "all"], b"");
        }
    }
}

/// The commit with a header before its message; a line break continues it.
pub(super) fn with_header(payload: &[u8], name: &str, value: &[u8]) -> Vec<u8> {
    let at = payload
        .windows(2)
        .position(|pair| pair == b"\n\n")
        .expect("a commit has an empty line");
    let value = value.strip_suffix(b"\n").unwrap_or(value);
    let mut object = payload[..=at].to_vec();
    object.extend_from_slice(name.as_bytes());
    for line in value.split(|byte| *byte == b'\n') {
        object.push(b' ');
        object.extend_from_slice(line);
        object.push(b'\n');
    }
    object.extend_from_slice(&payload[at + 1..]);
    object
}

/// The text with one part replaced, which has to be there.
pub(super) fn replaced(text: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(text.to_vec()).expect("text");
    assert!(text.contains(from), "{from:?} is not in {text:?}");
    text.replacen(from, to, 1).into_bytes()
}
