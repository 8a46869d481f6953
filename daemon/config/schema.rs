//! The keys of the file: what each may be, its default, and what it becomes.
//!
//! In: the text. Out: a [`Config`]. Must not: stop at the first mistake; a key
//! that is wrong is noted and stands in for its default until the end.

mod values;
mod remote;
mod access;
mod evaluate;
mod guards;
mod health;
mod deadlines;
mod fetch;
mod trust;
mod heartbeat;
mod testing;
mod push;

pub(super) use access::is_plain_and_absolute;
pub(super) use deadlines::{DEFAULT_ACTIVATE, DEFAULT_PROBE};
pub(super) use health::{DEFAULT_CONFIRM_WINDOW, DEFAULT_PROBE_DEADLINE};
pub(super) use remote::DEFAULT_NAME as DEFAULT_REMOTE;

use toml::de::DeTable;

use self::values::{choice, refusal};
use super::Config;
use super::mistakes::{Collector, Mistakes, Refusal, Warning};
use super::section::{Section, quoted};
use crate::model::policy::{BootLoader, Mode, OnDrift, OnFailedRollback, OnRebootRequired, Policy};
use crate::model::system::Configuration;

/// Reads the whole file.
pub(super) fn config(file: &str, text: &str) -> Result<(Config, Vec<Warning>), Mistakes> {
    let mut collector = Collector::new(file, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let config = top(Section::top(table.get_ref()), &mut collector);
        return collector.finish(config);
    }
    // What was recovered from a broken text may miss keys that stand in it:
    // mistakes found in that would be misleading.
    for error in errors {
        refuse_syntax(&error, &mut collector);
    }
    collector.finish(None)
}

fn refuse_syntax(error: &toml::de::Error, collector: &mut Collector<'_>) {
    let span = error.span().unwrap_or(0..0);
    let line = collector.line_at(span.start);
    let (wrong, remedy) = match error.message() {
        "duplicate key" => ("the key stands twice", "Keep one of the two."),
        message => (message, "Correct the line; strings stand in double quotes."),
    };
    let refusal = Refusal {
        wrong: wrong.to_owned(),
        expected: "TOML".to_owned(),
        found: line.to_owned(),
        remedy: remedy.to_owned(),
    };
    collector.refuse(&span, "", refusal);
}

/// In which table a key belongs, for one that stands in another.
fn belongs(key: &str) -> Option<String> {
    let table = match key {
        "url" | "branch" | "poll_interval" | "timeout" | "identity_file" | "host_keys"
        | "token_file" | "token_user" | "token_as" | "ca_file" | "proxy" => "[[remote]]",
        "import_from_derivation" | "directory" | "submodules" | "nix_config_file" => "[evaluate]",
        "confirm_window" | "probe_deadline" | "ignore_units" | "require_units" | "on_unhealthy" => {
            "[health]"
        }
        "command" | "deadline" => "[[probe]]",
        "allow" => "[guards]",
        "store" => "[reserve]",
        "pack" | "memory" => "[fetch]",
        "follow" => "[testing]",
        "although_signed" => "[push]",
        "require" | "force_push" | "introduction" | "allowed_signers" | "keyrings" | "revoked" => {
            "[trust]"
        }
        "max_age" | "tag" => "[trust.heartbeat]",
        "configuration" | "mode" | "drift" | "on_reboot_required" | "on_failed_rollback"
        | "boot_loader" | "pre_activate_check" | "machine_id" => {
            "the top of the file, above the first table"
        }
        _ => return None,
    };
    Some(table.to_owned())
}

fn top(mut top: Section<'_>, collector: &mut Collector<'_>) -> Option<Config> {
    let configuration = configuration(&mut top, collector);
    let mode = mode(&mut top, collector);
    let on_drift = on_drift(&mut top, collector);
    let on_reboot_required = on_reboot_required(&mut top, collector);
    let boot_loader = boot_loader(&mut top, collector);
    let pre_activate_check = pre_activate_check(&mut top, collector);
    let on_failed_rollback = on_failed_rollback(&mut top, collector);
    let guards = guards::guards(&mut top, collector);
    let remotes = remote::remotes(&mut top, collector);
    let (import_from_derivation, flake) = evaluate::evaluate(&mut top, collector);
    let health = health::health(&mut top, collector);
    let deadlines = deadlines::deadlines(&mut top, collector);
    let fetch = fetch::limits(&mut top, collector);
    let trust = trust::trust(&mut top, collector);
    let testing = testing::testing(&mut top, collector);
    let pushes = push::pushes(&mut top, &trust, collector);
    top.finish(belongs, collector);
    let remotes = remotes?;
    let poll_interval = remotes.iter().map(|remote| remote.poll_interval).min()?;
    Some(Config {
        configuration,
        policy: Policy {
            poll_interval,
            mode,
            on_drift,
            on_reboot_required,
            pushes,
        },
        remotes,
        deadlines,
        fetch,
        trust,
        testing,
        health,
        guards,
        on_failed_rollback,
        boot_loader,
        pre_activate_check,
        import_from_derivation,
        flake,
    })
}

fn configuration(top: &mut Section<'_>, collector: &mut Collector<'_>) -> Option<Configuration> {
    let found = top.string("configuration", "web1", collector)?;
    match Configuration::try_from(found.value.to_owned()) {
        Ok(configuration) => Some(configuration),
        Err(malformed) => {
            let refusal = refusal(
                "not the name of a configuration",
                malformed.expected,
                &quoted(found.value),
                "Write the name below nixosConfigurations in the flake.",
            );
            found.refuse(collector, refusal);
            None
        }
    }
}

fn mode(top: &mut Section<'_>, collector: &mut Collector<'_>) -> Mode {
    let found = top.string("mode", "switch", collector);
    let choices = [
        ("switch", Mode::Switch),
        ("boot", Mode::Boot),
        ("test", Mode::Test),
    ];
    choice(found, &choices, Mode::default(), collector)
}

fn on_drift(top: &mut Section<'_>, collector: &mut Collector<'_>) -> OnDrift {
    let found = top.string("drift", "report", collector);
    let choices = [("report", OnDrift::Report), ("correct", OnDrift::Correct)];
    choice(found, &choices, OnDrift::default(), collector)
}

fn on_reboot_required(top: &mut Section<'_>, collector: &mut Collector<'_>) -> OnRebootRequired {
    let found = top.string("on_reboot_required", "refuse", collector);
    let choices = [
        ("refuse", OnRebootRequired::Refuse),
        ("boot", OnRebootRequired::Boot),
    ];
    choice(found, &choices, OnRebootRequired::default(), collector)
}

fn on_failed_rollback(top: &mut Section<'_>, collector: &mut Collector<'_>) -> OnFailedRollback {
    let found = top.string("on_failed_rollback", "reboot", collector);
    let choices = [
        ("reboot", OnFailedRollback::Reboot),
        ("stay", OnFailedRollback::Stay),
    ];
    choice(found, &choices, OnFailedRollback::default(), collector)
}

fn boot_loader(top: &mut Section<'_>, collector: &mut Collector<'_>) -> BootLoader {
    let found = top.string("boot_loader", "auto", collector);
    let choices = [
        ("auto", BootLoader::Auto),
        ("systemd-boot", BootLoader::SystemdBoot),
        ("grub", BootLoader::Grub),
        ("extlinux", BootLoader::Extlinux),
        ("none", BootLoader::None),
    ];
    choice(found, &choices, BootLoader::default(), collector)
}

fn pre_activate_check(top: &mut Section<'_>, collector: &mut Collector<'_>) -> String {
    const DEFAULT: &str = "pre-activate-safety-checks";
    let Some(found) = top.string("pre_activate_check", DEFAULT, collector) else {
        return DEFAULT.to_owned();
    };
    let component = |part: &str| !part.is_empty() && part != "." && part != "..";
    let control = found.value.chars().any(char::is_control);
    if control || !found.value.split('/').all(component) {
        let refusal = refusal(
            "not a path inside the toplevel",
            "a relative path without . and .. in it",
            &quoted(found.value),
            "Write the path below the toplevel, such as \"pre-activate-safety-checks\".",
        );
        found.refuse(collector, refusal);
    }
    found.value.to_owned()
}
