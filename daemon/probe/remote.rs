//! The remote, asked as the fetcher asks it.
//!
//! In: where a branch is. Out: whether it can be asked for. Must not: fetch,
//! or touch the mirror.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::fetcher::asking;
use crate::fetcher::wire::RemoteAddress;
use crate::model::health::Reachability;

/// Asks once, on a connection of its own.
pub(super) async fn look(
    address: &RemoteAddress,
    credentials: Option<PathBuf>,
    patience: Duration,
) -> Reachability {
    let asked = address.clone();
    // It may block for ever; the thread ends with the process.
    let asking = spawn_blocking(move || asking::ask(&asked, credentials));
    match timeout(patience, asking).await {
        Ok(Ok(Ok(_commit))) => Reachability::Reachable,
        Ok(Ok(Err(why))) => Reachability::Unreachable(why),
        Ok(Err(panicked)) => Reachability::Unreachable(panicked.to_string()),
        Err(_elapsed) => Reachability::Unreachable(format!(
            "{} did not answer within {patience:?}",
            address.shown_url()
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::fetcher::wire::Access;
    use crate::model::revision::Branch;

    fn address(port: u16) -> RemoteAddress {
        RemoteAddress {
            name: "origin".to_owned(),
            url: format!("git://127.0.0.1:{port}/r.git"),
            branch: Branch::try_from("main".to_owned()).expect("a branch"),
            access: Access::default(),
        }
    }

    #[tokio::test]
    async fn nobody_there_and_nobody_answering_are_both_unreachable() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        let silent = look(&address(port), None, Duration::from_millis(50)).await;
        let Reachability::Unreachable(why) = silent else {
            panic!("a silent server answered");
        };
        assert!(why.contains("did not answer within 50ms"), "{why}");
        drop(listener);
        let refused = look(&address(port), None, Duration::from_secs(60)).await;
        assert!(
            matches!(refused, Reachability::Unreachable(_)),
            "{refused:?}"
        );
    }
}
