//! Children of a process that has no runtime: the guardian's.
//!
//! In: an argument vector, a deadline, and perhaps a cgroup to run in. Out: how
//! it ended, and its standard output. Must not: interpret either, or wait
//! longer than the deadline for anything.
//!
//! Besides `host::command` the only place that spawns. Standard error is the
//! caller's own. Standard output goes to a file in memory: nobody has to read
//! a pipe while the child runs, and what the child leaves behind holds nobody up.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal, kill_process_group};

use super::cgroup::Cgroup;
use super::clock;

/// How often it is looked whether a child has ended.
const POLL: Duration = Duration::from_millis(20);

/// How long a killed child may take to be gone. One that the kernel holds in
/// the middle of something is left behind.
const DYING: Duration = Duration::from_secs(5);

/// How much standard output is read: far above what ours write.
const STDOUT_LIMIT: u64 = 16 * 1024 * 1024;

/// What to run.
#[derive(Clone, Debug)]
pub struct Child<'a> {
    /// The program, by absolute path.
    pub program: &'a Path,
    /// Its arguments, without the program.
    pub arguments: Vec<&'a str>,
    /// Variables besides those that the caller has.
    pub environment: Vec<(&'a str, &'a str)>,
    /// Where it runs, with everything that it starts; None: in a process group
    /// of its own, which what it starts may leave.
    pub cgroup: Option<&'a Cgroup>,
    /// Where its standard output goes.
    pub stdout: Stdout,
}

/// Where a child's standard output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdout {
    /// It is read.
    Read,
    /// To the caller's standard error: it is for the journal.
    Passed,
}

/// What a child left.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output, where that was read.
    pub stdout: String,
}

/// Why a child did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It could not be started.
    #[error("cannot start {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It cannot be waited for, or its output cannot be read.
    #[error("cannot watch {}", program.display())]
    Watch {
        /// The program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It was killed at its deadline, with everything it had started.
    #[error("{} did not end within {} s", program.display(), deadline.as_secs_f32())]
    Deadline {
        /// The program.
        program: PathBuf,
        /// How long it had.
        deadline: Duration,
    },
}

/// Runs a child to its end, and ends it at its deadline with everything that
/// it has started.
///
/// # Errors
/// It did not run to its end.
pub fn run(child: &Child<'_>, deadline: Duration) -> Result<Output, ChildError> {
    let watch = |source| ChildError::Watch {
        program: child.program.to_owned(),
        source,
    };
    let start = |source| ChildError::Start {
        program: child.program.to_owned(),
        source,
    };
    let file = memfd_create("stdout", MemfdFlags::CLOEXEC).map(File::from);
    let mut output = file.map_err(|error| watch(error.into()))?;
    let mut process = spawn(child, &output).map_err(start)?;
    let status = wait(&mut process, deadline).map_err(watch)?;
    let Some(status) = status else {
        end(&mut process, child.cgroup);
        return Err(ChildError::Deadline {
            program: child.program.to_owned(),
            deadline,
        });
    };
    let stdout = read(&mut output).map_err(watch)?;
    Ok(Output { status, stdout })
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the other module that spawns children: without a runtime"
)]
fn spawn(child: &Child<'_>, output: &File) -> std::io::Result<Process> {
    let mut command = Command::new(child.program);
    command
        .args(&child.arguments)
        .envs(child.environment.iter().copied())
        .current_dir("/")
        .stdin(Stdio::null())
        .process_group(0);
    match child.stdout {
        Stdout::Read => command.stdout(output.try_clone()?),
        Stdout::Passed => command.stdout(std::io::stderr()),
    };
    let Some(cgroup) = child.cgroup else {
        return command.spawn();
    };
    // The child is to be born there, or what it starts first could escape: so
    // we go there, and come back. Where that cannot be, its process group is
    // all that ends with it, and that is no reason not to start it.
    let own = Cgroup::own();
    if own.is_none() || cgroup.enter().is_err() {
        return command.spawn();
    }
    let process = command.spawn();
    if let Some(own) = own {
        // If we could not come back, that cgroup is not killed: see `end`.
        let _ = own.enter();
    }
    process
}

/// Waits for the end; None when the deadline has passed before.
fn wait(process: &mut Process, deadline: Duration) -> std::io::Result<Option<ExitStatus>> {
    let give_up_at = clock::awake() + deadline;
    loop {
        if let Some(status) = process.try_wait()? {
            return Ok(Some(status));
        }
        if clock::awake() >= give_up_at {
            return Ok(None);
        }
        sleep(POLL);
    }
}

/// Kills the child with everything that it has started.
fn end(process: &mut Process, cgroup: Option<&Cgroup>) {
    // Never with ourselves in it.
    if let Some(cgroup) = cgroup
        && Cgroup::own().as_ref() != Some(cgroup)
    {
        cgroup.kill();
    }
    let leader = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = leader {
        // It was not waited for yet, so the number is still its own; a group
        // that is gone already is what is wanted.
        let _ = kill_process_group(group, Signal::KILL);
    }
    // One that does not die is not waited for: see `DYING`.
    let _ = wait(process, DYING);
}

fn read(output: &mut File) -> std::io::Result<String> {
    output.rewind()?;
    let mut bytes = Vec::new();
    output.take(STDOUT_LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than any of these take on a busy machine.
    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Child<'_> {
        Child {
            program: Path::new("/bin/sh"),
            arguments: vec!["-c", script],
            environment: Vec::new(),
            cgroup: None,
            stdout: Stdout::Read,
        }
    }

    #[test]
    fn status_and_standard_output_come_back() {
        let output = run(&shell("echo out; exit 3"), LONG).expect("a shell runs");
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(output.stdout, "out\n");
    }

    #[test]
    fn what_a_child_leaves_behind_holds_nobody_up() {
        let output = run(&shell("echo out; sleep 5 & exit 0"), LONG).expect("a shell runs");
        assert_eq!(output.stdout, "out\n");
    }

    #[test]
    fn a_child_that_hangs_is_killed_at_its_deadline() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mark = directory.path().join("mark");
        // The grandchild would write the mark once the gate is open.
        let gate = directory.path().join("gate");
        let script = format!(
            "(until [ -e {gate} ]; do :; done; touch {mark}) & wait",
            gate = gate.display(),
            mark = mark.display()
        );
        let error = run(&shell(&script), Duration::from_millis(100)).expect_err("it hangs");
        assert!(matches!(error, ChildError::Deadline { .. }), "{error}");
        std::fs::write(&gate, "").expect("writable");
        // Another child takes its time: by then a living one had written.
        run(
            &shell("i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done"),
            LONG,
        )
        .expect("it ends");
        assert!(!mark.exists(), "the grandchild lives");
    }

    #[test]
    fn a_missing_program_is_named() {
        let child = Child {
            program: Path::new("/nowhere/at/all"),
            ..shell("")
        };
        let error = run(&child, LONG).expect_err("it is missing");
        assert_eq!(error.to_string(), "cannot start /nowhere/at/all");
    }
}
