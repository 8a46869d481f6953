//! A git server on loopback that says what it is told to.

use std::io::Write;
use std::process::Stdio;

use crate::fetcher::tests::protocol::Script;
use crate::fetcher::tests::servers::listen;
use crate::fetcher::tests::upstream::{World, git_command, remote};
use crate::model::remote::RemoteAddress;

impl Script {
    /// Starts it, for as long as the test runs.
    pub(super) fn start(self) -> RemoteAddress {
        let port = listen(move |mut stream| {
            // A client that hangs up is what most of these are about.
            let _ = self.play(&mut stream);
        });
        remote(&format!("git://127.0.0.1:{port}/upstream"))
    }
}

impl World {
    /// A pack of exactly these objects of the upstream.
    pub(super) fn pack_of(&self, objects: &[&str]) -> Vec<u8> {
        let mut child = git_command(&self.upstream())
            .args(["pack-objects", "--stdout", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("git is installed");
        let mut input = child.stdin.take().expect("piped");
        input
            .write_all(format!("{}\n", objects.join("\n")).as_bytes())
            .expect("a list that is read");
        drop(input);
        child.wait_with_output().expect("our child").stdout
    }

    /// A pack of all of the upstream.
    pub(super) fn whole_pack(&self) -> Vec<u8> {
        let all = super::upstream::git(&self.upstream(), &["rev-list", "--objects", "--all"]);
        let names: Vec<&str> = all
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        self.pack_of(&names)
    }
}
