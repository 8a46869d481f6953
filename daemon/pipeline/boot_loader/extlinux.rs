//! `extlinux.conf` to the toplevel of its `DEFAULT` label.
//!
//! In: the root directory. Out: a reading. Must not: follow `INCLUDE`, or
//! search menus; NixOS writes neither.

use std::fs;
use std::path::Path;

use super::{Reading, toplevel_of};

/// Where NixOS writes it.
const DIRECTORY: &str = "boot/extlinux";

/// The file's name.
const FILE: &str = "extlinux.conf";

/// Where NixOS copies kernels and initrds to.
pub(super) const KERNELS: &str = "boot/nixos";

/// Whether its file is there.
pub(super) fn is_installed(root: &Path) -> bool {
    root.join(DIRECTORY).join(FILE).exists()
}

/// Reads the label that `DEFAULT` names.
pub(super) fn default_entry(root: &Path) -> Reading {
    let directory = root.join(DIRECTORY);
    let text = fs::read_to_string(directory.join(FILE))
        .map_err(|error| format!("/{DIRECTORY}/{FILE} cannot be read: {error}"))?;
    let name = lines(&text)
        .find(|(keyword, _)| keyword == "default")
        .map(|(_, value)| value)
        .ok_or_else(|| format!("/{DIRECTORY}/{FILE} has no DEFAULT"))?;
    let label = label(&text, name)
        .ok_or_else(|| format!("/{DIRECTORY}/{FILE} has no label {name}, which is its DEFAULT"))?;
    for path in [label.linux, label.initrd].into_iter().flatten() {
        // What is not relative to the file is relative to a partition whose
        // mount point is not known here.
        if !path.starts_with('/') && !directory.join(path).exists() {
            return Err(format!("label {name} needs {path}, which does not exist"));
        }
    }
    toplevel_of(label.append).map_err(|reason| format!("label {name}: {reason}"))
}

/// What a label says.
#[derive(Default)]
struct Label<'a> {
    linux: Option<&'a str>,
    initrd: Option<&'a str>,
    append: &'a str,
}

/// The lines of the label of that name.
fn label<'a>(text: &'a str, name: &str) -> Option<Label<'a>> {
    let mut wanted = lines(text).skip_while(|line| *line != ("label".to_owned(), name));
    wanted.next()?;
    let mut label = Label::default();
    for (keyword, value) in wanted.take_while(|(keyword, _)| keyword != "label") {
        match keyword.as_str() {
            "linux" | "kernel" => label.linux = Some(value),
            "initrd" => label.initrd = Some(value),
            "append" => label.append = value,
            _ => {}
        }
    }
    Some(label)
}

/// Keyword, in lower case, and value of each line that is no comment.
fn lines(text: &str) -> impl Iterator<Item = (String, &str)> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (keyword, value) = line
                .split_once(|c: char| c.is_ascii_whitespace())
                .unwrap_or((line, ""));
            (keyword.to_ascii_lowercase(), value.trim())
        })
}

#[cfg(test)]
mod tests {
    use super::super::tree::{A, B, toplevel, tree};
    use super::*;

    /// What NixOS writes, in form.
    fn written(default: &str) -> String {
        format!(
            "# Generated file\n\nDEFAULT {default}\n\nMENU TITLE ------\nTIMEOUT 50\n\n\
             LABEL nixos-default\n  MENU LABEL NixOS - Default\n  LINUX ../nixos/k\n  \
             INITRD ../nixos/i\n  APPEND init={B}/init loglevel=4\n  FDTDIR ../nixos/dtbs\n\n\
             LABEL nixos-1\n  MENU LABEL NixOS - Configuration 1\n  LINUX /store/k\n  \
             INITRD /store/i\n  APPEND init={A}/init loglevel=4\n"
        )
    }

    #[test]
    fn the_default_label_is_read_as_nixos_writes_it() {
        for (default, expected) in [("nixos-default", B), ("nixos-1", A)] {
            let config = written(default);
            let root = tree(&[
                ("boot/extlinux/extlinux.conf", config.as_str()),
                ("boot/nixos/k", ""),
                ("boot/nixos/i", ""),
            ]);
            assert_eq!(default_entry(root.path()), Ok(toplevel(expected)));
        }
    }

    #[test]
    fn what_cannot_start_is_not_readable() {
        let default = written("nixos-default");
        let other = written("nixos-7");
        for (config, expected) in [
            (default.as_str(), "../nixos/k, which does not exist"),
            (other.as_str(), "no label nixos-7"),
            ("LABEL a\n APPEND init=x\n", "no DEFAULT"),
            ("default a\nlabel a\n append quiet\n", "no init="),
        ] {
            let root = tree(&[("boot/extlinux/extlinux.conf", config)]);
            let reason = default_entry(root.path()).expect_err(expected);
            assert!(reason.contains(expected), "{reason}");
        }
        assert!(default_entry(tree::<&str>(&[]).path()).is_err());
    }
}
