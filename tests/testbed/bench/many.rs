//! What the command line takes to ask many hosts at once.
//!
//! In: one real host with a real sshd, which a client has under many names. Out: two tables, seconds and the command's own
//! memory, with as many plain `ssh NAME true` beside the seconds. Must not: have the sshd of one host turn away what those of a
//! fleet would let in.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::table::spread;
use crate::testbed::client::Client;
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::network::Address;
use crate::testbed::world::World;

/// How many names are asked.
const SIZES: [usize; 4] = [1, 10, 32, 100];

/// Runs of each command.
const RUNS: usize = 5;

/// The same where the host has every run take its time.
const SLOW_RUNS: usize = 3;

/// For whatever has to be waited for; a command that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(120);

/// How often a command is looked at: so exactly is its time known, and what its memory grows by after the last look is missed.
const SAMPLE: Duration = Duration::from_millis(5);

/// The daemon has a look begin at once for a trigger that comes so long after the last one, and lets others wait for it.
const BETWEEN_TRIGGERS: Duration = Duration::from_secs(10);

/// Where the operator's flake is, for [`PUSH`], too.
const FLEET: &str = "/root/fleet";

/// As every host of the bed has it, but for `MaxStartups`: by default sshd turns away some of more than ten that log in at the
/// same time, and they are tried again after a pause. The hosts of a fleet have an sshd each.
const SSHD: &str = "Port 22\nHostKey /etc/ssh/ssh_host_ed25519_key\nPermitRootLogin prohibit-password\n\
     PasswordAuthentication no\nUsePAM no\nUseDNS no\nMaxStartups 100\n\
     SetEnv PATH=/run/current-system/sw/bin:/usr/local/bin:/usr/bin:/bin\n";

/// A way to ask all of them.
#[derive(Clone, Copy)]
struct Way {
    /// As the tables have it.
    title: &'static str,
    /// For a shell that has the names as arguments. After `exec` the command is the process that is watched.
    line: &'static str,
}

const TRIGGER: Way = Way {
    title: "`deploy-flake trigger`",
    line: "exec deploy-flake trigger \"$@\"",
};

const PUSH: Way = Way {
    title: "`deploy-flake push --no-wait`",
    line: "cd /root/fleet && exec deploy-flake push --no-wait \"$@\"",
};

/// As many at a time as `deploy-flake` asks. Of `xargs` the code is 0 only if each of them has that.
const BESIDE: Way = Way {
    title: "beside it: `ssh NAME true`, by `xargs -P 32`",
    line: "printf '%s\\n' \"$@\" | xargs -P 32 -I NAME ssh -o BatchMode=yes NAME true",
};

/// What leaves the host no more to do than a look.
const QUICK: [Way; 3] = [
    BESIDE,
    Way {
        title: "`deploy-flake status`",
        line: "exec deploy-flake status \"$@\"",
    },
    Way {
        title: "`deploy-flake trigger --no-wait`",
        line: "exec deploy-flake trigger --no-wait \"$@\"",
    },
];

/// What a run took.
struct Cost {
    wall: Duration,
    /// The most that the command itself had resident, in bytes.
    memory: u64,
}

/// What one way took: the runs of each size.
struct Row {
    way: Way,
    costs: [Vec<Cost>; SIZES.len()],
}

/// Prints the tables.
pub fn print() {
    let world = world();
    let (host, client) = (world.boot(), world.client());
    rest(&host);
    client.knows("many*", &host, "root");
    // First, for after triggers of others one name would have to wait, too. More than one do in any case.
    let mut ours = rows(&client, &[TRIGGER], SLOW_RUNS, |size| {
        if size == 1 {
            thread::sleep(BETWEEN_TRIGGERS);
        }
    });
    let mut quick = rows(&client, &QUICK, RUNS, |_| ());
    let beside = quick.remove(0);
    ours.extend(quick);
    commit(&world, &client);
    // The first push has something to copy.
    measure(&client, PUSH, 1);
    ours.extend(rows(&client, &[PUSH], SLOW_RUNS, |_| rest(&host)));
    let seconds = |cost: &Cost| cost.wall.as_secs_f64();
    table("seconds", 2, ours.iter().chain([&beside]), seconds);
    let megabytes = |cost: &Cost| cost.memory as f64 / 1e6;
    table("peak RSS of the command, MB", 1, ours.iter(), megabytes);
}

/// The daemon looks when it is told to, and root may push.
fn world() -> World {
    let text = format!(
        "[[remote]]\nurl = \"git://{}/infrastructure.git\"\npoll_interval = \"1h\"\n\n[push]\nallow = \"always\"\n",
        Address::FIRST
    );
    let first = Generation::without_daemon("first").daemon_config(&text);
    World::starting_with(first.with("sshdConfig", SSHD))
}

/// Waits until the daemon has nothing to do, and owes nobody a look. How the last deployment ended is not asked: one host that
/// is pushed the same a hundred times may have to try again.
fn rest(host: &Host) {
    host.wait_for_status("the daemon rests", DEADLINE, |status| {
        let looks = &status["looks"];
        !status["last"].is_null()
            && status["phase"]["name"] == "resting"
            && looks["started"] == looks["finished"]
    });
}

/// Commits a flake at the operator's, in which the host is what it is.
fn commit(world: &World, client: &Client) {
    for (path, text) in world.flake(world.first()) {
        client.write(&format!("{FLEET}/{path}"), &text);
    }
    let git = "git -c user.name=ann -c user.email=ann@example.org";
    let commit = format!("cd {FLEET} && git init -q && git add . && {git} commit -qm first");
    client.run(&["sh", "-c", &commit]).must_succeed();
}

/// Measures some ways in turn, so that all of them have what else goes on at the machine.
fn rows(client: &Client, ways: &[Way], runs: usize, before: impl Fn(usize)) -> Vec<Row> {
    let empty = |way: &Way| Row {
        way: *way,
        costs: SIZES.map(|_| Vec::new()),
    };
    let mut rows: Vec<Row> = ways.iter().map(empty).collect();
    for (column, size) in SIZES.into_iter().enumerate() {
        for _ in 0..runs {
            for row in &mut rows {
                before(size);
                row.costs[column].push(measure(client, row.way, size));
            }
        }
    }
    rows
}

fn table<'a>(
    what: &str,
    digits: usize,
    rows: impl Iterator<Item = &'a Row>,
    figure: impl Fn(&Cost) -> f64,
) {
    let sizes: String = SIZES.map(|size| format!(" {size} |")).concat();
    let rule = "---|".repeat(SIZES.len());
    println!("\n| {what}, median (min..max), by the number of names |{sizes}\n|---|{rule}");
    for row in rows {
        let figures = |costs: &Vec<Cost>| spread(costs.iter().map(&figure).collect(), digits);
        let cells = row.costs.each_ref().map(figures).join(" | ");
        let runs = row.costs[0].len();
        println!("| {}, {runs} runs | {cells} |", row.way.title);
    }
}

/// Runs a command with so many names.
fn measure(client: &Client, way: Way, size: usize) -> Cost {
    let names: Vec<String> = (1..=size).map(|number| format!("many{number}")).collect();
    let shell = ["sh", "-c", way.line, "sh"].into_iter();
    let words: Vec<&str> = shell.chain(names.iter().map(String::as_str)).collect();
    let mut told = tempfile::tempfile().expect("a file");
    let copy = || Stdio::from(told.try_clone().expect("a descriptor"));
    let mut command = client.command(&words);
    command.stdin(Stdio::null()).stdout(copy()).stderr(copy());
    let began = Instant::now();
    let mut child = command.spawn().expect("nsenter can be run");
    let (status, memory) = watch(&mut child);
    let wall = began.elapsed();
    assert!(
        status.success(),
        "{}, {size}: {status}\n{}",
        way.title,
        text(&mut told)
    );
    Cost { wall, memory }
}

fn text(file: &mut File) -> String {
    let mut text = String::new();
    // What cannot be shown changes nothing about what is told.
    let _ = file.rewind().and_then(|()| file.read_to_string(&mut text));
    text
}

/// Waits for the end of a command, and looks at its memory meanwhile.
fn watch(child: &mut Child) -> (ExitStatus, u64) {
    let give_up_at = Instant::now() + DEADLINE;
    let mut memory = 0;
    loop {
        memory = memory.max(high_water(child.id()).unwrap_or_default());
        if let Some(status) = child.try_wait().expect("our own child can be waited for") {
            return (status, memory);
        }
        // What goes on inside ends with the container.
        assert!(Instant::now() < give_up_at, "not over in {DEADLINE:?}");
        thread::sleep(SAMPLE);
    }
}

/// The most that the program started by nsenter has had resident, in bytes; none after its end.
///
/// The kernel keeps the peak, and for this program alone. What `wait4` tells at the end (`ru_maxrss`) is the largest of nsenter,
/// which stays and waits, of the program, and of each ssh that the program has waited for.
fn high_water(nsenter: u32) -> Option<u64> {
    let children = fs::read_to_string(format!("/proc/{nsenter}/task/{nsenter}/children")).ok()?;
    let status = fs::read_to_string(format!("/proc/{}/status", children.trim())).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes * 1024)
}
