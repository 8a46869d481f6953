//! The remotes, asked as the fetcher asks them.
//!
//! In: where branches are. Out: whether one can be asked for. Must not: fetch,
//! or touch a mirror.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::fetcher::asking;
use crate::model::health::Reachability;
use crate::model::remote::RemoteAddress;

/// A remote that is to be asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// Its name in the configuration.
    pub(super) name: &'a str,
    /// Where it is.
    pub(super) address: &'a RemoteAddress,
    /// How long it is waited for.
    pub(super) patience: Duration,
}

/// Asks all of them at once, each on a connection of its own. The first that
/// answers is enough: through it a host hears of the commit that repairs the
/// way to the others.
pub(super) async fn look<'a>(
    remotes: impl Iterator<Item = Asked<'a>>,
    credentials: Option<&Path>,
) -> Reachability {
    let asking = remotes.enumerate().map(|(index, remote)| async move {
        let answer = ask(
            remote.address,
            credentials.map(Path::to_owned),
            remote.patience,
        )
        .await;
        (index, remote.name, answer)
    });
    let mut asking: FuturesUnordered<_> = asking.collect();
    let mut silent = Vec::new();
    while let Some((index, name, answer)) = asking.next().await {
        match answer {
            Ok(()) => return Reachability::Reachable,
            Err(why) => silent.push((index, name, why)),
        }
    }
    silent.sort_unstable();
    Reachability::Unreachable(match &silent[..] {
        [(_, _, why)] => why.clone(),
        all => {
            let each = all.iter().map(|(_, name, why)| format!("{name}: {why}"));
            each.collect::<Vec<_>>().join("; ")
        }
    })
}

/// Asks once, on a connection of its own.
async fn ask(
    address: &RemoteAddress,
    credentials: Option<PathBuf>,
    patience: Duration,
) -> Result<(), String> {
    let asked = address.clone();
    // It may block for ever; the thread ends with the process.
    let asking = spawn_blocking(move || asking::ask(&asked, credentials));
    match timeout(patience, asking).await {
        Ok(Ok(Ok(_commit))) => Ok(()),
        Ok(Ok(Err(why))) => Err(why),
        Ok(Err(panicked)) => Err(panicked.to_string()),
        Err(_elapsed) => Err(format!(
            "{} did not answer within {patience:?}",
            address.shown_url()
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::model::remote::Access;
    use crate::model::revision::Branch;

    fn address(port: u16) -> RemoteAddress {
        RemoteAddress {
            name: "origin".to_owned(),
            url: format!("git://127.0.0.1:{port}/r.git"),
            branch: Branch::try_from("main".to_owned()).expect("a branch"),
            access: Access::default(),
        }
    }

    async fn look_at(ports: &[(u16, Duration)]) -> Reachability {
        let addresses: Vec<_> = ports.iter().map(|(port, _)| address(*port)).collect();
        let asked = addresses
            .iter()
            .zip(ports)
            .map(|(address, (_, patience))| Asked {
                name: &address.name,
                address,
                patience: *patience,
            });
        look(asked, None).await
    }

    #[tokio::test]
    async fn nobody_there_and_nobody_answering_are_both_unreachable() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        let short = Duration::from_millis(50);
        let silent = look_at(&[(port, short)]).await;
        let Reachability::Unreachable(why) = silent else {
            panic!("a silent server answered");
        };
        assert!(why.contains("did not answer within 50ms"), "{why}");
        let both = look_at(&[(port, short), (port, short)]).await;
        let Reachability::Unreachable(why) = both else {
            panic!("a silent server answered");
        };
        assert!(
            why.starts_with("origin: git://") && why.contains("; origin: "),
            "{why}"
        );
        drop(listener);
        let refused = look_at(&[(port, Duration::from_secs(60))]).await;
        assert!(
            matches!(refused, Reachability::Unreachable(_)),
            "{refused:?}"
        );
    }
}
