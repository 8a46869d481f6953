//! With what remotes are asked: the credentials of this process.
//!
//! In: the directory where systemd put them; what the configuration says of a
//! remote. Out: options for a connection. Must not: show a secret to anybody
//! but the server that it is for.

use std::io;
use std::path::PathBuf;

use gix::protocol::transport::client::blocking_io::ssh::{ProgramKind, connect};

use crate::fetcher::https::{self, Https};
use crate::fetcher::ssh::Ssh;
use crate::fetcher::trouble::Trouble;
use crate::fetcher::wire::Problem;
use crate::model::credential::Use;
use crate::model::remote::RemoteAddress;

/// The credentials of one process.
pub(super) struct Credentials {
    /// Where they are; None: it has none.
    directory: Option<PathBuf>,
    ssh: Ssh,
}

impl Credentials {
    /// # Errors
    /// There is no memory.
    pub(super) fn new(directory: Option<PathBuf>) -> io::Result<Self> {
        Ok(Self {
            directory,
            ssh: Ssh::new()?,
        })
    }

    /// How ssh is run for a remote.
    pub(super) fn ssh(&self, remote: &RemoteAddress) -> Result<connect::Options, Trouble> {
        let identity = self.credential(Use::Identity, remote);
        let keys = &remote.access.host_keys;
        let command = self.ssh.command(identity.as_deref(), keys);
        let command = command.map_err(|error| Trouble::from_io("could not set up ssh", &error))?;
        Ok(connect::Options {
            command: Some(command.into()),
            disallow_shell: false,
            kind: Some(ProgramKind::Ssh),
        })
    }

    /// What an https server is told of us, and how it is reached.
    pub(super) fn https(&self, remote: &RemoteAddress) -> Result<Https, Trouble> {
        let token = self.credential(Use::Token, remote);
        let token = token.map(|file| https::read_token(&file)).transpose()?;
        Ok(Https::new(token, &remote.access))
    }

    /// Trouble with a remote, explained by the program that asked it.
    pub(super) fn explain(&self, remote: &RemoteAddress, trouble: Trouble) -> Trouble {
        let may_be_of_ssh = !matches!(
            trouble.problem,
            Problem::Moved | Problem::Mirror | Problem::DiskFull | Problem::TooBig
        );
        if remote.is_ssh() && may_be_of_ssh {
            self.ssh.explain(trouble)
        } else {
            trouble
        }
    }

    /// The file of a credential, if this process has it.
    fn credential(&self, of: Use, remote: &RemoteAddress) -> Option<PathBuf> {
        let file = self.directory.as_ref()?.join(of.of(&remote.name));
        file.exists().then_some(file)
    }
}
