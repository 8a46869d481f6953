//! What is compiled for macOS, too, names nothing that is there for Linux only:
//! neither the crates nor our own modules behind a gate.
//!
//! It looks at text, and compiles nothing: `tests/macos` does, and takes longer.

use std::path::{Path, PathBuf};

use super::{file, is_within, used_modules};

const GATE: &str = "#[cfg(target_os = \"linux\")]";

/// What is compiled everywhere, and the modules that are not.
#[derive(Default)]
struct Tree {
    /// Each file without its tests, comments, and what is behind a gate.
    everywhere: Vec<(PathBuf, String)>,
    /// As `ipc::server`.
    gated: Vec<String>,
}

impl Tree {
    fn of(roots: &[&str]) -> Self {
        let mut tree = Self::default();
        for root in roots {
            tree.walk(Path::new(root), "");
        }
        tree
    }

    /// Takes a file, and those of its modules. `module`: its name; none of a root.
    fn walk(&mut self, path: &Path, module: &str) {
        let (code, children) = read(&file(&path.display().to_string()));
        let directory = match path.file_stem().and_then(|stem| stem.to_str()) {
            Some("lib" | "main" | "mod") => path.with_file_name(""),
            Some(_) | None => path.with_extension(""),
        };
        for Child { name, is_gated } in children {
            let full = format!("{module}::{name}");
            let full = full.trim_start_matches("::");
            if is_gated {
                self.gated.push(full.to_owned());
                continue;
            }
            let beside = directory.join(format!("{name}.rs"));
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let is_beside = root.join(&beside).is_file();
            let below = directory.join(&name).join("mod.rs");
            self.walk(if is_beside { &beside } else { &below }, full);
        }
        self.everywhere.push((path.to_owned(), code));
    }
}

/// A module that a file names.
struct Child {
    name: String,
    is_gated: bool,
}

/// The code that is compiled everywhere, and the modules that it names.
fn read(text: &str) -> (String, Vec<Child>) {
    let (mut code, mut children) = (String::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        match trimmed {
            GATE => {
                let gated = item(&mut lines, indent);
                let names = gated.iter().filter_map(|line| module_of(line));
                children.extend(names.map(|name| Child {
                    name,
                    is_gated: true,
                }));
            }
            "#[cfg(test)]" => drop(item(&mut lines, indent)),
            comment if comment.starts_with("//") => {}
            _ => {
                children.extend(module_of(line).map(|name| Child {
                    name,
                    is_gated: false,
                }));
                code.extend([line, "\n"]);
            }
        }
    }
    (code, children)
}

/// The lines of the item, arm or statement that follows, as rustfmt has them.
fn item<'a>(lines: &mut impl Iterator<Item = &'a str>, indent: usize) -> Vec<&'a str> {
    let mut found = Vec::new();
    for line in lines {
        found.push(line);
        let trimmed = line.trim_start();
        let is_within = line.len() - trimmed.len() > indent;
        let is_before = trimmed.starts_with("//") || trimmed.starts_with('#');
        let is_end = trimmed.starts_with('}') || trimmed.ends_with([';', ',']);
        if is_end && !is_within && !is_before {
            break;
        }
    }
    found
}

/// `name` of `pub mod name;`.
fn module_of(line: &str) -> Option<String> {
    let (before, after) = line.split_once("mod ")?;
    let is_module = before.is_empty() || before == "pub " || before.starts_with("pub(");
    let name = after.strip_suffix(';')?;
    is_module.then(|| name.to_owned())
}

/// The crates that Cargo.toml has for Linux only, as code names them.
fn linux_only_crates() -> Vec<String> {
    let manifest: toml::Table = file("Cargo.toml").parse().expect("it is TOML");
    let crates = &manifest["target"]["cfg(target_os = \"linux\")"]["dependencies"];
    let crates = crates.as_table().expect("it is a table");
    crates.keys().map(|name| name.replace('-', "_")).collect()
}

/// Whether code names a crate: at the beginning of a path, or all of it.
fn names_crate(code: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '.';
    code.match_indices(name).any(|(at, _)| {
        let after = &code[at + name.len()..];
        let begins = !code[..at].ends_with(is_part);
        begins && (after.starts_with("::") || after.starts_with(';') || after.starts_with(" as "))
    })
}

#[test]
fn what_macos_compiles_names_nothing_that_is_only_on_linux() {
    let tree = Tree::of(&["daemon/lib.rs", "daemon/main.rs"]);
    for module in ["pipeline", "host::systemd", "ipc::server", "cli::guardian"] {
        assert!(
            tree.gated.contains(&module.to_owned()),
            "{module} has no gate"
        );
    }
    let crates = linux_only_crates();
    assert!(crates.contains(&"zbus".to_owned()), "{crates:?}");
    let hosts = Path::new("daemon/cli/hosts/mod.rs");
    assert!(tree.everywhere.iter().any(|(path, _)| path == hosts));
    for (path, code) in &tree.everywhere {
        let path = path.display();
        for name in &crates {
            assert!(!names_crate(code, name), "{path} names the crate {name}");
        }
        assert!(!code.contains("os::linux"), "{path} uses std::os::linux");
        let code = code.replace("deploy_flake::", "crate::");
        for used in used_modules(&code) {
            let is_gated = tree.gated.iter().any(|gated| is_within(&used, gated));
            assert!(!is_gated, "{path} uses {used}, which is behind a gate");
        }
    }
}

#[test]
fn what_is_behind_a_gate_or_a_test_is_not_looked_at() {
    let text = "\
mod one;
#[cfg(target_os = \"linux\")]
pub(crate) mod two;
#[cfg(target_os = \"linux\")]
use crate::two::{
    three,
};
// zbus::comment
fn four() {
    #[cfg(target_os = \"linux\")]
    if zbus::five() {
        return;
    }
    six();
}
#[cfg(target_os = \"linux\")]
#[expect(
    zbus::lint,
)]
fn seven(
    of: zbus::Seven,
) {
    zbus::seven();
}
#[cfg(test)]
mod tests {
    use zbus::eight;
}
use zbus::nine;
";
    let (code, children) = read(text);
    assert_eq!(
        code,
        "mod one;\nfn four() {\n    six();\n}\nuse zbus::nine;\n"
    );
    let names = children
        .iter()
        .map(|child| (child.name.as_str(), child.is_gated));
    assert_eq!(names.collect::<Vec<_>>(), [("one", false), ("two", true)]);
    assert!(names_crate(&code, "zbus"));
    for other in [
        "crate::zbus::nine()",
        "ours_zbus::nine()",
        "it.zbus();",
        "zbus()",
    ] {
        assert!(!names_crate(other, "zbus"), "{other}");
    }
}

#[test]
fn the_flake_has_packages_for_darwin_without_what_only_the_fetcher_needs() {
    let flake = file("flake.nix");
    for system in ["x86_64-darwin", "aarch64-darwin"] {
        assert!(flake.contains(&format!("\"{system}\"")), "{system}");
    }
    assert!(flake.contains("platforms = lib.platforms.linux ++ lib.platforms.darwin;"));
    let (_, gated) = flake
        .split_once("buildInputs = lib.optionals pkgs.stdenv.hostPlatform.isLinux [")
        .expect("they are for Linux");
    let (gated, rest) = gated.split_once(']').expect("the list ends");
    for library in ["pkgs.curl", "pkgs.openssl", "pkgs.zlib"] {
        assert!(
            gated.contains(library) && !rest.contains(library),
            "{library}"
        );
    }
}
