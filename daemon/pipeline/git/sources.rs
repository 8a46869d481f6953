//! The files that credentials come from: whether they are there, and whether
//! they changed.
//!
//! In: paths. Out: traces that differ when a file does. Must not: read what is
//! in them; only systemd does.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use crate::model::credential::Credential;

/// One file as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trace {
    /// This very file, with this content.
    File(Identity),
    /// It is not there.
    Missing(PathBuf),
    /// This daemon may not look; systemd may find it all the same.
    Hidden,
}

/// What changes with a file or its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds of the last change of anything.
    changed_at: (i64, i64),
}

/// Looks at each of them. Links are followed: many tools that bring secrets
/// put a new file in place by changing a link.
pub(super) async fn look(credentials: &[Credential]) -> Vec<Trace> {
    let mut traces = Vec::new();
    for credential in credentials {
        let found = tokio::fs::metadata(&credential.source).await;
        traces.push(match found {
            Ok(it) => Trace::File(Identity {
                device: it.dev(),
                inode: it.ino(),
                length: it.len(),
                changed_at: (it.ctime(), it.ctime_nsec()),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Trace::Missing(credential.source.clone())
            }
            Err(_) => Trace::Hidden,
        });
    }
    traces
}

/// Whether systemd may find it: it is there, or this daemon may not look.
pub(in super::super) async fn is_there(credential: &Credential) -> bool {
    missing(&look(std::slice::from_ref(credential)).await).is_none()
}

/// The first that is not there.
pub(super) fn missing(traces: &[Trace]) -> Option<&PathBuf> {
    traces.iter().find_map(|trace| match trace {
        Trace::Missing(path) => Some(path),
        Trace::File(_) | Trace::Hidden => None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[tokio::test]
    async fn a_file_that_changed_in_place_or_behind_its_link_is_another() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let [one, two, link] = ["one", "two", "link"].map(|name| directory.path().join(name));
        fs::write(&one, "a").expect("it can be written");
        fs::write(&two, "a").expect("it can be written");
        symlink(&one, &link).expect("it can be written");
        let credentials = [Credential {
            name: "origin.identity".to_owned(),
            source: link.clone(),
        }];
        let first = look(&credentials).await;
        assert_eq!(look(&credentials).await, first);
        fs::write(&one, "bc").expect("it can be written");
        let second = look(&credentials).await;
        assert_ne!(second, first);
        fs::remove_file(&link).expect("it is there");
        assert_eq!(missing(&look(&credentials).await), Some(&link));
        symlink(&two, &link).expect("it can be written");
        let third = look(&credentials).await;
        assert!(third != second && third != first);
        assert_eq!(missing(&third), None);
    }
}
