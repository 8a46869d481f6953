//! Tables over made-up partitions.

use super::super::tree::{A, B, toplevel, tree};
use super::*;

const DEFAULT_VARIABLE: &str =
    "sys/firmware/efi/efivars/LoaderEntryDefault-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// An entry as NixOS's builder writes it, in form.
fn entry(generation: u64, toplevel: &str) -> String {
    format!(
        "title NixOS\nsort-key nixos\nversion Generation {generation} NixOS Test 24.11, built on \
         2026-01-01\nlinux /EFI/nixos/k-bzImage.efi\ninitrd /EFI/nixos/i-initrd.efi\n\
         options init={toplevel}/init loglevel=4 \nmachine-id 1234\n"
    )
}

/// Kernel and initrd, and these files.
fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
    let mut all = vec![
        ("boot/EFI/nixos/k-bzImage.efi", ""),
        ("boot/EFI/nixos/i-initrd.efi", ""),
    ];
    all.extend_from_slice(files);
    tree(&all)
}

fn set_variable(root: &Path, variable: &str, value: &str) {
    let mut bytes = vec![7, 0, 0, 0];
    bytes.extend(value.encode_utf16().flat_map(u16::to_le_bytes));
    bytes.extend([0, 0]);
    let file = root.join(variable);
    fs::create_dir_all(file.parent().expect("below the root")).expect("a directory");
    fs::write(file, bytes).expect("a file");
}

#[test]
fn the_entry_that_loader_conf_selects_is_read() {
    let old = entry(1, A);
    let new = entry(12, B);
    let one = "boot/loader/entries/nixos-generation-1.conf";
    let twelve = "boot/loader/entries/nixos-generation-12.conf";
    let counted = "boot/loader/entries/nixos-generation-12+2-1.conf";
    let used_up = "boot/loader/entries/nixos-generation-12+0-3.conf";
    let first_hash = "boot/loader/entries/nixos-ab12.conf";
    let second_hash = "boot/loader/entries/nixos-0f34+3.conf";
    for (case, settings, old_name, new_name, expected) in [
        (
            "exact",
            "timeout 5\ndefault nixos-generation-1.conf\n",
            one,
            twelve,
            A,
        ),
        (
            "counted",
            "default nixos-generation-12.conf\n",
            one,
            counted,
            B,
        ),
        (
            "by hash",
            "default nixos-0f34.conf\n",
            first_hash,
            second_hash,
            B,
        ),
        (
            "letter case",
            "default NixOS-Generation-1.CONF\n",
            one,
            twelve,
            A,
        ),
        (
            "pattern of one",
            "default nixos-generation-1.*\n",
            one,
            twelve,
            A,
        ),
        ("pattern, by number", "default nixos-*\n", one, twelve, B),
        (
            "pattern, used up last",
            "default nixos-*\n",
            one,
            used_up,
            A,
        ),
        (
            "exact, used up all the same",
            "default nixos-generation-12.conf",
            one,
            used_up,
            B,
        ),
        (
            "comment",
            "#default nixos-generation-1.conf\ndefault nixos-generation-12.conf\n",
            one,
            twelve,
            B,
        ),
        ("nothing", "timeout 5\n", one, twelve, B),
        ("no match", "default arch-*\n", one, twelve, B),
    ] {
        let root = host(&[
            ("boot/loader/loader.conf", settings),
            (old_name, old.as_str()),
            (new_name, new.as_str()),
        ]);
        assert_eq!(default_entry(root.path()), Ok(toplevel(expected)), "{case}");
    }
}

#[test]
fn a_separate_esp_holds_the_settings_and_xbootldr_the_entries() {
    for settings in ["efi/loader/loader.conf", "boot/efi/loader/loader.conf"] {
        let root = host(&[
            (settings, "default nixos-generation-3.conf\n"),
            ("boot/loader/entries/nixos-generation-3.conf", &entry(3, A)),
        ]);
        assert_eq!(default_entry(root.path()), Ok(toplevel(A)), "{settings}");
    }
}

#[test]
fn an_entry_without_files_needs_none() {
    let text = format!("title NixOS\noptions init={A}/init\n");
    let root = tree(&[
        (
            "boot/loader/loader.conf",
            "default nixos-generation-3.conf\n",
        ),
        ("boot/loader/entries/nixos-generation-3.conf", &text),
    ]);
    assert_eq!(default_entry(root.path()), Ok(toplevel(A)));
}

#[test]
fn the_variable_overrides_the_settings_if_it_selects_an_entry() {
    for (value, expected) in [
        ("nixos-generation-1.conf", A),
        ("nixos-generation-7.conf", B),
        ("", B),
    ] {
        let root = host(&[
            (
                "boot/loader/loader.conf",
                "default nixos-generation-2.conf\n",
            ),
            ("boot/loader/entries/nixos-generation-1.conf", &entry(1, A)),
            ("boot/loader/entries/nixos-generation-2.conf", &entry(2, B)),
        ]);
        set_variable(root.path(), DEFAULT_VARIABLE, value);
        assert_eq!(
            default_entry(root.path()),
            Ok(toplevel(expected)),
            "{value:?}"
        );
    }
}

#[test]
fn preferred_counts_from_version_260_and_passes_over_used_up_entries() {
    let settings = "preferred nixos-b.conf\ndefault nixos-a.conf\n";
    let loader = |version: &str| format!("MZ...#### LoaderInfo: systemd-boot {version} ####...");
    let fresh = "boot/loader/entries/nixos-b+3.conf";
    let used_up = "boot/loader/entries/nixos-b+0-3.conf";
    for (version, file, expected) in [
        ("260.1", fresh, B),
        ("261~rc1", fresh, B),
        ("257.2", fresh, A),
        ("260.1", used_up, A),
    ] {
        let root = host(&[
            ("boot/loader/loader.conf", settings),
            ("boot/EFI/systemd/systemd-bootx64.efi", &loader(version)),
            ("boot/loader/entries/nixos-a.conf", &entry(1, A)),
            (file, &entry(2, B)),
        ]);
        assert_eq!(
            default_entry(root.path()),
            Ok(toplevel(expected)),
            "{version} {file}"
        );
    }
    let agreeing = host(&[
        (
            "boot/loader/loader.conf",
            "preferred nixos-b.conf\ndefault nixos-*\n",
        ),
        ("boot/loader/entries/nixos-a.conf", &entry(1, A)),
        (fresh, &entry(2, B)),
    ]);
    assert_eq!(
        default_entry(agreeing.path()),
        Ok(toplevel(B)),
        "no version needed"
    );
}

#[test]
fn what_is_not_certain_is_not_readable() {
    let one = entry(1, A);
    let two = entry(2, B);
    let other_system = two.replace("sort-key nixos", "sort-key arch");
    let twin = entry(1, B);
    let shell = one.replace(&format!("init={A}/init"), "init=/bin/sh");
    let no_kernel = one.replace("k-bzImage", "other");
    let a = "boot/loader/entries/nixos-a.conf";
    let b = "boot/loader/entries/nixos-b.conf";
    let image = ("boot/EFI/Linux/nixos-generation-2-abc.efi", "MZ");
    let all = ("boot/loader/loader.conf", "default nixos-*\n");
    let exact = ("boot/loader/loader.conf", "default nixos-a.conf\n");
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let cases: &[Case] = &[
        ("no settings", &[(a, &one)], "no loader/loader.conf"),
        (
            "two settings",
            &[exact, ("efi/loader/loader.conf", ""), (a, &one)],
            "leftover",
        ),
        ("no entries", &[all], "no entry"),
        (
            "another sort key",
            &[all, (a, &one), (b, &other_system)],
            "order is not certain",
        ),
        (
            "the same generation",
            &[all, (a, &one), (b, &twin)],
            "order is not certain",
        ),
        (
            "an image among them",
            &[all, (a, &one), image],
            "order is not certain",
        ),
        ("only an image", &[all, image], "unified kernel image"),
        (
            "saved",
            &[("boot/loader/loader.conf", "default @saved\n"), (a, &one)],
            "@saved",
        ),
        (
            "sets",
            &[
                ("boot/loader/loader.conf", "default nixos-[ab]*\n"),
                (a, &one),
            ],
            "not understood",
        ),
        ("not a toplevel", &[exact, (a, &shell)], "init=/bin/sh"),
        ("kernel missing", &[exact, (a, &no_kernel)], "other.efi on"),
        (
            "preferred, version unknown",
            &[
                (
                    "boot/loader/loader.conf",
                    "preferred nixos-b.conf\ndefault nixos-a.conf\n",
                ),
                (a, &one),
                (b, &two),
            ],
            "version 260",
        ),
    ];
    for (case, files, expected) in cases {
        let root = host(files);
        let reason = default_entry(root.path()).expect_err(case);
        assert!(reason.contains(expected), "{case}: {reason}");
    }
}

#[test]
fn patterns_match_whole_names() {
    for (pattern, name, expected) in [
        ("nixos-*", "nixos-generation-1.conf", true),
        ("*", "a", true),
        ("*", "", true),
        ("a*b*c", "axxbyyc", true),
        ("a*b*c", "axxbyy", false),
        ("?ixos.conf", "nixos.conf", true),
        ("nixos", "nixos.conf", false),
        ("", "a", false),
    ] {
        assert_eq!(
            matches(pattern.as_bytes(), name.as_bytes()),
            expected,
            "{pattern} {name}"
        );
    }
}
