//! One connection to a remote, its handshake done.
//!
//! In: a URL. Out: what refs are. Must not: fetch, or write.

use std::sync::Arc;

use gix::progress::Discard;
use gix::protocol::handshake::Ref;
use gix::protocol::ls_refs::RefPrefixes;
use gix::protocol::transport::client::TransportWithoutIO;
use gix::protocol::transport::client::blocking_io::{Transport, connect, http, ssh};
use gix::protocol::transport::{Protocol, Service};
use gix::protocol::{Handshake, LsRefsCommand, SendFlushOnDrop};
use gix::remote::Direction;

use crate::fetcher::credentials::Credentials;
use crate::fetcher::https::Https;
use crate::fetcher::meter::Meter;
use crate::fetcher::metered::Metered;
use crate::fetcher::trouble::Trouble;
use crate::fetcher::wire::Problem;
use crate::model::remote::RemoteAddress;
use crate::model::revision::CommitId;

/// How we name ourselves to servers.
const AGENT: &str = concat!("git/deploy-flake-", env!("CARGO_PKG_VERSION"));

/// A connection on which the handshake is done.
pub(super) struct Session {
    url: String,
    transport: SendFlushOnDrop<Metered>,
    handshake: Handshake,
}

impl Session {
    /// Connects and shakes hands.
    pub(super) fn connect(
        repository: &gix::Repository,
        remote: &RemoteAddress,
        credentials: &Credentials,
        meter: &Arc<Meter>,
    ) -> Result<Self, Trouble> {
        Self::greet(
            connect(repository, remote, credentials, meter)?,
            &remote.url,
        )
    }

    /// Shakes hands with whoever is at the other end.
    pub(super) fn greet(transport: Metered, url: &str) -> Result<Self, Trouble> {
        let mut transport = SendFlushOnDrop::new(transport, false);
        let handshake = gix::protocol::handshake(
            &mut transport.inner,
            Service::UploadPack,
            no_credentials,
            Vec::new(),
            &mut Discard,
        )
        .map_err(|error| Trouble::from_gix(Problem::Remote, &error))?;
        refuse_other_hashes(&handshake)?;
        Ok(Self {
            url: url.to_owned(),
            transport,
            handshake,
        })
    }

    /// Whether this is a session with that URL.
    pub(super) fn is_with(&self, url: &str) -> bool {
        self.url == url
    }

    /// Whether the session can be asked again later.
    ///
    /// Only where a request stands for itself (http). Elsewhere a session
    /// holds a process on the server, and a fleet would hold one each.
    pub(super) fn can_be_kept(&self) -> bool {
        !self
            .transport
            .inner
            .connection_persists_across_multiple_requests()
            && self.handshake.server_protocol_version == Protocol::V2
    }

    /// Asks what the refs of these whole names are, in one exchange.
    pub(super) fn heads(
        &mut self,
        names: &[String],
        meter: &Arc<Meter>,
    ) -> Result<Vec<Option<CommitId>>, Trouble> {
        self.transport.inner.measure_with(Arc::clone(meter));
        let listed;
        let refs = match &self.handshake.refs {
            // Protocol 0 and 1 told every ref with the handshake.
            Some(refs) => refs,
            None => {
                listed = self.list(names)?;
                &listed
            }
        };
        names.iter().map(|name| find(refs, name)).collect()
    }

    /// One `ls-refs` with the full names: any shorter one makes the server send
    /// more than those refs.
    fn list(&mut self, names: &[String]) -> Result<Vec<Ref>, Trouble> {
        let mut prefixes = RefPrefixes::new();
        prefixes.extend(names.iter().map(|name| name.as_str().into()));
        let agent = ("agent", Some(AGENT.to_owned()));
        LsRefsCommand::new(Some(prefixes), &self.handshake.capabilities, agent)
            .invoke_blocking(&mut self.transport.inner, &mut Discard, false)
            .map_err(|error| Trouble::from_gix(Problem::Remote, &error))
    }
}

/// Says no to everybody who asks for a name or a password.
pub(super) fn no_credentials(
    _: gix::credentials::helper::Action,
) -> Result<Option<gix::credentials::protocol::Outcome>, gix::Error> {
    let message = "the remote asks who we are, and no credentials are configured";
    Err(gix::error::unauthenticated(message).into())
}

/// Makes the connection with the timeouts that the repository configures.
pub(super) fn connect(
    repository: &gix::Repository,
    remote: &RemoteAddress,
    credentials: &Credentials,
    meter: &Arc<Meter>,
) -> Result<Metered, Trouble> {
    let (ssh, https) = (credentials.ssh(remote)?, credentials.https(remote)?);
    let transport = transport(repository, &remote.url, ssh, https);
    let transport = transport.map_err(|error| Trouble::from_gix(Problem::Remote, &error))?;
    Ok(Metered::new(transport, Arc::clone(meter)))
}

fn transport(
    repository: &gix::Repository,
    url: &str,
    ssh: ssh::connect::Options,
    https: Https,
) -> Result<Box<dyn Transport + Send>, gix::Error> {
    let remote = repository.remote_at(url)?;
    let (url, version) = remote.sanitized_url_and_version(Direction::Fetch)?;
    let text = url.to_bstring();
    let options = connect::Options {
        version,
        ssh,
        trace: false,
    };
    let mut transport = connect::connect(url, options)?;
    if let Some(options) = repository.transport_options(&**text, None)?
        && let Ok(options) = options.downcast::<http::Options>()
    {
        https.set_up(&mut *transport, *options)?;
    }
    Ok(transport)
}

/// Nix reads SHA-1 repositories only; saying so beats a parser's complaint.
fn refuse_other_hashes(handshake: &Handshake) -> Result<(), Trouble> {
    let format = handshake.capabilities.capability("object-format");
    match format.as_ref().and_then(|format| format.value()) {
        None => Ok(()),
        Some(name) if name == "sha1" => Ok(()),
        Some(name) => Err(Trouble::new(
            Problem::Unsupported,
            format!(
                "expected a repository of SHA-1 objects, which is all that Nix reads, found {name}"
            ),
        )),
    }
}

/// Finds the ref among those told; a server may send more than it was asked for.
/// Of a tag that is the tag's own object.
fn find(refs: &[Ref], name: &str) -> Result<Option<CommitId>, Trouble> {
    for reference in refs {
        let (found, target, _peeled) = reference.unpack();
        if found == name {
            return target.map(commit_id).transpose();
        }
    }
    Ok(None)
}

/// The id as the rest of the daemon knows it.
pub(super) fn commit_id(id: &gix::oid) -> Result<CommitId, Trouble> {
    CommitId::try_from(id.to_string())
        .map_err(|error| Trouble::new(Problem::Remote, error.to_string()))
}
