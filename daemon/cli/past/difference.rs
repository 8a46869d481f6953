//! How two systems differ, for people: packages, kernel, units and size.
//!
//! In: a difference. Out: lines of text at 80 columns. Must not: compute it.

use super::amounts::{bytes, count, growth};
use crate::cli::columns::fill;
use crate::cli::sheet::Sheet;
use crate::cli::text::WIDTH;
use crate::model::closure::{Change, Difference, PackageChange};
use crate::model::text::{LINE_LIMIT, one_line};

/// How wide a package's name may be.
const NAME: usize = 28;

/// How wide the growth is.
const GROWTH: usize = 11;

/// The groups, in the order in which they are of interest.
const GROUPS: [(&str, &[Change]); 4] = [
    (
        "changed",
        &[Change::Upgraded, Change::Downgraded, Change::Changed],
    ),
    ("added", &[Change::Added]),
    ("removed", &[Change::Removed]),
    ("size only", &[Change::Resized]),
];

/// Writes all of it.
pub(in super::super) fn write(sheet: &mut Sheet, difference: &Difference) {
    packages(sheet, difference);
    facts(sheet, difference);
}

/// The packages in their groups, with an empty line after each.
pub(in super::super) fn packages(sheet: &mut Sheet, difference: &Difference) {
    for (title, changes) in GROUPS {
        let packages = difference.packages.iter();
        let packages: Vec<_> = packages.filter(|it| changes.contains(&it.change)).collect();
        if packages.is_empty() {
            continue;
        }
        sheet.line(title);
        let width = packages.iter().map(|it| it.name.chars().count()).max();
        let width = width.unwrap_or_default().min(NAME);
        for package in packages {
            sheet.line(line(package, width));
        }
        sheet.blank();
    }
    if difference.omitted > 0 {
        let more = count(difference.omitted, "package");
        sheet.line(format!("and {more} more, which the history does not name"));
        sheet.blank();
    }
}

fn line(package: &PackageChange, width: usize) -> String {
    let sign = match package.change {
        Change::Upgraded => '↑',
        Change::Downgraded => '↓',
        Change::Changed | Change::Resized => '~',
        Change::Added => '+',
        Change::Removed => '-',
    };
    let (before, after) = (versions(&package.before), versions(&package.after));
    let versions = match package.change {
        Change::Upgraded | Change::Downgraded | Change::Changed => format!("{before} → {after}"),
        Change::Added | Change::Resized => after,
        Change::Removed => before,
    };
    let name = one_line(&package.name, LINE_LIMIT);
    let rest = WIDTH - 6 - width - GROWTH;
    let growth = growth(package.bytes);
    let (name, versions) = (fill(&name, width), fill(&versions, rest));
    format!("  {sign} {name}  {versions}{growth:>GROWTH$}")
}

fn versions(versions: &[String]) -> String {
    let shown = versions.iter().map(|version| match version.as_str() {
        "" => "no version".to_owned(),
        version => one_line(version, LINE_LIMIT),
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// Kernel, units and size, each on a line of its own.
pub(in super::super) fn facts(sheet: &mut Sheet, difference: &Difference) {
    if let Some(kernel) = &difference.kernel {
        let shown = |kernel: &Option<String>| {
            kernel
                .as_deref()
                .map_or_else(|| "none".to_owned(), |it| one_line(it, LINE_LIMIT))
        };
        let (before, after) = (shown(&kernel.before), shown(&kernel.after));
        sheet.fact(
            "kernel",
            &format!("{before} → {after}, from the next boot on"),
        );
    }
    let units = &difference.units;
    let groups = [
        ("added", &units.added),
        ("removed", &units.removed),
        ("changed", &units.changed),
    ];
    let mut label = "units";
    for (word, names) in groups.into_iter().filter(|(_, names)| !names.is_empty()) {
        let names: Vec<String> = names
            .iter()
            .map(|name| one_line(name, LINE_LIMIT))
            .collect();
        sheet.fact(label, &format!("{word}: {}", names.join(", ")));
        label = "";
    }
    let (before, after) = (difference.before, difference.after);
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let by = signed(after.bytes).saturating_sub(signed(before.bytes));
    sheet.fact(
        "size",
        &format!(
            "{} → {} ({}), {} → {}",
            bytes(before.bytes),
            bytes(after.bytes),
            growth(by),
            before.paths,
            count(after.paths, "path"),
        ),
    );
}

/// All of it in a sentence.
pub(in super::super) fn sentence(difference: &Difference) -> String {
    if difference.is_empty() {
        return "Both hold the same packages, units and kernel.".to_owned();
    }
    let counts = difference.counts;
    let mut parts: Vec<String> = [
        (counts.changed, "changed"),
        (counts.added, "added"),
        (counts.removed, "removed"),
        (counts.resized, "of another size only"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, word)| format!("{} {word}", count(number, "package")))
    .collect();
    let units = &difference.units;
    let units = units.added.len() + units.removed.len() + units.changed.len();
    if units > 0 {
        parts.push(count(units, "unit"));
    }
    if difference.kernel.is_some() {
        parts.push("another kernel".to_owned());
    }
    format!("{}.", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::closure::{Counts, UnitChanges};
    use crate::store::history::example::difference;

    fn told(difference: &Difference) -> String {
        let mut sheet = Sheet::default();
        write(&mut sheet, difference);
        sheet.text()
    }

    #[test]
    fn packages_are_told_in_groups_then_kernel_units_and_size() {
        assert_eq!(
            told(&difference()),
            "\
changed
  ↑ linux    6.6.60 → 6.6.61                                                +0 B
  ↓ openssl  3.0.15 → 3.0.14                                                +0 B

added
  + fd  10.2.0                                                          +3.3 MiB

removed
  - nano  8.2                                                           -3.3 MiB

  kernel     linux 6.6.60 → linux 6.6.61, from the next boot on
  units      added: fd.timer
             changed: nginx.service, sshd.service
  size       1.6 GiB → 1.6 GiB (+4.0 MiB), 812 → 815 paths"
        );
        assert_eq!(
            sentence(&difference()),
            "2 packages changed, 1 package added, 1 package removed, 3 units, another kernel."
        );
    }

    #[test]
    fn nothing_is_wider_than_the_terminal() {
        let mut wide = difference();
        wide.omitted = 3;
        wide.packages[1].name = "a-very-long-name-of-a-package-that-nobody-would-choose".to_owned();
        wide.packages[1].before = (0..20).map(|minor| format!("1.{minor}")).collect();
        wide.packages[0].bytes = -(5 << 40);
        wide.units.changed = (0..40)
            .map(|number| format!("unit{number}.service"))
            .collect();
        let text = told(&wide);
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        assert!(text.contains("and 3 packages more"), "{text}");
    }

    #[test]
    fn systems_that_hold_the_same_are_told_so() {
        let same = Difference {
            counts: Counts::default(),
            packages: Vec::new(),
            units: UnitChanges::default(),
            kernel: None,
            ..difference()
        };
        assert_eq!(
            sentence(&same),
            "Both hold the same packages, units and kernel."
        );
        assert!(told(&same).starts_with("  size "), "{}", told(&same));
    }
}
