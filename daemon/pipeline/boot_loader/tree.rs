//! Made-up directory trees for the tests of the loaders.
//!
//! In: paths and contents. Out: a temporary directory. Must not: be compiled
//! into the product.

use std::fs;

use tempfile::TempDir;

use crate::model::system::{StorePath, Toplevel};

/// A toplevel.
pub(super) const A: &str = "/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-nixos-system-a";

/// Another one.
pub(super) const B: &str = "/nix/store/1c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-nixos-system-b";

/// The path as a toplevel.
pub(super) fn toplevel(path: &str) -> Toplevel {
    Toplevel::new(StorePath::try_from(path.to_owned()).expect("a store path"))
}

/// A directory with these files.
pub(super) fn tree<C: AsRef<[u8]>>(files: &[(&str, C)]) -> TempDir {
    let root = tempfile::tempdir().expect("a temporary directory");
    for (path, content) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("a directory");
        fs::write(path, content).expect("a file");
    }
    root
}
