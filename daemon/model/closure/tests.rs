//! Closures are compared as people read them.

use super::*;

/// A closure of names and sizes; which hash stands before a name says `build`.
pub(crate) fn closure(build: char, paths: &[(&str, u64)]) -> Closure {
    let path = |name: &str| -> StorePath {
        let hash = build.to_string().repeat(32);
        let path = format!("/nix/store/{hash}-{name}");
        path.try_into().expect("it is a store path")
    };
    let toplevel = path("nixos-system-web1");
    let all = paths.iter().map(|(name, bytes)| (path(name), *bytes));
    Closure {
        paths: all.chain([(toplevel.clone(), 1000)]).collect(),
        toplevel: Toplevel::new(toplevel),
        kernel: Some("linux 6.6.60".to_owned()),
        units: BTreeMap::new(),
    }
}

fn told(difference: &Difference) -> Vec<String> {
    let told = difference.packages.iter().map(|it| {
        let (before, after) = (it.before.join(","), it.after.join(","));
        format!(
            "{:?} {} {before} -> {after} {:+}",
            it.change, it.name, it.bytes
        )
    });
    told.collect()
}

#[test]
fn packages_are_told_by_what_became_of_their_versions() {
    let old = closure(
        'a',
        &[
            ("openssl-3.0.9", 100),
            ("openssl-3.0.9-bin", 10),
            ("gone-1.0", 5),
            ("back-2.0", 7),
            ("same-1.0", 1_000_000),
            ("grown-1.0", 1_000_000),
            ("two-1.0", 1),
            ("two-2.0", 1),
            ("unit-web.service", 1),
            ("script", 1),
        ],
    );
    let new = closure(
        'b',
        &[
            ("openssl-3.0.10", 105),
            ("openssl-3.0.10-bin", 10),
            ("new-1.0", 50),
            ("back-1.9", 7),
            ("same-1.0", 1_000_100),
            ("grown-1.0", 2_000_000),
            ("two-2.0", 1),
            ("unit-web.service", 1),
            ("script", 1),
        ],
    );
    let difference = Difference::between(&old, &new);
    assert_eq!(
        told(&difference),
        [
            "Downgraded back 2.0 -> 1.9 +0",
            "Removed gone 1.0 ->  -5",
            "Resized grown 1.0 -> 1.0 +1000000",
            "Added new  -> 1.0 +50",
            "Upgraded openssl 3.0.9 -> 3.0.10 +5",
            "Changed two 1.0,2.0 -> 2.0 -1",
        ]
    );
    let counts = Counts {
        added: 1,
        removed: 1,
        changed: 3,
        resized: 1,
    };
    assert_eq!(difference.counts, counts);
    // The toplevel, and what only has another hash.
    assert_eq!(difference.rebuilt, 6);
    assert_eq!((difference.before.paths, difference.after.paths), (11, 10));
    assert_eq!(difference.kernel, None);
}

#[test]
fn units_and_kernel_are_told() {
    let with = |kernel: &str, units: &[(&str, &str)]| Closure {
        kernel: Some(kernel.to_owned()),
        units: units
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect(),
        ..closure('a', &[])
    };
    let old = with(
        "linux 6.6.60",
        &[("a.service", "1"), ("b.service", "1"), ("c.timer", "1")],
    );
    let new = with(
        "linux 6.6.61",
        &[("b.service", "2"), ("c.timer", "1"), ("d.socket", "1")],
    );
    let difference = Difference::between(&old, &new);
    assert_eq!(difference.units.added, ["d.socket"]);
    assert_eq!(difference.units.removed, ["a.service"]);
    assert_eq!(difference.units.changed, ["b.service"]);
    let kernel = difference.kernel.clone().expect("it is another");
    assert_eq!(kernel.before.as_deref(), Some("linux 6.6.60"));
    assert_eq!(kernel.after.as_deref(), Some("linux 6.6.61"));
    assert!(!difference.is_empty());
    assert!(Difference::between(&old, &old).is_empty());
}

#[test]
fn a_shortened_difference_says_how_much_is_missing() {
    let names: Vec<String> = (0..10).map(|number| format!("p{number}-1.0")).collect();
    let paths: Vec<(&str, u64)> = names.iter().map(|name| (&**name, 1)).collect();
    let difference = Difference::between(&closure('a', &[]), &closure('a', &paths));
    let short = difference.clone().shortened(4);
    assert_eq!((short.packages.len(), short.omitted), (4, 6));
    assert_eq!(short.counts, difference.counts);
    assert_eq!(short.shortened(4).omitted, 6);
}
