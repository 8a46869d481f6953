//! The host's own ssh: with which options it is run, and what its words mean.
//!
//! In: a key's file, the keys that the server may have. Out: a command line
//! for gix, and a problem when ssh failed. Must not: ask anybody, believe a
//! host key that nobody named, or leave anything behind.
//!
//! gix tells of a failed ssh only that it ended. So ssh writes what it has to
//! say to a file in memory, apart from what the server says.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process;
use std::sync::Mutex;
use std::sync::PoisonError;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::fetcher::trouble::Trouble;
use crate::fetcher::wire::Problem;

/// Never asks, never believes an unknown host, never uses an agent, never
/// waits for ever: 10 s for connection and greeting, 30 s for an answer.
const OPTIONS: &[&str] = &[
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "UpdateHostKeys=no",
    "IdentityAgent=none",
    "ForwardAgent=no",
    "ClearAllForwardings=yes",
    "PermitLocalCommand=no",
    "ControlPath=none",
    "ConnectTimeout=10",
    "ServerAliveInterval=10",
    "ServerAliveCountMax=3",
];

/// How much is read of what ssh says.
const LOG_LIMIT: u64 = 16 * 1024;

/// What ssh says when a problem is this one, most telling first.
const MEANINGS: &[(&str, Problem)] = &[
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        Problem::HostKeyChanged,
    ),
    ("Host key verification failed", Problem::HostKeyUnknown),
    ("Could not resolve hostname", Problem::Unresolved),
    ("Load key ", Problem::Credential),
    ("Permission denied (", Problem::Unauthorized),
];

/// What belongs to every ssh that this process runs, one after the other.
pub(super) struct Ssh {
    log: Mutex<File>,
    known_hosts: Mutex<File>,
}

impl Ssh {
    /// # Errors
    /// There is no memory for two short files.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            log: Mutex::new(in_memory("ssh-log")?),
            known_hosts: Mutex::new(in_memory("ssh-known-hosts")?),
        })
    }

    /// The command before gix's own arguments. With a key of its own, ssh
    /// reads no configuration at all; without, that of the host says which key
    /// it shows. With host keys, no others are known.
    pub(super) fn command(
        &self,
        identity: Option<&Path>,
        host_keys: &[String],
    ) -> io::Result<String> {
        let mut words = vec![format!("ssh -E {}", rewrite(&self.log, "")?)];
        words.extend(OPTIONS.iter().map(|option| format!("-o {option}")));
        if let Some(identity) = identity {
            let only = "-o IdentitiesOnly=yes -o PreferredAuthentications=publickey";
            words.push(format!("-F none {only} -i {}", identity.display()));
        }
        if !host_keys.is_empty() {
            // For any name: there is one server that ssh is run for.
            let lines: String = host_keys.iter().map(|key| format!("* {key}\n")).collect();
            let file = rewrite(&self.known_hosts, &lines)?;
            words.push(format!(
                "-o UserKnownHostsFile={file} -o GlobalKnownHostsFile=none"
            ));
        }
        Ok(words.join(" "))
    }

    /// Trouble with a server, as ssh explains it; its words go to the journal.
    pub(super) fn explain(&self, trouble: Trouble) -> Trouble {
        let said = self.said();
        if said.is_empty() {
            return trouble;
        }
        eprintln!("{said}");
        match meaning(&said) {
            Some(problem) => Trouble::new(problem, said),
            None => trouble.because(&said),
        }
    }

    /// What ssh has said since the last command was made.
    fn said(&self) -> String {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = Vec::new();
        // A file in memory is read, or there is nothing to be told.
        let _ = log.rewind();
        let _ = (&mut *log).take(LOG_LIMIT).read_to_end(&mut bytes);
        // Its lines end as those of a terminal.
        let said = String::from_utf8_lossy(&bytes).replace('\r', "");
        said.trim().to_owned()
    }
}

/// What ssh's words mean, if they say more than that it did not work.
fn meaning(said: &str) -> Option<Problem> {
    let found = MEANINGS.iter().find(|(words, _)| said.contains(words));
    found.map(|(_, problem)| *problem)
}

fn in_memory(name: &str) -> io::Result<File> {
    Ok(File::from(memfd_create(name, MemfdFlags::CLOEXEC)?))
}

/// Fills the file anew, and returns the path by which a child finds it: it
/// does not get the descriptor itself.
fn rewrite(file: &Mutex<File>, text: &str) -> io::Result<String> {
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())?;
    Ok(format!("/proc/{}/fd/{}", process::id(), file.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_its_own_leaves_every_configuration_out() {
        let ssh = Ssh::new().expect("memory");
        let without = ssh.command(None, &[]).expect("memory");
        assert!(!without.contains("-F") && !without.contains("KnownHosts"));
        let key = Path::new("/run/credentials/u/origin.identity");
        let with = ssh.command(Some(key), &["ssh-ed25519 AAAA".to_owned()]);
        let with = with.expect("memory");
        for part in [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "IdentityAgent=none",
            "-F none",
            "-i /run/credentials/u/origin.identity",
            "GlobalKnownHostsFile=none",
        ] {
            assert!(with.contains(part), "{part} in {with}");
        }
        let file = with.split("UserKnownHostsFile=").nth(1);
        let file = file.and_then(|rest| rest.split(' ').next());
        let known = std::fs::read_to_string(file.expect("a file")).expect("it can be read");
        assert_eq!(known, "* ssh-ed25519 AAAA\n");
    }

    #[test]
    fn the_words_of_ssh_tell_one_problem_from_another() {
        for (said, problem) in [
            (
                "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n\
                 Host key verification failed.",
                Some(Problem::HostKeyChanged),
            ),
            (
                "No ED25519 host key is known for git.test and you have requested strict checking.\r\n\
                 Host key verification failed.",
                Some(Problem::HostKeyUnknown),
            ),
            (
                "root@git.test: Permission denied (publickey).",
                Some(Problem::Unauthorized),
            ),
            (
                "Load key \"/k\": error in libcrypto\r\nx: Permission denied (publickey).",
                Some(Problem::Credential),
            ),
            (
                "ssh: Could not resolve hostname x: Name or service not known",
                Some(Problem::Unresolved),
            ),
            ("ssh: connect to host x port 22: Connection refused", None),
        ] {
            assert_eq!(meaning(said), problem, "{said}");
        }
    }
}
