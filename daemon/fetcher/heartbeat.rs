//! The tag by which a remote shows that it is alive, passed on as it is.
//!
//! In: the tag that the last poll saw. Out: its bytes. Must not: judge it, or
//! leave anything of it in the mirror: a tag that is made anew every hour would
//! fill that with packs, and one that nobody vouches for may bring anything.

use std::sync::Arc;

use gix::object::Kind;

use crate::fetcher::credentials::Credentials;
use crate::fetcher::lineage::hexadecimal;
use crate::fetcher::meter::Meter;
use crate::fetcher::mirror::Mirror;
use crate::fetcher::remote::Fetcher;
use crate::fetcher::trouble::Trouble;
use crate::fetcher::wanted::{Transfer, object_id};
use crate::fetcher::wire::{Answer, Problem};
use crate::model::remote::RemoteAddress;
use crate::model::revision::{TagId, TagName};

/// How many bytes of pack are taken. The tag alone is less than a kilobyte; the
/// rest is for commits that were pushed between the poll and this.
const PACK_LIMIT: u64 = 1 << 20;

/// The largest tag that is passed on, in bytes; the judge takes none that is larger.
const OBJECT_LIMIT: usize = 64 << 10;

/// Where the mirror keeps it for a moment.
const LOCAL: &str = "refs/heartbeat/seen";

impl Fetcher {
    /// Passes the tag on.
    pub(super) fn heartbeat(
        &mut self,
        remote: &RemoteAddress,
        name: &TagName,
        tag: &TagId,
    ) -> Result<Answer, Trouble> {
        let repository = self.mirror.open()?;
        let before = self.mirror.indices()?;
        let wanted = Heartbeat {
            remote: remote.clone(),
            credentials: Arc::clone(&self.credentials),
            name: name.clone(),
            tag: tag.clone(),
        };
        let own = repository.clone();
        let received = self.watch(move |meter| wanted.receive(&own, meter));
        let forgotten = Mirror::forget(&repository, LOCAL);
        self.mirror.keep_packs(&before)?;
        let received = received.map_err(|trouble| self.credentials.explain(remote, trouble));
        let object = received.map_err(|trouble| self.blame_for_tag(trouble))?;
        forgotten.map_err(|error| Trouble::from_gix(Problem::Fetch, &error))?;
        Ok(Answer::Heartbeat {
            object: hexadecimal(&object),
        })
    }

    /// What came with a tag, or did not, says nothing about the mirror; that it
    /// is damaged may be why nothing came.
    fn blame_for_tag(&self, trouble: Trouble) -> Trouble {
        if matches!(trouble.problem, Problem::Fetch | Problem::Pack) {
            return self.blame_mirror(trouble);
        }
        trouble
    }
}

/// A tag that is to be passed on.
struct Heartbeat {
    remote: RemoteAddress,
    credentials: Arc<Credentials>,
    name: TagName,
    tag: TagId,
}

impl Heartbeat {
    fn receive(
        &self,
        repository: &gix::Repository,
        meter: &Arc<Meter>,
    ) -> Result<Vec<u8>, Trouble> {
        let theirs = self.name.reference();
        let transfer = Transfer {
            remote: &self.remote,
            credentials: &self.credentials,
            theirs: &theirs,
            ours: LOCAL,
            object: &self.tag.0,
            pack_limit: PACK_LIMIT,
        };
        if transfer.run(repository, meter)?.is_none() {
            return Err(transfer.moved("nothing"));
        }
        self.read(repository)
    }

    fn read(&self, repository: &gix::Repository) -> Result<Vec<u8>, Trouble> {
        let (name, tag) = (&self.name, &self.tag.0);
        let broken = |error| Trouble::from_gix(Problem::Pack, &error);
        let id = object_id(tag).map_err(broken)?;
        let object = repository.find_object(id).map_err(broken)?;
        let not_a_tag = |found: String| {
            let message =
                format!("expected {name} to be an annotated tag of at most 64 KiB, found {found}");
            Err(Trouble::new(Problem::NotATag, message))
        };
        if object.kind != Kind::Tag {
            return not_a_tag(format!("a {}", object.kind));
        }
        if object.data.len() > OBJECT_LIMIT {
            return not_a_tag(format!("{} bytes", object.data.len()));
        }
        Ok(object.data.clone())
    }
}
