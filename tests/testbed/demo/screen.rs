//! The demo's screen: scenes, commands with what they say, and the daemon's journal as it grows.
//!
//! In: a host. Out: lines of at most 80 columns on standard output, in colour where that is a terminal.

use std::io::{BufRead, BufReader, IsTerminal};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::testbed::host::Host;

const WIDTH: usize = 80;

/// How wide the names of facts are.
const LABEL: usize = 16;

/// Where the demo is shown.
pub(crate) struct Screen {
    has_colours: bool,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            has_colours: wanted && std::io::stdout().is_terminal(),
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.has_colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Begins a scene.
    pub(crate) fn scene(&self, title: &str) {
        let line = "─".repeat(WIDTH.saturating_sub(title.chars().count() + 4));
        println!("\n{}", self.paint("1;36", &format!("── {title} {line}")));
    }

    /// Says something about the scene.
    pub(crate) fn note(&self, text: &str) {
        println!("{}", self.paint("2", text));
    }

    /// Shows one fact; a store path is cut to its end, which has the name.
    pub(crate) fn fact(&self, label: &str, text: &str) {
        let label = self.paint("2", &format!("{label:<LABEL$}"));
        println!("{label}{}", short(text));
    }

    /// Runs a line of shell on the host and shows both.
    pub(crate) fn command(&self, host: &Host, line: &str) {
        let shown = line.split(" | ").next().unwrap_or(line);
        println!("{}", self.paint("1", &format!("host# {shown}")));
        let output = host.shell(line);
        for line in output.stdout.lines().chain(output.stderr.lines()) {
            println!("{line}");
        }
    }

    /// Shows an entry of the daemon's journal: time, message, and the fact that matters most.
    fn entry(&self, entry: &Value) {
        let field = |name: &str| entry[name].as_str().unwrap_or_default();
        let seconds = field("__REALTIME_TIMESTAMP").parse::<u64>().unwrap_or(0) / 1_000_000;
        let day = seconds % (24 * 60 * 60);
        let time = format!("{:02}:{:02}:{:02}", day / 3600, day / 60 % 60, day % 60);
        let took = field("DF_DURATION_MS").parse::<u64>();
        let took = took.map_or_else(
            |_| String::new(),
            |took| format!("{}.{} s", took / 1000, took / 100 % 10),
        );
        let is_warning = matches!(field("PRIORITY"), "3" | "4");
        let message = field("MESSAGE");
        let message = if took.is_empty() {
            message.to_owned()
        } else {
            format!("{message:<58}{took:>9}")
        };
        let message = self.paint(if is_warning { "1;31" } else { "0" }, &message);
        println!("  {} {message}", self.paint("2", &time));
        for line in [field("DF_MESSAGE"), field("DF_DETAIL")]
            .iter()
            .flat_map(|text| text.lines())
        {
            println!("           {}", self.paint("33", line));
        }
    }
}

/// A store path without the end of its hash.
fn short(text: &str) -> String {
    match text.strip_prefix("/nix/store/") {
        Some(path) if path.is_ascii() && path.len() > 33 => {
            format!("/nix/store/{}…{}", &path[..12], &path[32..])
        }
        _ => text.to_owned(),
    }
}

/// The daemon's journal as it grows.
pub(crate) struct Journal {
    follower: Child,
    entries: Receiver<Value>,
    told: Value,
}

impl Journal {
    /// Follows it, without what is not of a deployment or was told of this one.
    pub(crate) fn follow(host: &Host, told: &Value) -> Self {
        let unit = "_SYSTEMD_UNIT=deploy-flake.service";
        let words = [
            "journalctl",
            "--follow",
            "--lines=all",
            "--output=json",
            unit,
        ];
        let mut follower = host
            .command(&words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("nsenter can be run");
        let lines = BufReader::new(follower.stdout.take().expect("it was piped")).lines();
        let (sender, entries) = channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let Ok(entry) = serde_json::from_str(&line) else {
                    continue;
                };
                if sender.send(entry).is_err() {
                    return;
                }
            }
        });
        let told = told.clone();
        Self {
            follower,
            entries,
            told,
        }
    }

    /// Shows entries until one is the last; returns it.
    #[track_caller]
    pub(crate) fn show_until(
        &mut self,
        screen: &Screen,
        deadline: Duration,
        is_last: impl Fn(&Value) -> bool,
    ) -> Value {
        let give_up_at = Instant::now() + deadline;
        loop {
            let left = give_up_at.saturating_duration_since(Instant::now());
            let entry = self.entries.recv_timeout(left);
            let entry = entry.unwrap_or_else(|_| panic!("not over within {deadline:?}"));
            let deployment = &entry["DF_DEPLOYMENT"];
            if *deployment == Value::Null || *deployment == self.told {
                continue;
            }
            screen.entry(&entry);
            if is_last(&entry) {
                return entry;
            }
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Both fail only if the host went down, and the follower with it.
        let _ = self.follower.kill();
        let _ = self.follower.wait();
    }
}
