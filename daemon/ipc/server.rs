//! The daemon's side of the bus.
//!
//! In: a connection, a channel for requests, and what the daemon says of
//! itself. Out: requests of callers that may make them. Must not: answer
//! before the daemon's loop has.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use zbus::Connection;
use zbus::object_server::InterfaceRef;

use super::control::Control;
use super::request::Request;
use super::{NAME, PATH};

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
        let control = Control::new(requests, state.clone());
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
