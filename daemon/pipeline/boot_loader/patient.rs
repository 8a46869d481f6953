//! Reading the default entry where the boot partition may never answer.
//!
//! In: the root directory. Out: a [`DefaultEntry`], or whether a system's boot
//! partition is mounted, in bounded time. Must not:
//! hold up whoever asks, or keep more than one thread at a read that hangs.
//!
//! An automount whose disk is gone, or a disk that dies, answers no read, and
//! nobody can end one. Some of those who ask have no guardian behind them any
//! more: they go on with an entry that cannot be read, and say so.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{default_entry, mounted};
use crate::model::policy::BootLoader;
use crate::model::system::{DefaultEntry, Toplevel};

/// Enough for a disk that was asleep. Less than the new system's daemon is given
/// to be there, which looks once before it is.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads the default entry, and gives up after a while.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    boot_loader: BootLoader,
    patience: Duration,
    /// Held by the thread that reads, for as long as it does.
    place: Arc<Semaphore>,
}

impl Reader {
    /// One for this boot loader.
    pub(crate) fn new(boot_loader: BootLoader) -> Self {
        Self {
            boot_loader,
            patience: PATIENCE,
            place: Arc::new(Semaphore::new(1)),
        }
    }

    /// Reads the default entry; what does not answer is unreadable.
    pub(crate) async fn default_entry(&self, root: &Path) -> DefaultEntry {
        let (root, boot_loader) = (root.to_owned(), self.boot_loader);
        let read = self.read(move || default_entry(&root, boot_loader));
        read.await.unwrap_or_else(DefaultEntry::Unreadable)
    }

    /// Whether everything is mounted that the system mounts for its boot
    /// loader; or what is not, as a sentence without its period.
    pub(crate) async fn mounted(&self, root: &Path, system: &Toplevel) -> Result<(), String> {
        let (root, boot_loader, system) = (root.to_owned(), self.boot_loader, system.clone());
        let read = self.read(move || mounted(&root, boot_loader, &system));
        read.await?
    }

    /// Reads, or says that nobody answers.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let seconds = self.patience.as_secs();
        let silent = || format!("the boot partition did not answer within {seconds} s");
        // Cancel-safe: a thread that reads on gives its place back at its end.
        let read = timeout(self.patience, self.read_apart(read)).await;
        read.map_err(|_elapsed| silent())
    }

    async fn read_apart<T: Send + 'static>(&self, read: impl FnOnce() -> T + Send + 'static) -> T {
        let place = Arc::clone(&self.place).acquire_owned().await;
        let place = place.expect("nobody closes it");
        let read = move || {
            let found = read();
            drop(place);
            found
        };
        let found = tokio::task::spawn_blocking(read).await;
        found.expect("reading files does not panic, and nobody cancels it")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    /// Is waited for in vain; long enough to read a few bytes on a busy machine.
    const SHORT: Duration = Duration::from_millis(900);

    #[tokio::test]
    async fn a_boot_partition_that_does_not_answer_is_unreadable_and_takes_one_thread() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let path = root.path().join("boot/extlinux/extlinux.conf");
        fs::create_dir_all(path.parent().expect("below the root")).expect("a directory");
        // Opening a pipe that nobody writes to hangs as a dead disk does.
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        let reader = Reader {
            patience: SHORT,
            ..Reader::new(BootLoader::Extlinux)
        };
        let mut silent = Vec::new();
        for _ in 0..3 {
            let entry = reader.default_entry(root.path()).await;
            silent.push((entry, reader.place.available_permits()));
        }
        // A writer that goes away again: the read ends, and with it the wait.
        drop(
            OpenOptions::new()
                .write(true)
                .open(&path)
                .expect("a reader waits"),
        );
        let place = reader.place.acquire().await;
        drop(place.expect("nobody closes it"));
        let expected = "the boot partition did not answer within 0 s".to_owned();
        let expected = (DefaultEntry::Unreadable(expected), 0);
        assert_eq!(silent, vec![expected; 3], "only the first still reads");

        fs::write(root.path().join("again"), "nothing").expect("writable");
        fs::rename(root.path().join("again"), &path).expect("writable");
        let DefaultEntry::Unreadable(why) = reader.default_entry(root.path()).await else {
            panic!("there is nothing to read");
        };
        assert!(!why.contains("did not answer"), "{why}");
    }
}
