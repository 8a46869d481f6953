//! Whether what the boot loader reads is mounted, where a system says that
//! there is something to mount.
//!
//! In: the root directory and a toplevel. Out: nothing, or what is missing, as
//! a sentence without its period. Must not: mount anything, but by a look at
//! where an automount waits.
//!
//! What is written while the partition is not mounted lands in the directory
//! below, is read back from there, and is not what the boot loader reads.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::model::system::Toplevel;
use crate::pipeline::installed::{mount_points, read_short, real_path};
use crate::pipeline::observe::below;

/// The mount points at and below which boot loaders have their files.
const PLACES: [&str; 2] = ["/boot", "/efi"];

/// What this process sees as mounted: what the host has, for its mounts reach
/// the daemon's own name space.
const TABLE: &str = "/proc/self/mountinfo";

/// The type of a place that is mounted once somebody looks.
const AUTOMOUNT: &str = "autofs";

/// Refuses where the system mounts something for its boot loader, and it is not
/// mounted now. `noauto` and `nofail` are no excuse: what is written would be
/// in the wrong place all the same.
pub(super) fn must_be_mounted(root: &Path, toplevel: &Toplevel) -> Result<(), String> {
    for place in expected(root, toplevel)? {
        if let Some(found) = missing(root, &place)? {
            let place = place.display();
            return Err(format!(
                "expected {place} to be mounted, as {toplevel} says, and found that {found}"
            ));
        }
    }
    Ok(())
}

/// What is wrong with a place, if anything is. One where an automount waits is
/// looked at.
fn missing(root: &Path, place: &Path) -> Result<Option<String>, String> {
    let looked = match found(root, place)? {
        Found::Mounted => return Ok(None),
        Found::Nothing => return Ok(Some("nothing is".to_owned())),
        // Reading the directory mounts it; asking for its metadata would not.
        Found::Automount => fs::read_dir(below(root, place)),
    };
    let why = match (found(root, place)?, looked) {
        (Found::Mounted, _) => return Ok(None),
        (Found::Automount | Found::Nothing, Ok(_)) => String::new(),
        (Found::Automount | Found::Nothing, Err(error)) => format!(": {error}"),
    };
    Ok(Some(format!("its automount does not mount it{why}")))
}

/// What the system mounts for boot loaders, parents first.
fn expected(root: &Path, toplevel: &Toplevel) -> Result<BTreeSet<PathBuf>, String> {
    let mut points = mount_points(root, toplevel);
    let path = toplevel.path().join("etc/fstab");
    if let Some(real) = real_path(root, Path::new(&path)) {
        let text = read_short(root, &real).map_err(|error| format!("{path}: {error}"))?;
        points.extend(text.lines().filter_map(mount_point));
    }
    let is_for_boot = |point: &PathBuf| PLACES.iter().any(|place| point.starts_with(place));
    // Components have no slash at their end, and none twice.
    let points = points
        .into_iter()
        .map(|it| Path::new(&it).components().collect());
    Ok(points.filter(is_for_boot).collect())
}

/// The mount point of a line of fstab(5).
fn mount_point(line: &str) -> Option<String> {
    let mut fields = line.split_whitespace();
    let source = fields.next().filter(|source| !source.starts_with('#'));
    source.and(fields.next()).map(unescaped)
}

/// What is at a mount point.
enum Found {
    Mounted,
    Automount,
    Nothing,
}

/// Reads what is mounted at a place: the last of several is on top.
fn found(root: &Path, place: &Path) -> Result<Found, String> {
    let table = fs::read_to_string(below(root, Path::new(TABLE)))
        .map_err(|error| format!("{TABLE} cannot be read: {error}"))?;
    let mut kinds = table.lines().filter_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let point = unescaped(mount.split(' ').nth(4)?);
        (Path::new(&point) == place).then_some(source.split(' ').next()?)
    });
    Ok(match kinds.next_back() {
        None => Found::Nothing,
        Some(AUTOMOUNT) => Found::Automount,
        Some(_) => Found::Mounted,
    })
}

/// A word without the octal escapes that fstab and the kernel write for
/// spaces, tabs, line ends and backslashes.
fn unescaped(word: &str) -> String {
    let mut text = word.to_owned();
    for (escape, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n")] {
        text = text.replace(escape, character);
    }
    text.replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::super::tree::{A, toplevel, tree};
    use super::*;

    const ROOT: &str = "22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/vda rw\n";
    const BOOT: &str = "30 22 8:1 / /boot rw shared:2 - vfat /dev/vda1 rw\n";
    const ESP: &str = "31 30 8:2 / /boot/efi rw shared:3 - vfat /dev/vda2 rw\n";
    const WAITING: &str = "29 22 0:30 / /boot rw shared:4 - autofs systemd-1 rw,direct\n";

    fn judge(fstab: &str, units: &[(&str, &str)], table: &[&str]) -> Result<(), String> {
        let etc = |name: &str| format!("{}/etc/{name}", &A[1..]);
        let mut files = vec![(etc("fstab"), fstab.to_owned())];
        for (unit, text) in units {
            files.push((etc(&format!("systemd/system/{unit}")), (*text).to_owned()));
        }
        files.push(("proc/self/mountinfo".to_owned(), table.concat()));
        let files: Vec<_> = files.iter().map(|(path, it)| (path.as_str(), it)).collect();
        must_be_mounted(tree(&files).path(), &toplevel(A))
    }

    #[test]
    fn what_a_system_mounts_for_its_boot_loader_has_to_be_mounted() {
        let boot = "/dev/disk/by-label/boot /boot vfat defaults 0 2\n";
        let esp = "UUID=1-2 /boot/efi/ vfat noauto,nofail 0 2\n";
        for (fstab, table, missing) in [
            ("", &[ROOT][..], None),
            ("# /dev/x /boot vfat\n/dev/x / ext4 rw 0 1\n", &[ROOT], None),
            (
                "/dev/x none swap sw 0 0\n/dev/x /bootstrap ext4\n",
                &[ROOT],
                None,
            ),
            (boot, &[ROOT], Some("/boot")),
            (boot, &[ROOT, BOOT], None),
            (&format!("{boot}{esp}"), &[ROOT, BOOT], Some("/boot/efi")),
            (&format!("{boot}{esp}"), &[ROOT, BOOT, ESP], None),
            (esp, &[ROOT, BOOT], Some("/boot/efi")),
            (boot, &[ROOT, ESP], Some("/boot")),
            (boot, &[ROOT, WAITING, BOOT], None),
        ] {
            let verdict = judge(fstab, &[], table);
            let expected = missing.map(|place| {
                format!("expected {place} to be mounted, as {A} says, and found that nothing is")
            });
            assert_eq!(verdict.err(), expected, "{fstab} {table:?}");
        }
    }

    #[test]
    fn mount_units_count_as_fstab_does_and_masked_ones_do_not() {
        let unit = "[Unit]\nDescription=x\n[Mount]\nWhat=/dev/x\nWhere=/efi\n";
        assert!(judge("", &[("efi.mount", unit)], &[ROOT]).is_err());
        assert!(judge("", &[("efi.mount", "")], &[ROOT]).is_ok());
        assert!(judge("", &[("efi.service", unit)], &[ROOT]).is_ok());
    }

    #[test]
    fn an_automount_that_mounts_nothing_is_told() {
        let fstab = "/dev/x /boot vfat x-systemd.automount\n";
        let verdict = judge(fstab, &[], &[ROOT, WAITING]).expect_err("nothing is mounted");
        assert!(
            verdict.contains("its automount does not mount it"),
            "{verdict}"
        );
    }

    #[test]
    fn where_nobody_can_say_what_is_mounted_only_what_has_to_be_is_missed() {
        let fstab = (&*format!("{}/etc/fstab", &A[1..]), "/dev/x /boot vfat\n");
        let blind = must_be_mounted(tree(&[fstab]).path(), &toplevel(A));
        assert!(blind.expect_err("there is no table").contains(TABLE));
        let none = tree::<&str>(&[]);
        assert_eq!(must_be_mounted(none.path(), &toplevel(A)), Ok(()));
    }

    #[test]
    fn escapes_are_read() {
        assert_eq!(unescaped("/boot\\040x\\134y"), "/boot x\\y");
    }
}
