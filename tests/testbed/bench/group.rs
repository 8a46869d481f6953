//! A control group: what all of its processes, also those that have ended, took of the machine.
//!
//! In: a directory of cgroup2. Out: CPU time, and memory of those that live.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often memory is looked at for its peak.
const SAMPLE: Duration = Duration::from_millis(5);

/// One group.
#[derive(Clone, Debug)]
pub struct Group(PathBuf);

impl Group {
    /// The group at a directory.
    pub fn at(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// The group of a unit somewhere below; None while there is none.
    pub fn of_unit(below: &Path, unit: &str) -> Option<Self> {
        let entries = fs::read_dir(below).ok()?;
        let directories = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_dir());
        for directory in directories {
            if directory.file_name().is_some_and(|name| name == unit) {
                return Some(Self(directory));
            }
            if let Some(found) = Self::of_unit(&directory, unit) {
                return Some(found);
            }
        }
        None
    }

    /// CPU time since the group was made.
    pub fn cpu(&self) -> Duration {
        let text = fs::read_to_string(self.0.join("cpu.stat")).unwrap_or_default();
        let usage = text
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "));
        Duration::from_micros(usage.and_then(|it| it.parse().ok()).unwrap_or_default())
    }

    /// Proportional set size of all processes, in bytes: what is shared is counted in parts.
    pub fn pss(&self) -> u64 {
        self.sum("smaps_rollup", "Pss:")
    }

    /// What of it is nobody else's and backed by no file, in bytes.
    pub fn anonymous(&self) -> u64 {
        self.sum("smaps_rollup", "Pss_Anon:")
    }

    /// Resident memory of all processes, in bytes.
    pub fn rss(&self) -> u64 {
        self.sum("status", "VmRSS:")
    }

    /// Removes the group, once its processes have ended.
    pub fn remove(&self) {
        // It is empty, and costs nothing while it stays.
        let _ = fs::remove_dir(&self.0);
    }

    fn sum(&self, file: &str, field: &str) -> u64 {
        let processes = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        let kilobytes: u64 = processes
            .lines()
            .filter_map(|process| fs::read_to_string(format!("/proc/{process}/{file}")).ok())
            .filter_map(|text| {
                let line = text.lines().find_map(|line| line.strip_prefix(field))?;
                line.trim().trim_end_matches(" kB").parse::<u64>().ok()
            })
            .sum();
        kilobytes * 1024
    }
}

/// Watches the resident memory of a group for its peak.
pub struct Peak {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Peak {
    /// Begins to watch; `group` may come into being later.
    pub fn watch(group: impl Fn() -> Option<Group> + Send + 'static) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let (mut known, mut most) = (None, 0);
            while !told.load(Ordering::SeqCst) {
                known = known.or_else(&group);
                most = most.max(known.as_ref().map_or(0, Group::rss));
                thread::sleep(SAMPLE);
            }
            most
        });
        Self { is_over, thread }
    }

    /// The most that was seen, in bytes.
    pub fn end(self) -> u64 {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.join().expect("it only reads")
    }
}
