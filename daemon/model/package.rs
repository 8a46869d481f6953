//! Name and version of what a store path holds, read from the path alone, and
//! which of two versions is the newer one.
//!
//! In: store paths and versions. Out: text, and an order. Must not: look at the
//! store; a name is all that a path that is gone has left.

use std::cmp::Ordering;

use super::system::StorePath;

/// How long `/nix/store/`, the hash and the dash after it are.
const BEFORE_NAME: usize = "/nix/store/".len() + 32 + 1;

/// What nixpkgs calls parts of one package: they have its version.
const OUTPUTS: [&str; 17] = [
    "bin", "data", "debug", "dev", "devdoc", "dist", "doc", "info", "lib", "libs", "man",
    "modules", "out", "py", "share", "static", "tools",
];

/// What a store path holds, as its name says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// The name, without version and output.
    pub name: String,
    /// From the first digit after a dash on, without the output.
    pub version: Option<String>,
}

impl Package {
    /// Reads name and version: the version begins with the first dash that a
    /// digit follows, as nixpkgs has it.
    pub fn of(path: &StorePath) -> Self {
        let whole = path.as_str().get(BEFORE_NAME..).unwrap_or_default();
        let is_start = |(at, _): &(usize, &str)| {
            *at > 0 && whole[at + 1..].starts_with(|next: char| next.is_ascii_digit())
        };
        match whole.match_indices('-').find(is_start) {
            Some((at, _)) => Self {
                name: whole[..at].to_owned(),
                version: Some(without_output(&whole[at + 1..]).to_owned()),
            },
            None => Self {
                name: without_output(whole).to_owned(),
                version: None,
            },
        }
    }
}

fn without_output(text: &str) -> &str {
    match text.rsplit_once('-') {
        Some((rest, output)) if !rest.is_empty() && OUTPUTS.contains(&output) => rest,
        Some(_) | None => text,
    }
}

/// One part of a version, in the order in which Nix has them: `2.3pre1` comes
/// before `2.3`, that before `2.3a`, and that before `2.3.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Component<'a> {
    Pre,
    End,
    Word(&'a str),
    /// Of any length: how many digits, and the digits, without zeros in front.
    Number(usize, &'a str),
}

/// Which of two versions is the older one, by the rules of Nix (manual,
/// `nix-env --upgrade`).
pub fn compare_versions(one: &str, other: &str) -> Ordering {
    let (one, other) = (components(one), components(other));
    let at = |components: &[Component<'_>], index: usize| -> Ordering {
        let ours = components.get(index).copied().unwrap_or(Component::End);
        let theirs = other.get(index).copied().unwrap_or(Component::End);
        ours.cmp(&theirs)
    };
    (0..one.len().max(other.len()))
        .map(|index| at(&one, index))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

fn components(version: &str) -> Vec<Component<'_>> {
    const SEPARATORS: [char; 2] = ['.', '-'];
    let mut rest = version.trim_start_matches(SEPARATORS);
    let mut components = Vec::new();
    while let Some(first) = rest.chars().next() {
        let is_number = first.is_ascii_digit();
        let is_over = |next: char| SEPARATORS.contains(&next) || next.is_ascii_digit() != is_number;
        let (component, after) = rest.split_at(rest.find(is_over).unwrap_or(rest.len()));
        components.push(match component {
            "pre" => Component::Pre,
            digits if is_number => {
                let digits = digits.trim_start_matches('0');
                Component::Number(digits.len(), digits)
            }
            word => Component::Word(word),
        });
        rest = after.trim_start_matches(SEPARATORS);
    }
    components
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(name: &str) -> StorePath {
        format!("/nix/store/0c2jdyz9ln1yqjmvi5ch2wcgbnnw3hqv-{name}")
            .try_into()
            .expect("it is a store path")
    }

    #[test]
    fn names_and_versions_are_read_as_nixpkgs_writes_them() {
        for (whole, name, version) in [
            ("hello-2.12.1", "hello", Some("2.12.1")),
            ("openssl-3.0.15-bin", "openssl", Some("3.0.15")),
            ("gcc-13.3.0-lib", "gcc", Some("13.3.0")),
            ("linux-6.6.60-modules", "linux", Some("6.6.60")),
            ("glibc-locales-2.40-36", "glibc-locales", Some("2.40-36")),
            (
                "python3.12-attrs-24.2.0",
                "python3.12-attrs",
                Some("24.2.0"),
            ),
            (
                "foo-unstable-2024-01-31",
                "foo-unstable",
                Some("2024-01-31"),
            ),
            (
                "nixos-system-web1-24.11.20241122.abc",
                "nixos-system-web1",
                Some("24.11.20241122.abc"),
            ),
            ("unit-nginx.service", "unit-nginx.service", None),
            ("nix-2.24.9-man", "nix", Some("2.24.9")),
            ("user-environment", "user-environment", None),
            ("acl-doc", "acl", None),
            ("7zip", "7zip", None),
            ("-1", "-1", None),
            ("a-", "a-", None),
        ] {
            let package = Package::of(&path(whole));
            assert_eq!(
                (&*package.name, package.version.as_deref()),
                (name, version),
                "{whole}"
            );
        }
    }

    #[test]
    fn versions_are_in_the_order_that_nix_has() {
        // Each is older than the next.
        let ascending = [
            "2.3pre1",
            "2.3",
            "2.3a",
            "2.3.1",
            "2.3.2",
            "2.3.10",
            "2.4",
            "2.10",
            "10",
            "18446744073709551616.1",
            "18446744073709551617",
        ];
        for (index, one) in ascending.iter().enumerate() {
            for (place, other) in ascending.iter().enumerate() {
                assert_eq!(
                    compare_versions(one, other),
                    index.cmp(&place),
                    "{one}, {other}"
                );
            }
        }
        for (one, other) in [
            ("1.0", "1-0"),
            ("01", "1"),
            ("1.", "1"),
            ("", "."),
            ("0", "00"),
        ] {
            assert_eq!(
                compare_versions(one, other),
                Ordering::Equal,
                "{one:?}, {other:?}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_stands_in_two_versions_one_order_holds(
            versions in proptest::collection::vec("([0-9]{1,3}|pre|[a-z]{1,2}|[.-]|\\PC){0,8}", 3)
        ) {
            let [a, b, c] = [&versions[0], &versions[1], &versions[2]];
            prop_assert_eq!(compare_versions(a, a), Ordering::Equal);
            prop_assert_eq!(compare_versions(a, b), compare_versions(b, a).reverse());
            let (ab, bc) = (compare_versions(a, b), compare_versions(b, c));
            if ab == bc || bc.is_eq() {
                prop_assert_eq!(compare_versions(a, c), ab);
            }
        }

        #[test]
        fn name_and_version_come_back_from_a_path(
            name in "[a-z][a-z0-9]{0,8}(-[a-z][a-z0-9]{0,4}){0,2}",
            version in "[0-9]{1,3}(\\.[0-9]{1,3}){0,3}(-[0-9]{1,2})?",
            output in proptest::option::of(proptest::sample::select(&OUTPUTS[..])),
        ) {
            let output = output.map_or_else(String::new, |output| format!("-{output}"));
            let package = Package::of(&path(&format!("{name}-{version}{output}")));
            prop_assert_eq!(package.name, name);
            prop_assert_eq!(package.version, Some(version));
        }

        #[test]
        fn no_path_is_too_strange_to_be_read(name in "[a-zA-Z0-9+_?=-][a-zA-Z0-9+._?=-]{0,40}") {
            let package = Package::of(&path(&name));
            prop_assert!(name.starts_with(&package.name));
            prop_assert!(package.version.is_none_or(|version| name.contains(&version)));
        }
    }
}
