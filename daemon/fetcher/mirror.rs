//! The mirror: a repository that is only a cache.
//!
//! In: a directory that belongs to this process. Out: the repository, opened
//! anew for every use, clean and whole. Must not: check anything out, or go on
//! with a repository that is damaged; it is removed and made anew.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use gix::odb::pack;
use gix::progress::Discard;
use rustix::fs::{CWD, FlockOperation, RenameFlags};

use crate::fetcher::trouble::Trouble;
use crate::fetcher::wire::Problem;
use crate::model::revision::CommitId;

/// Where a new mirror is made, beside the one that is there.
const FRESH: &str = ".fresh";

/// What the repository's directories allow: the import reads them by its group.
const DIRECTORY_MODE: u32 = 0o750;

/// What the repository's files allow.
const FILE_MODE: u32 = 0o640;

/// Configuration of every open: no file outside the mirror is read, and nothing
/// but these transports is ever used.
const CONFIGURATION: &[&str] = &[
    "protocol.allow=never",
    "protocol.https.allow=always",
    "protocol.http.allow=always",
    "protocol.ssh.allow=always",
    "protocol.git.allow=always",
    "protocol.file.allow=always",
    // A remote that moved is told as such: whoever follows a redirect may be
    // led to another host, and asks twice for every poll.
    "http.followRedirects=false",
    // No object, and no table of objects, may want more memory than this: a
    // few bytes of a pack can claim any size.
    "gitoxide.objects.allocLimit=128m",
    // Milliseconds until a connection is given up.
    "gitoxide.http.connectTimeout=10000",
    // Silence for 25 s ends a transfer. A server that still prepares a pack
    // says so every 5 s; the limit of 1 byte a second lets that pass.
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=25",
    concat!(
        "gitoxide.userAgent=deploy-flake/",
        env!("CARGO_PKG_VERSION")
    ),
    // Whoever writes a reference log must have a name.
    "user.name=deploy-flake",
    "user.email=deploy-flake@localhost",
];

/// The mirror, owned by this process alone.
pub(super) struct Mirror {
    directory: PathBuf,
    /// The directory itself, locked. It is never removed, only emptied: it is
    /// a mount point in the fetcher's sandbox, and the lock hangs on it.
    lock: File,
}

impl Mirror {
    /// Takes the mirror, and clears away what a killed fetch left behind.
    pub(super) fn own(directory: &Path) -> anyhow::Result<Self> {
        let shown = directory.display();
        fs::create_dir_all(directory).with_context(|| format!("could not create {shown}"))?;
        let lock = File::open(directory).with_context(|| format!("could not open {shown}"))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("another process holds the mirror at {shown}"))?;
        let mirror = Self {
            directory: directory.to_owned(),
            lock,
        };
        mirror
            .remove_leftovers()
            .with_context(|| format!("could not clear away leftovers in {shown}"))?;
        Ok(mirror)
    }

    /// Opens the repository, made anew when there is none that can be opened.
    ///
    /// Never kept open: the slots for packs are fixed when it is opened, so a
    /// long-lived one fails for ever after about a hundred fetches.
    pub(super) fn open(&self) -> Result<gix::Repository, Trouble> {
        self.remove_leftovers_of_fetch()?;
        if self.git_directory().exists() {
            match gix::open_opts(&self.directory, options()) {
                Ok(repository) if is_whole(&repository) => return Ok(repository),
                Ok(_) => eprintln!("the mirror has lost its HEAD or its configuration"),
                Err(error) => eprintln!("the mirror cannot be opened: {error:#}"),
            }
        }
        self.clear()?;
        let repository = create(&self.directory)?;
        self.share_with_group()?;
        Ok(repository)
    }

    /// Where the mirror's ref is, if it is there and can be read.
    pub(super) fn at(repository: &gix::Repository, name: &str) -> Option<gix::ObjectId> {
        let found = repository.try_find_reference(name).ok().flatten();
        found.and_then(|found| found.try_id().map(gix::Id::detach))
    }

    /// Whether the mirror's ref already is this commit.
    pub(super) fn is_at(repository: &gix::Repository, name: &str, commit: &CommitId) -> bool {
        let wanted = gix::ObjectId::from_hex(commit.as_str().as_bytes()).ok();
        wanted.is_some() && Self::at(repository, name) == wanted
    }

    /// Removes a ref, but not what it reaches.
    pub(super) fn forget(repository: &gix::Repository, name: &str) -> Result<(), gix::Error> {
        match repository.try_find_reference(name)? {
            Some(reference) => reference.delete(),
            None => Ok(()),
        }
    }

    /// Whether every pack is what was once received, and every commit that a
    /// ref reaches is there.
    ///
    /// That is enough: each pack was complete when it came and brought at
    /// least one commit, so a pack that is lost leaves a gap in the history.
    pub(super) fn verify(&self, repository: &gix::Repository) -> anyhow::Result<()> {
        for index in self.packs("idx")? {
            let name = index.with_extension("");
            verify_pack(&index).with_context(|| format!("{} is damaged", name.display()))?;
        }
        let mut tips = Vec::new();
        for reference in repository.references()?.all()? {
            let mut reference = reference.map_err(|error| anyhow::anyhow!("a ref: {error}"))?;
            if reference.name().as_bstr().starts_with(b"refs/deploy/") {
                tips.push(reference.peel_to_commit()?.id);
            }
        }
        for commit in repository.rev_walk(tips).all()? {
            commit.context("the history has a gap")?;
        }
        Ok(())
    }

    /// Removes all that is in the mirror. The next [`Mirror::open`] makes it anew.
    pub(super) fn clear(&self) -> Result<(), Trouble> {
        let remove_all = || -> io::Result<()> {
            for entry in fs::read_dir(&self.directory)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    fs::remove_dir_all(entry.path())?;
                } else {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        };
        remove_all().map_err(|error| Trouble::from_io("could not empty the mirror", &error))
    }

    /// Lets the group read what was written; gix keeps packs to their owner.
    pub(super) fn share_with_group(&self) -> Result<(), Trouble> {
        share(&self.git_directory())
            .map_err(|error| Trouble::from_io("could not share the mirror with its group", &error))
    }

    /// Where the repository is.
    pub(super) fn git_directory(&self) -> PathBuf {
        self.directory.join(".git")
    }

    /// An empty repository beside the mirror, to become the mirror.
    pub(super) fn open_fresh(&self) -> Result<gix::Repository, Trouble> {
        self.remove_leftovers_of_fetch()?;
        create(&self.directory.join(FRESH))
    }

    /// Puts the fresh repository in the mirror's place, at once: whoever opens
    /// the mirror finds the one or the other.
    pub(super) fn take_fresh(&self) -> Result<(), Trouble> {
        let fresh = self.directory.join(FRESH).join(".git");
        let swap = || -> io::Result<()> {
            share(&fresh)?;
            let flags = RenameFlags::EXCHANGE;
            rustix::fs::renameat_with(CWD, &fresh, CWD, self.git_directory(), flags)?;
            self.remove_leftovers()
        };
        swap().map_err(|error| Trouble::from_io("could not swap the mirror", &error))
    }

    /// Removes what a fetch that was given up has left.
    pub(super) fn remove_leftovers_of_fetch(&self) -> Result<(), Trouble> {
        self.remove_leftovers()
            .map_err(|error| Trouble::from_io("could not clear away leftovers", &error))
    }

    /// Removes what only a process that was killed can have left: nobody else
    /// writes here, and one request is worked on at a time.
    fn remove_leftovers(&self) -> io::Result<()> {
        let fresh = self.directory.join(FRESH);
        if fresh.exists() {
            fs::remove_dir_all(&fresh)?;
        }
        if !self.git_directory().is_dir() {
            return Ok(());
        }
        walk(&self.git_directory(), &mut |path, kind| {
            if kind.is_file() && is_leftover(path) {
                fs::remove_file(path)?;
            }
            Ok(())
        })
    }

    /// The indices of all packs.
    pub(super) fn indices(&self) -> Result<Vec<PathBuf>, Trouble> {
        self.packs("idx")
            .map_err(|error| Trouble::from_io("could not list the mirror's packs", &error))
    }

    /// Removes all packs but those with these indices.
    pub(super) fn keep_packs(&self, indices: &[PathBuf]) -> Result<(), Trouble> {
        for index in self.indices()? {
            if !indices.contains(&index) {
                fs::remove_file(&index)
                    .map_err(|error| Trouble::from_io("could not remove a pack", &error))?;
            }
        }
        // A pack without its index is nobody's.
        self.remove_leftovers_of_fetch()
    }

    fn packs(&self, extension: &str) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.git_directory().join("objects/pack"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
        Ok(found)
    }
}

impl Drop for Mirror {
    /// Closing the file is not enough: a child that is just being started has
    /// a copy of it, and with it the lock, until it runs its own program.
    fn drop(&mut self) {
        // It fails only for what is no lock; then there is nothing to let go.
        let _ = rustix::fs::flock(&self.lock, FlockOperation::Unlock);
    }
}

/// Non-bare: Nix reads such a repository directly, and keeps no second copy.
fn create(directory: &Path) -> Result<gix::Repository, Trouble> {
    let kind = gix::create::Kind::WithWorktree;
    gix::ThreadSafeRepository::init_opts(directory, kind, <_>::default(), options())
        .map(|repository| repository.to_thread_local())
        .map_err(|error| Trouble::from_gix(Problem::Fetch, &error))
}

/// Lets the group read what is below a directory.
fn share(directory: &Path) -> io::Result<()> {
    walk(directory, &mut |path, kind| {
        let mode = if kind.is_dir() {
            DIRECTORY_MODE
        } else {
            FILE_MODE
        };
        if fs::metadata(path)?.permissions().mode() & 0o7777 != mode {
            fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        Ok(())
    })
}

/// Isolated: no environment, no configuration of user or system.
fn options() -> gix::open::Options {
    gix::open::Options::isolated()
        .with(gix::sec::Trust::Full)
        .config_overrides(CONFIGURATION.iter().copied())
}

/// Whether git and Nix would call it a repository too; gix is content with less.
fn is_whole(repository: &gix::Repository) -> bool {
    repository.config_snapshot().boolean("core.bare") == Some(false)
        && repository.head_name().is_ok()
}

/// Compares both checksums of a pack with its bytes.
fn verify_pack(index: &Path) -> Result<(), gix::Error> {
    let never = AtomicBool::new(false);
    let kind = gix::hash::Kind::Sha1;
    pack::index::File::at(index, kind)?.verify_checksum(&mut Discard, &never)?;
    pack::data::File::at(index.with_extension("pack"), kind)?
        .verify_checksum(&mut Discard, &never)?;
    Ok(())
}

/// Locks, half-written packs, packs without their index, and the marks that
/// keep a pack from being repacked.
fn is_leftover(path: &Path) -> bool {
    let in_packs = path
        .parent()
        .is_some_and(|parent| parent.ends_with("objects/pack"));
    let has = |wanted: &str| path.extension().is_some_and(|found| found == wanted);
    let temporary = path
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b".tmp"));
    has("lock")
        || in_packs && (temporary || has("keep"))
        || in_packs && has("pack") && !path.with_extension("idx").exists()
}

/// Calls `visit` for everything below and including `path`, the directory
/// before its content. Links are neither followed nor visited.
fn walk(
    path: &Path,
    visit: &mut dyn FnMut(&Path, fs::FileType) -> io::Result<()>,
) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_symlink() {
        return Ok(());
    }
    visit(path, kind)?;
    if kind.is_dir() {
        for entry in fs::read_dir(path)? {
            walk(&entry?.path(), visit)?;
        }
    }
    Ok(())
}
