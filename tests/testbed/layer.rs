//! The layer between [`super::base`] and a host: the first generation built, in the profile and on `/boot`, so that a
//! host boots into it in a second.
//!
//! In: a generation. Out: a directory to put an overlay over, kept under a hash of all that went in.

use std::fs;
use std::path::PathBuf;

use super::base::{self, FIRST};
use super::cache;
use super::generation::Generation;

/// More layers than a run uses, and each is small.
const KEPT: usize = 160;

/// A made layer.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    directory: PathBuf,
}

impl Layer {
    /// The layer of a first generation; made if it is not there.
    pub(crate) fn of(generation: &Generation) -> Self {
        let host = generation.to_json();
        let base = base::directory();
        let base_name = base.file_name().expect("it has a name").as_encoded_bytes();
        let key = cache::hash(&[base_name, host.as_bytes()]);
        let directory = cache::directory().join(format!("first-{key}"));
        let _one_maker = cache::lock("first");
        if !directory.exists() {
            base::remove_old("first-", KEPT);
            let below = [&*base.join("upper"), cache::rootfs()];
            base::assemble(&directory, &below, "first", |root| {
                let description = root.join(FIRST).join("hosts/host.json");
                fs::write(description, &host).expect("the overlay can be written");
            });
        }
        base::touch(&directory);
        Self { directory }
    }

    /// The layers for an overlay, the uppermost first.
    pub(crate) fn stack(&self) -> [PathBuf; 3] {
        let base = base::directory().join("upper");
        [
            self.directory.join("upper"),
            base,
            cache::rootfs().to_owned(),
        ]
    }

    /// Every file of a repository that holds one host, by path.
    pub(crate) fn flake(&self, host: &str) -> Vec<(String, String)> {
        base::flake_sources()
            .chain([
                ("flake.lock".into(), base::flake_lock()),
                ("hosts/host.json".into(), host.into()),
            ])
            .collect()
    }
}
