//! Whether the remote is alive: an old branch that is served for ever looks
//! like one on which nobody works.
//!
//! In: the tag that the heartbeat's ref leads to, and what the branch is. Out:
//! nothing, or the one reason why nothing that the remote offers is followed.
//! Must not: have it brought or its signature verified with every look; only
//! its age is new each time.
//!
//! What a good one shows: somebody who may make it has seen the branch at the
//! commit that it names, at the time that it names. So the branch has to hold
//! that commit, or what came after the floor is withheld.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::keys::KeyFiles;
use super::{Descent, Judge, MEMORY};
use crate::config::duration::show;
use crate::host::clock;
use crate::model::failure::{Failure, FailureCode};
use crate::model::policy::{Heartbeat, Trust};
use crate::model::remote::RemoteAddress;
use crate::model::revision::{CommitId, Confirmed, TagId, TagName};
use crate::pipeline::git::{Beat, Remote};
use crate::trust::Untrusted;
use crate::trust::keys::Keys;
use crate::trust::tag::Tag;

/// How far ahead of this host's clock a heartbeat may be.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// What a poll saw of a heartbeat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    /// How it is called.
    pub(crate) name: &'a TagName,
    /// What it is, if the remote has it.
    pub(crate) tag: Option<&'a TagId>,
}

/// What is remembered of a tag.
pub(super) struct Heard {
    id: TagId,
    /// The branch's commit at that time.
    tip: CommitId,
    /// What it says; or why it says nothing, beside that commit.
    tag: Result<Arc<Tag>, Stale>,
    /// What became of it by the keys.
    verdict: Result<Arc<Tag>, Stale>,
    /// The time since boot.
    at: Duration,
}

/// Why a remote does not show that it is alive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Stale {
    #[error("expected a signed tag, found none")]
    Missing,
    #[error("{0}")]
    NoTag(String),
    #[error("expected the tag {expected}, found {found}")]
    OtherObject { expected: CommitId, found: CommitId },
    #[error("{0} ({code})", code = .0.code())]
    Untrusted(Untrusted),
    #[error("expected a tag that was made under this name, found one made as {0}")]
    OtherName(TagName),
    #[error("expected a time before now, found {0}")]
    Ahead(Timestamp),
    #[error("expected one made within {max_age}, found one of {at}", max_age = show(*.max_age))]
    Old { max_age: Duration, at: Timestamp },
    #[error("it names the commit {0}, which the branch does not hold")]
    Withheld(CommitId),
}

impl Judge {
    /// Judges what the remote shows beside what its branch is. What root allowed
    /// is followed without.
    ///
    /// May be dropped at any time, as [`Judge::judge`].
    pub(crate) async fn hear(
        &self,
        remote: &Remote,
        tip: &CommitId,
        seen: Seen<'_>,
        confirmed: &Confirmed,
    ) -> Result<(), Failure> {
        let Some(demanded) = &self.trust.heartbeat else {
            return Ok(());
        };
        if confirmed.allowed.as_ref() == Some(tip) {
            return Ok(());
        }
        let failure = |stale: Stale| stale.failure(remote.address(), seen.name);
        let id = seen.tag.ok_or(Stale::Missing).map_err(failure)?;
        let known = self.known_heartbeat(id, tip);
        let verdict = match known {
            Known::Verdict(verdict) => verdict,
            Known::Tag(tag) => self.vouch(demanded, seen.name, id, tip, tag)?,
            Known::Nothing => {
                let tag = tag(remote, seen.name, id).await?;
                self.vouch(demanded, seen.name, id, tip, tag)?
            }
        };
        let tag = verdict.map_err(failure)?;
        in_time(demanded, &tag, clock::now().wall).map_err(failure)?;
        if self.holds(remote, tip, &tag.commit).await? {
            return Ok(());
        }
        Err(failure(Stale::Withheld(tag.commit.clone())))
    }

    fn known_heartbeat(&self, id: &TagId, tip: &CommitId) -> Known {
        let memory = self.memory.lock().ok();
        let heard = memory.as_ref().and_then(|memory| memory.heard.as_ref());
        let Some(heard) = heard.filter(|heard| heard.id == *id) else {
            return Known::Nothing;
        };
        // What came with it may have been too much because of another commit.
        if heard.tag.is_err() && heard.tip != *tip {
            return Known::Nothing;
        }
        let age = clock::now().since_boot.saturating_sub(heard.at);
        if age < MEMORY {
            Known::Verdict(heard.verdict.clone())
        } else {
            Known::Tag(heard.tag.clone())
        }
    }

    /// Whose it is, by the keys as they are now.
    fn vouch(
        &self,
        demanded: &Heartbeat,
        name: &TagName,
        id: &TagId,
        tip: &CommitId,
        tag: Result<Arc<Tag>, Stale>,
    ) -> Result<Result<Arc<Tag>, Stale>, Failure> {
        let trust = signers(&self.trust, demanded);
        let keys = KeyFiles::read(&trust, &self.root)?.parse(&trust)?;
        let now = clock::now();
        let verdict = tag.clone().and_then(|tag| {
            is_from(&tag, name, &keys, now.wall)?;
            Ok(tag)
        });
        if let Ok(mut memory) = self.memory.lock() {
            memory.heard = Some(Heard {
                id: id.clone(),
                tip: tip.clone(),
                tag,
                verdict: verdict.clone(),
                at: now.since_boot,
            });
        }
        Ok(verdict)
    }

    /// Whether the branch holds a commit, which the mirror may not.
    async fn holds(
        &self,
        remote: &Remote,
        tip: &CommitId,
        commit: &CommitId,
    ) -> Result<bool, Failure> {
        if tip == commit {
            return Ok(true);
        }
        if let Some(known) = self.known_descent(tip, commit) {
            return Ok(known);
        }
        if remote.holds(commit).await != Some(false) {
            return self.descends(remote, tip, commit).await;
        }
        // Of what the mirror holds it holds all that it descends from.
        self.note(Descent {
            commit: tip.clone(),
            from: commit.clone(),
            descends: false,
        });
        Ok(false)
    }
}

/// What is remembered of a heartbeat.
enum Known {
    /// All that depends on keys as well.
    Verdict(Result<Arc<Tag>, Stale>),
    /// What it says.
    Tag(Result<Arc<Tag>, Stale>),
    /// It was not seen before.
    Nothing,
}

/// Has the tag brought.
async fn tag(
    remote: &Remote,
    name: &TagName,
    id: &TagId,
) -> Result<Result<Arc<Tag>, Stale>, Failure> {
    let object = match remote.heartbeat(name, id).await? {
        Beat::Object(object) => object,
        Beat::NoTag(why) => return Ok(Err(Stale::NoTag(why))),
    };
    Ok(parse(&object, id))
}

fn parse(object: &[u8], id: &TagId) -> Result<Arc<Tag>, Stale> {
    let tag = Tag::parse(object).map_err(Stale::Untrusted)?;
    if tag.id != *id {
        return Err(Stale::OtherObject {
            expected: id.0.clone(),
            found: tag.id.0,
        });
    }
    Ok(Arc::new(tag))
}

/// Who may make it: those of its own file, or those who sign commits.
fn signers(trust: &Trust, demanded: &Heartbeat) -> Trust {
    match &demanded.allowed_signers {
        None => trust.clone(),
        Some(own) => Trust {
            allowed_signers: Some(own.clone()),
            keyrings: Vec::new(),
            ..trust.clone()
        },
    }
}

/// Who made it, and as what: another tag of the same keys, such as a release, is
/// no heartbeat.
fn is_from(tag: &Tag, name: &TagName, keys: &Keys, now: Timestamp) -> Result<(), Stale> {
    keys.verify_tag(tag, now).map_err(Stale::Untrusted)?;
    if tag.name != *name {
        return Err(Stale::OtherName(tag.name.clone()));
    }
    Ok(())
}

fn in_time(demanded: &Heartbeat, tag: &Tag, now: Timestamp) -> Result<(), Stale> {
    let at = tag.tagger.at;
    let age = now.duration_since(at);
    if age < -AHEAD {
        return Err(Stale::Ahead(at));
    }
    let max_age = demanded.max_age;
    if age > SignedDuration::try_from(max_age).unwrap_or(SignedDuration::MAX) {
        return Err(Stale::Old { max_age, at });
    }
    Ok(())
}

impl Stale {
    /// The failure that people and programs are told. It is the same with every
    /// look, so it is told once.
    fn failure(&self, address: &RemoteAddress, name: &TagName) -> Failure {
        let url = address.shown_url();
        let message =
            format!("the heartbeat {name} of {url} does not show that it is alive: {self}");
        let hint = format!("{} Until then this host stays what it is.", self.hint(name));
        Failure::new(FailureCode::RemoteStale, message, hint)
    }

    fn hint(&self, name: &TagName) -> String {
        match self {
            Self::Missing | Self::NoTag(_) | Self::OtherObject { .. } | Self::OtherName(_) => {
                format!("Make it, signed, and push it: `git tag -s -f {name} BRANCH`.")
            }
            Self::Untrusted(_) => "Sign it with a key that this host trusts for it, or find out \
                                   who made it; docs/trust.md explains the reason in brackets."
                .to_owned(),
            Self::Ahead(_) => "Check the clocks of this host, and of whoever makes it.".to_owned(),
            Self::Old { .. } => "Find out whether whoever makes it still does, and whether the \
                                 remote passes on what is pushed."
                .to_owned(),
            Self::Withheld(_) => {
                "Find out why the remote does not pass on what is pushed; after a \
                                  forced push, make a new one."
                    .to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests;
