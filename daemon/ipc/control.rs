//! The interface: each method is the check of its caller and one request.
//!
//! In: calls. Out: requests of callers that may make them. Must not: take a path
//! (but of the store, from root) or a command from anybody, or answer before the
//! daemon's loop has.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use zbus::fdo::{self, DBusProxy};
use zbus::message::Header;
use zbus::{Connection, interface};

use super::caller::{self, Caller, Denied};
use super::request::{Declined, Reply, Request};
use super::rights;
use super::server::{Remote, State};
use crate::model::deployment::DeploymentId;
use crate::model::pause::{LONGEST, REASON_LIMIT, UserId};
use crate::model::policy::Guard;
use crate::model::push::Push;
use crate::model::revision::CommitId;
use crate::model::text::one_line;

/// The object on the bus.
pub(super) struct Control {
    requests: mpsc::Sender<Request>,
    state: watch::Receiver<State>,
}

#[interface(name = "org.deploy_flake.Daemon1")]
impl Control {
    /// Looks at the remote now; returns the number of the look that answers, and
    /// in how many seconds it begins: of triggers within ten seconds those after
    /// the first are answered together.
    async fn trigger(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<(u64, u64)> {
        authorize(&header, connection).await?;
        let owed = self.ask(|reply| Request::Trigger { reply }).await?;
        Ok((owed.look, whole_seconds(owed.begins_in)))
    }

    /// Tries what the branch asks for once more, though it failed here before.
    /// Returns the number of the look that answers.
    async fn retry(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<u64> {
        authorize(&header, connection).await?;
        let allowed = BTreeSet::new();
        self.ask(|reply| Request::Retry { allowed, reply }).await
    }

    /// Tries what the branch asks for once more, though it failed here before;
    /// its system may lack what is named. Returns the number of the look that
    /// answers.
    async fn retry_allowing(
        &self,
        allowed: Vec<String>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<u64> {
        authorize(&header, connection).await?;
        let allowed = guards(&allowed)?;
        self.ask(|reply| Request::Retry { allowed, reply }).await
    }

    /// Lets this commit be followed once, though it does not follow what was
    /// confirmed last, or is not signed. Returns the number of the look that
    /// answers.
    async fn allow(
        &self,
        commit: String,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<u64> {
        authorize(&header, connection).await?;
        let commit = CommitId::try_from(commit)
            .map_err(|malformed| fdo::Error::InvalidArgs(malformed.to_string()))?;
        self.ask(|reply| Request::Allow { commit, reply }).await
    }

    /// Begins no new deployment for so many seconds, or until `Resume` if they
    /// are zero; what runs is finished. Returns when the pause ends, in seconds
    /// since 1970, or zero.
    async fn pause(
        &self,
        seconds: u64,
        reason: String,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<i64> {
        let by = authorize(&header, connection).await?;
        let length = length(seconds)?;
        let reason = in_one_line(&reason)?;
        let until = self.ask(|reply| Request::Pause {
            by,
            reason,
            length,
            reply,
        });
        Ok(until.await?.map_or(0, Timestamp::as_second))
    }

    /// Lets the host go on. Returns the number of the look that follows.
    async fn resume(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<u64> {
        let by = authorize(&header, connection).await?;
        self.ask(|reply| Request::Resume { by, reply }).await
    }

    /// Ends the confirm window of this deployment, or if it is empty of
    /// whichever is in its window, as soon as the host is seen healthy. Returns
    /// its id.
    async fn confirm(
        &self,
        deployment: String,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<String> {
        let by = authorize(&header, connection).await?;
        let deployment = deployment_id(deployment);
        let id = self.ask(|reply| Request::Confirm {
            by,
            deployment,
            reply,
        });
        Ok(id.await?.0)
    }

    /// Leads back from this deployment in its confirm window, or if it is empty
    /// from whichever is in its window, for a reason. Returns its id.
    async fn reject(
        &self,
        deployment: String,
        reason: String,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<String> {
        let by = authorize(&header, connection).await?;
        let deployment = deployment_id(deployment);
        let reason = in_one_line(&reason)?;
        let id = self.ask(|reply| Request::Reject {
            by,
            deployment,
            reason,
            reply,
        });
        Ok(id.await?.0)
    }

    /// Goes back to the system of this deployment, or if it is empty of the one
    /// before, and stays there until the branch is a new commit, or `Resume`.
    /// Returns the number of the look that answers.
    async fn rollback(
        &self,
        deployment: String,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<u64> {
        let by = authorize(&header, connection).await?;
        let deployment = deployment_id(deployment);
        self.ask(|reply| Request::Rollback {
            by,
            deployment,
            reply,
        })
        .await
    }

    /// Deploys this configuration of the flake at this path of the host's store,
    /// which it stays with until the branch is a new commit, or `Resume`. Returns
    /// the number of the look that answers.
    async fn push(
        &self,
        source: String,
        configuration: String,
        options: Vec<String>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<u64> {
        let by = authorize(&header, connection).await?;
        let push = Push::parse(source, configuration, &options);
        let push = push.map_err(|no_push| fdo::Error::InvalidArgs(no_push.to_string()))?;
        let push = Box::new(push);
        self.ask(|reply| Request::Push { by, push, reply }).await
    }

    /// The daemon's version.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// What is going on, in one word.
    #[zbus(property)]
    fn phase(&self) -> String {
        self.state.borrow().phase.clone()
    }

    /// Whether the host is what the remote asks for, in one word.
    #[zbus(property)]
    fn condition(&self) -> String {
        self.state.borrow().condition.clone()
    }

    /// The remotes, in the order of the configuration: name, URL, branch, place,
    /// commit, failure, last answer, next look.
    #[zbus(property(emits_changed_signal = "false"))]
    fn remotes(&self) -> Vec<Remote> {
        self.state.borrow().remotes.clone()
    }

    /// Which branch the host is what it is for: its own, or the testing branch.
    #[zbus(property)]
    fn branch(&self) -> String {
        self.state.borrow().branch.clone()
    }
}

impl Control {
    pub(super) fn new(requests: mpsc::Sender<Request>, state: watch::Receiver<State>) -> Self {
        Self { requests, state }
    }

    /// Hands a request to the daemon's loop and waits for its answer.
    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> fdo::Result<T> {
        let (reply, answer) = oneshot::channel();
        let gone = || fdo::Error::Disconnected("the daemon is stopping; call again".to_owned());
        self.requests
            .send(request(reply))
            .await
            .map_err(|_| gone())?;
        let answer = answer.await.map_err(|_| gone())?;
        answer.map_err(|Declined(why)| fdo::Error::Failed(why))
    }
}

/// The guards of these names. A name that is none is refused: whoever wrote it
/// meant something.
fn guards(names: &[String]) -> fdo::Result<BTreeSet<Guard>> {
    let guard = |name: &String| {
        let known = Guard::ALL.iter().find(|guard| guard.name() == name);
        known.copied().ok_or_else(|| {
            let all: Vec<_> = Guard::ALL.iter().map(|guard| guard.name()).collect();
            let expected = all.join(", ");
            fdo::Error::InvalidArgs(format!("expected any of {expected}, found {name:?}"))
        })
    };
    names.iter().map(guard).collect()
}

/// As many as have to be waited at most.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// How long a pause is to be; none: until somebody says otherwise.
fn length(seconds: u64) -> fdo::Result<Option<Duration>> {
    let length = Duration::from_secs(seconds);
    if length > LONGEST {
        let most = LONGEST.as_secs();
        let expected = format!("expected at most {most} seconds, found {seconds}");
        return Err(fdo::Error::InvalidArgs(expected));
    }
    Ok((seconds > 0).then_some(length))
}

/// What is compared with deployments that are known; empty: whichever it is.
fn deployment_id(text: String) -> Option<DeploymentId> {
    (!text.is_empty()).then_some(DeploymentId(text))
}

/// An operator's words, as everybody may see them.
fn in_one_line(words: &str) -> fdo::Result<String> {
    let length = words.chars().count();
    if length > REASON_LIMIT {
        let expected = format!("expected at most {REASON_LIMIT} characters, found {length}");
        return Err(fdo::Error::InvalidArgs(expected));
    }
    Ok(one_line(words.trim(), REASON_LIMIT))
}

/// Asks the bus, not the caller, who is calling, and the table whether they may.
/// Returns who it is.
async fn authorize(header: &Header<'_>, connection: &Connection) -> fdo::Result<UserId> {
    let method = header.member();
    let method = method.as_ref().map_or("", |name| name.as_str());
    let caller = match header.sender() {
        Some(sender) => {
            let bus = DBusProxy::new(connection).await?;
            let known = bus
                .get_connection_credentials(sender.clone().into())
                .await?;
            Caller {
                user: known.unix_user_id(),
                groups: known.into_unix_group_ids(),
            }
        }
        None => Caller::default(),
    };
    let operators = caller::operators().unwrap_or_else(|error| {
        tracing::warn!(%error, "the groups cannot be read, so only root may call");
        None
    });
    let right = rights::right(method).ok_or(Denied::Nobody);
    let judged = right.and_then(|right| caller::judge(&caller, right, operators));
    judged.map_err(|denied| {
        tracing::warn!(user = caller.user, method, "a caller was turned away");
        fdo::Error::AccessDenied(denied.to_string())
    })?;
    // Who may, is known: of everybody else nothing is asked.
    caller
        .user
        .map(UserId)
        .ok_or_else(|| fdo::Error::AccessDenied(Denied::Unknown.to_string()))
}

#[cfg(test)]
mod tests {
    use zbus::object_server::Interface as _;

    use super::*;
    use crate::ipc::NAME;

    #[test]
    fn every_method_has_a_row_and_every_row_a_method() {
        let (requests, _asked) = mpsc::channel(1);
        let (_known, state) = watch::channel(State::default());
        let mut xml = String::new();
        Control::new(requests, state).introspect_to_writer(&mut xml, 0);
        let methods: Vec<&str> = xml
            .split("<method name=\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        let ours = rights::METHODS.iter().filter(|row| row.interface == NAME);
        let rows: BTreeSet<&str> = ours.map(|row| row.name).collect();
        assert_eq!(methods.iter().copied().collect::<BTreeSet<_>>(), rows);
        assert!(methods.len() >= 4, "{xml}");
    }

    /// What stands there is what programs of other versions call: a line may be added, and none may change or go.
    #[test]
    fn the_interface_is_the_documented_one() {
        let (requests, _asked) = mpsc::channel(1);
        let (_known, state) = watch::channel(State::default());
        let mut xml = String::new();
        Control::new(requests, state).introspect_to_writer(&mut xml, 0);
        let value = |text: &str, name: &str| {
            let (_, rest) = text.split_once(&format!(" {name}=\""))?;
            Some(rest.split('"').next()?.to_owned())
        };
        let method = |text: &str| {
            let body = text.split("</method>").next().unwrap_or_default();
            let arguments = body.split("<arg ").skip(1);
            let (mut taken, mut answered) = (String::new(), String::new());
            for argument in arguments {
                let argument = format!(" {argument}");
                let kind = value(&argument, "type").expect("it has a type");
                match value(&argument, "direction").as_deref() {
                    Some("out") => answered.push_str(&kind),
                    _ => taken.push_str(&kind),
                }
            }
            let name = value(&format!(" {text}"), "name").expect("it has a name");
            format!("{name}({taken}) {answered}")
        };
        let property = |text: &str| {
            let text = format!(" {text}");
            let name = value(&text, "name").expect("it has a name");
            let kind = value(&text, "type").expect("it has a type");
            format!("{name} {kind}")
        };
        let mut methods: Vec<String> = xml.split("<method ").skip(1).map(method).collect();
        let mut properties: Vec<String> = xml.split("<property ").skip(1).map(property).collect();
        methods.sort_unstable();
        properties.sort_unstable();
        let found = [methods, properties].concat().join("\n");
        let document = include_str!("../../docs/control.md");
        let listed = document.split("```text\n").nth(1);
        let listed = listed.and_then(|rest| rest.split("\n```").next());
        assert_eq!(listed, Some(&*found), "{xml}");
    }

    #[test]
    fn a_pause_is_bounded_in_time_and_words() {
        assert_eq!(length(0).ok(), Some(None));
        assert_eq!(length(1).ok(), Some(Some(Duration::from_secs(1))));
        assert!(length(LONGEST.as_secs()).is_ok());
        assert!(length(LONGEST.as_secs() + 1).is_err() && length(u64::MAX).is_err());
        let kept = in_one_line(" a\u{1b}[2J\nfair ").expect("it is short");
        assert_eq!(kept, "a\\u{1b}[2J\\nfair");
        assert!(in_one_line(&"é".repeat(REASON_LIMIT)).is_ok());
        assert!(in_one_line(&"é".repeat(REASON_LIMIT + 1)).is_err());
    }

    #[test]
    fn guards_are_named_and_a_name_that_is_none_is_refused() {
        let named = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            guards(&names)
        };
        let all: Vec<_> = Guard::ALL.iter().map(|guard| guard.name()).collect();
        assert_eq!(named(&all).ok(), Some(Guard::ALL.iter().copied().collect()));
        assert_eq!(named(&[]).ok(), Some(BTreeSet::new()));
        for wrong in ["", "Daemon", "sshd"] {
            let refused = named(&["daemon", wrong]).expect_err(wrong).to_string();
            assert!(refused.contains("ssh-server"), "{refused}");
        }
    }
}
