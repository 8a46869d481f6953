//! `[evaluate]`: where the flake is, and how it is evaluated.
//!
//! In: the top of the file. Out: whether evaluation may build, and the flake.
//! Must not: accept a path that leads out of the repository.

use super::access::secret_file;
use super::values::refusal;
use crate::config::mistakes::Collector;
use crate::config::section::{Section, quoted};
use crate::model::flake::Flake;

/// How long the path of a directory may be.
const DIRECTORY_LIMIT: usize = 200;

/// Reads the whole table, or the defaults.
pub(super) fn evaluate(top: &mut Section<'_>, collector: &mut Collector<'_>) -> (bool, Flake) {
    let Some(mut section) = top.section("evaluate", collector) else {
        return (false, Flake::default());
    };
    let import_from_derivation = section.boolean("import_from_derivation", collector);
    let directory = directory(&mut section, collector);
    let submodules = section.boolean("submodules", collector);
    let nix_config = section.string("nix_config_file", "/var/keys/nix.conf", collector);
    let nix_config = nix_config.and_then(|found| secret_file(&found, collector));
    section.finish(super::belongs, collector);
    let flake = Flake {
        directory,
        submodules: submodules.unwrap_or(false),
        nix_config,
    };
    (import_from_derivation.unwrap_or(false), flake)
}

fn directory(section: &mut Section<'_>, collector: &mut Collector<'_>) -> Option<String> {
    let found = section.string("directory", "nix/hosts", collector)?;
    if !is_directory(found.value) {
        let refusal = refusal(
            "not a directory of the repository",
            "a relative path of letters, digits, '.', '_', '-' and '+'",
            &quoted(found.value),
            "Write the path of the directory with flake.nix, such as \"nix/hosts\".",
        );
        found.refuse(collector, refusal);
    }
    Some(found.value.to_owned())
}

/// Only what means itself in the URL of a flake.
fn is_directory(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte);
    let component = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part != ".git"
            && part.bytes().all(allowed)
    };
    text.len() <= DIRECTORY_LIMIT && text.split('/').all(component)
}
