//! The daemon's side of the bus.
//!
//! In: a connection, a channel for requests, and what the daemon says of
//! itself. Out: requests of callers that may make them. Must not: answer
//! before the daemon's loop has.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;
use zbus::fdo::{self, DBusProxy};
use zbus::message::Header;
use zbus::object_server::InterfaceRef;
use zbus::{Connection, interface};

use super::caller::{self, Caller, Right};
use super::{NAME, PATH};
use crate::model::policy::Guard;
use crate::model::revision::CommitId;

/// What a caller asks of the daemon's loop.
#[derive(Debug)]
pub enum Request {
    /// Look at the remote now.
    Trigger {
        /// Takes the number of the look that will answer.
        reply: oneshot::Sender<u64>,
    },
    /// Try what the branch asks for once more, whatever became of it.
    Retry {
        /// What its system may lack.
        allowed: BTreeSet<Guard>,
        /// Takes the number of the look that will answer.
        reply: oneshot::Sender<u64>,
    },
    /// Follow this commit once, whatever was confirmed before.
    Allow {
        /// Which.
        commit: CommitId,
        /// Takes the number of the look that will answer.
        reply: oneshot::Sender<u64>,
    },
}

/// What the properties say; the daemon's loop keeps it up to date.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The name of the phase, as in the snapshot.
    pub phase: String,
    /// The state of the condition, as in the snapshot.
    pub condition: String,
    /// The branch of the commit that the host is brought to, or was.
    pub branch: String,
    /// The remotes, in the order of the configuration.
    pub remotes: Vec<Remote>,
}

/// A remote; what is not known is empty, or zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, zbus::zvariant::Type)]
pub struct Remote {
    /// Its name.
    pub name: String,
    /// Its URL.
    pub url: String,
    /// The branch.
    pub branch: String,
    /// Where it stands among the others, as in the snapshot.
    pub place: String,
    /// The commit that it last offered and that may be followed.
    pub commit: String,
    /// The code of its failure.
    pub failure: String,
    /// When it last answered, in seconds since 1970.
    pub last_answer_at: i64,
    /// When it is asked next, in seconds since 1970.
    pub next_look_at: i64,
}

/// The object could not be put on the connection.
#[derive(Debug, thiserror::Error)]
#[error("put {PATH} on the bus")]
pub struct ServeError(#[source] zbus::Error);

/// Between two requests for a name that the bus refused.
const NAME_INTERVAL: Duration = Duration::from_secs(5);

/// The object on the bus, until the connection ends.
pub struct Server {
    object: InterfaceRef<Control>,
    state: watch::Receiver<State>,
}

impl Server {
    /// Puts the object on the connection, then takes the name: whoever sees
    /// the name can call.
    ///
    /// A bus that refuses the name does not keep the host from following: a
    /// policy that is wrong could otherwise never be mended by a commit. Nobody
    /// can call until the bus lets us have it.
    pub async fn start(
        connection: &Connection,
        requests: mpsc::Sender<Request>,
        state: watch::Receiver<State>,
    ) -> Result<Self, ServeError> {
        let control = Control {
            requests,
            state: state.clone(),
        };
        let objects = connection.object_server();
        objects.at(PATH, control).await.map_err(ServeError)?;
        let object = objects.interface(PATH).await.map_err(ServeError)?;
        if let Err(error) = connection.request_name(NAME).await {
            tracing::warn!(
                %error,
                "the bus refuses the daemon's name; nobody can trigger it until it does not"
            );
            tokio::spawn(take_name_later(connection.clone()));
        }
        Ok(Self { object, state })
    }

    /// Tells whoever listens that a property changed, for as long as the
    /// daemon lives. Cancel-safe: a change that was not told is told with the
    /// next one, and whoever reads gets the present value anyway.
    pub async fn announce(mut self) {
        while self.state.changed().await.is_ok() {
            let control = self.object.get().await;
            let emitter = self.object.signal_emitter();
            let told = async {
                control.phase_changed(emitter).await?;
                control.condition_changed(emitter).await?;
                control.branch_changed(emitter).await
            };
            if let Err(error) = told.await {
                tracing::debug!(%error, "a change of the properties could not be told");
            }
        }
    }
}

/// Asks for the name until the bus gives it; the bus reads its policy again by
/// itself. Ends with the daemon.
async fn take_name_later(connection: Connection) {
    while let Err(error) = connection.request_name(NAME).await {
        tracing::debug!(%error, "the bus still refuses the daemon's name");
        sleep(NAME_INTERVAL).await;
    }
    tracing::info!("the bus gave the daemon its name");
}

/// The interface.
struct Control {
    requests: mpsc::Sender<Request>,
    state: watch::Receiver<State>,
}

#[interface(name = "org.deploy_flake.Daemon1")]
impl Control {
    /// Looks at the remote now; returns the number of the look that answers.
    async fn trigger(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<u64> {
        authorize(&header, connection, Right::Operate).await?;
        self.ask(|reply| Request::Trigger { reply }).await
    }

    /// Tries what the branch asks for once more, though it failed here before;
    /// its system may lack what is named. Returns the number of the look that
    /// answers.
    async fn retry(
        &self,
        allowed: Vec<String>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<u64> {
        authorize(&header, connection, Right::Administer).await?;
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
        authorize(&header, connection, Right::Administer).await?;
        let commit = CommitId::try_from(commit)
            .map_err(|malformed| fdo::Error::InvalidArgs(malformed.to_string()))?;
        self.ask(|reply| Request::Allow { commit, reply }).await
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
    /// Hands a request to the daemon's loop and waits for its answer.
    async fn ask(&self, request: impl FnOnce(oneshot::Sender<u64>) -> Request) -> fdo::Result<u64> {
        let (reply, answer) = oneshot::channel();
        let gone = || fdo::Error::Failed("the daemon is stopping; call again".to_owned());
        self.requests
            .send(request(reply))
            .await
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
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

/// Asks the bus, not the caller, who is calling.
async fn authorize(header: &Header<'_>, connection: &Connection, right: Right) -> fdo::Result<()> {
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
    caller::judge(&caller, right, operators).map_err(|denied| {
        tracing::warn!(user = caller.user, "a caller was turned away");
        fdo::Error::AccessDenied(denied.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
