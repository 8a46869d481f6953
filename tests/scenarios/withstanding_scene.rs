//! A host that follows signed commits only, and a remote that is whatever a scenario makes of it.
//!
//! In: what the remote says next. Out: what the host made of it; that nothing of it was imported, evaluated or built,
//! and that the host and its floor are as they were, is asserted each time.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::Value;

use crate::common::{deployed, ended, settled, systems, text, web};
use crate::protocol::{Say, Script};
use crate::testbed::child;
use crate::testbed::generation::Generation;
use crate::testbed::git_server::GitServer;
use crate::testbed::host::Host;
use crate::testbed::network::Address;
use crate::testbed::repository::{CommitId, Repository};
use crate::testbed::world::World;
use crate::trusting::Keys;

/// Where hosts find the remote: in front of git's own daemon.
const PORT: u16 = 9419;

/// The keys, out of any commit's reach.
const KEYS: &str = "/var/keys";

/// Root's own word: of triggers in a row most are answered together, ten seconds later.
const LOOK: [&str; 7] = [
    "deploy-flake",
    "retry",
    "--allow",
    "ssh-server",
    "--wait",
    "--timeout",
    "80s",
];

/// The host's configuration.
const CONFIGURATION: &str = "/etc/deploy-flake/config.toml";

/// Takes every connection, and hands it to the scenario or to git's own daemon. It belongs to the server's network,
/// which the scenario is not in; a socket in a file system reaches across.
const DOOR: &str = r#"
use strict; use warnings; use IO::Socket::INET; use IO::Socket::UNIX; use POSIX ();
my $door = IO::Socket::INET->new(Listen => 64, LocalPort => 9419, ReuseAddr => 1) or die "listen: $!";
exit if fork;
POSIX::setsid(); POSIX::close($_) for 0 .. 2;
$SIG{CHLD} = 'IGNORE';
while (1) {
    my $client = $door->accept or next;
    next if fork;
    my $server = -e '/srv/scripted' ? IO::Socket::UNIX->new(Peer => '/srv/script')
        : IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => 9418);
    POSIX::_exit(1) unless $server;
    my ($from, $to) = fork ? ($client, $server) : ($server, $client);
    while (sysread $from, my $bytes, 65536) {
        for (my $sent = 0; $sent < length $bytes;) {
            my $now = syswrite $to, $bytes, length($bytes) - $sent, $sent;
            POSIX::_exit(0) unless defined $now;
            $sent += $now;
        }
    }
    shutdown $to, 1;
    POSIX::_exit(0);
}
"#;

/// What a connection to the remote meets.
#[derive(Clone)]
pub(crate) enum Remote {
    /// git's own daemon with the world's repository.
    Git,
    /// A git server that plays a script.
    Script(Script),
    /// Somebody who reads the beginning of a request and says something.
    Says(Say),
}

/// Where the remote's lines are kept for the thread that plays it.
type Playing = Arc<Mutex<Remote>>;

pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) host: Host,
    /// What the host confirmed last.
    pub(crate) floor: CommitId,
    /// Ann may sign; Mallory may not.
    pub(crate) keys: Keys,
    playing: Playing,
    /// What the host is, in the system and in the ledger.
    before: Standing,
    /// How many cases were withstood.
    pub(crate) count: usize,
}

/// All that no offer may change.
#[derive(Debug, PartialEq, Eq)]
struct Standing {
    systems: [String; 3],
    floor: String,
    last: Value,
    /// Journal entries of the first steps, and builds.
    evaluations: usize,
}

/// The daemon's configuration without demands, and with them.
fn configuration(scheme: &str, interval: &str, trust: &str) -> String {
    let url = format!("{scheme}://{}:{PORT}/infrastructure.git", Address::FIRST);
    format!(
        "[[remote]]\nurl = \"{url}\"\npoll_interval = \"{interval}\"\n\n\
         [health]\nconfirm_window = \"1s\"\nprobe_deadline = \"20s\"\n\n\
         [deadlines]\npoll = \"4s\"\nfetch = \"10s\"\n\n[fetch]\npack = \"1MiB\"\n\n{trust}"
    )
}

/// Every commit has to be signed. Nobody looks but the scenario.
fn demanding(scheme: &str) -> String {
    let trust = format!(
        "[trust]\nrequire = \"every-commit\"\nallowed_signers = \"{KEYS}/allowed-signers\"\n\
         keyrings = [\"{KEYS}/keyring\"]\nrevoked = \"{KEYS}/revoked\"\n"
    );
    configuration(scheme, "1h", &trust)
}

/// A generation that the host may come to.
pub(crate) fn generation(label: &str) -> Generation {
    web(label).daemon_config(&demanding("git"))
}

impl Scene {
    /// Boots the host, and brings it to a commit from which on every one has to be signed.
    pub(crate) fn new() -> Self {
        let first = Generation::first().daemon_config(&configuration("git", "1s", ""));
        let mut world = World::starting_with(first);
        world.server().run(&["perl", "-e", DOOR]).must_succeed();
        let playing = play(&mut world);
        let mut host = world.host();
        write_keys(&host, ["", "", ""]);
        host.start();
        settled(&host);
        let floor = world.server().repository().publish(&generation("begin"));
        deployed(&host, &floor);
        let before = Standing::of(&host);
        assert_eq!(before.floor, floor.0);
        Self {
            world,
            host,
            floor,
            keys: Keys::new(),
            playing,
            before,
            count: 0,
        }
    }

    /// Gives the host other keys: allowed signers, a keyring, revoked ones.
    pub(crate) fn trust(&self, keys: [&str; 3]) {
        write_keys(&self.host, keys);
    }

    /// The remote is this from now on.
    pub(crate) fn remote_is(&mut self, remote: Remote) {
        let mark = self.world.server().path("/srv/scripted");
        match remote {
            // There may be none.
            Remote::Git => drop(fs::remove_file(mark)),
            Remote::Script(_) | Remote::Says(_) => {
                fs::write(mark, "").expect("the overlay can be written");
            }
        }
        *self.playing.lock().unwrap_or_else(PoisonError::into_inner) = remote;
    }

    /// Asks the remote with another scheme, as if the configuration said so.
    pub(crate) fn ask_by(&self, scheme: &str) {
        let text = demanding(scheme);
        let write = format!("rm -f {CONFIGURATION}; cat > {CONFIGURATION} <<'END'\n{text}\nEND");
        self.host.shell(&write).must_succeed();
        self.host
            .run(&["systemctl", "restart", "deploy-flake.service"])
            .must_succeed();
    }

    /// Has the host look; returns the error's code and words, and asserts that it did nothing else.
    #[track_caller]
    pub(crate) fn look(&mut self, what: &str) -> (String, String) {
        let output = self.host.run(&LOOK);

        let status = self.host.wait_for_status(what, child::DEADLINE, |status| {
            status["phase"]["name"] == "resting"
        });
        println!("{what}: {output}");
        let error = &status["remote"]["last_error"];
        assert!(error.is_object(), "{what} was followed: {status:#}");
        assert_eq!(Standing::of(&self.host), self.before, "{what}");
        self.count += 1;
        (text(&error["code"]), text(&error["message"]))
    }

    /// Looks, and asserts that it ends with this code; returns the words.
    #[track_caller]
    pub(crate) fn withstands(&mut self, what: &str, code: &str) -> String {
        let (found, message) = self.look(what);
        assert_eq!(found, code, "{what}: {message}");
        message
    }

    /// Has the host look at a commit that is found good, and returns how it ended.
    #[track_caller]
    pub(crate) fn ends(&self, what: &str, commit: &CommitId) -> Value {
        let output = self.host.run(&LOOK);
        println!("{what}: {output}");
        ended(&self.host, commit)["last"].clone()
    }

    /// The same for one that is refused later than by its signature; asserts that the host and its floor are as they
    /// were, and returns the failure.
    #[track_caller]
    pub(crate) fn refuses(&mut self, what: &str, commit: &CommitId) -> Value {
        let last = self.ends(what, commit);
        assert_eq!(last["outcome"], "refused", "{what}: {last:#}");
        let now = Standing::of(&self.host);
        assert_eq!(now.systems, self.before.systems, "{what}");
        assert_eq!(now.floor, self.before.floor, "{what}");
        self.before = now;
        self.count += 1;
        last["failure"].clone()
    }

    /// The next good commit is followed.
    #[track_caller]
    pub(crate) fn follows(&self, commit: &CommitId) {
        self.host.run(&LOOK).must_succeed();
        deployed(&self.host, commit);
        let after = Standing::of(&self.host);
        assert_eq!(after.floor, commit.0);
        assert!(
            after.evaluations > self.before.evaluations,
            "what is evaluated is seen"
        );
    }
}

/// What the remote's repository becomes.
impl Scene {
    pub(crate) fn server(&mut self) -> &GitServer {
        self.world.server()
    }

    pub(crate) fn repository(&mut self) -> &Repository {
        self.world.server().repository()
    }

    /// What comes next follows this commit.
    pub(crate) fn begin_at(&mut self, commit: &str) {
        let words = ["checkout", "--quiet", "--force", "--detach", commit];
        self.repository().git(&words);
    }

    /// Commits a generation that somebody signs.
    pub(crate) fn signed(&mut self, by: &str, generation: &Generation) -> CommitId {
        let repository = self.world.server().repository();
        repository.set(generation);
        self.keys.commit(repository, by)
    }

    /// Commits a generation that nobody signs.
    pub(crate) fn unsigned(&mut self, label: &str) -> CommitId {
        let repository = self.repository();
        repository.set(&generation(label));
        repository.commit(label)
    }

    /// The branch becomes what was committed last.
    pub(crate) fn offer(&mut self) {
        let words = [
            "push",
            "--quiet",
            "--force",
            "origin",
            "HEAD:refs/heads/main",
        ];
        self.repository().git(&words);
    }

    /// Runs a line of shell beside the server's repository, which is `$GIT_DIR`; returns what it printed.
    pub(crate) fn beside(&mut self, line: &str) -> String {
        let mut shell = Command::new("sh");
        shell
            .args(["-euc", line])
            .env("GIT_DIR", self.server().path("/srv/git/infrastructure.git"))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_COMMITTER_NAME", "Scenario")
            .env("GIT_COMMITTER_EMAIL", "scenario@example.org");
        child::run(&mut shell, child::DEADLINE).text().to_owned()
    }

    /// Writes any bytes into the server's repository as an object; returns its id.
    pub(crate) fn store(&mut self, kind: &str, object: &[u8]) -> String {
        let file = self.server().path("/srv/object");
        fs::write(&file, object).expect("the overlay can be written");
        let write = "git hash-object -w --literally -t";
        self.beside(&format!("{write} {kind} {}", file.display()))
    }

    /// A pack of these objects, and of all that the floor is.
    pub(crate) fn pack(&mut self, objects: &[&str]) -> Vec<u8> {
        let file = self.server().path("/srv/pack");
        let line = format!(
            "{{ printf '%s\\n' {}; git hash-object -w -t tree /dev/null; \
             git rev-list --objects {} | cut -d ' ' -f 1; }} | git pack-objects --quiet --stdout > {}",
            objects.join(" "),
            self.floor,
            file.display()
        );
        self.beside(&line);
        fs::read(file).expect("it was just written")
    }
}

impl Standing {
    fn of(host: &Host) -> Self {
        const STEPS: [&str; 3] = [
            "--unit=deploy-flake-import.service",
            "--unit=deploy-flake-evaluate.service",
            "--unit=deploy-flake-build.service",
        ];
        Self {
            systems: systems(host),
            floor: floor(host),
            last: host.status()["last"].clone(),
            evaluations: host.journal(&STEPS).len() + host.tally_of("build"),
        }
    }
}

/// The floor in the ledger.
fn floor(host: &Host) -> String {
    let ledger = fs::read_to_string(host.path("/var/lib/deploy-flake/ledger"));
    let ledger = ledger.expect("there is a ledger");
    let (_, state) = ledger.split_once('\n').expect("a header");
    let state: Value = serde_json::from_str(state).expect("the state");
    text(&state["floor"])
}

fn write_keys(host: &Host, keys: [&str; 3]) {
    fs::create_dir_all(host.path(KEYS)).expect("the overlay can be written");
    for (name, text) in ["allowed-signers", "keyring", "revoked"].iter().zip(keys) {
        let path = host.path(&format!("{KEYS}/{name}"));
        fs::write(path, text).expect("the overlay can be written");
    }
}

/// Plays the remote for as long as the scenario runs.
fn play(world: &mut World) -> Playing {
    let directory = File::open(world.server().path("/srv")).expect("the overlay is there");
    // Its whole path may be too long for a socket.
    let path = format!("/proc/self/fd/{}/script", directory.as_raw_fd());
    let listener = UnixListener::bind(path).expect("the overlay can be written");
    let playing: Playing = Arc::new(Mutex::new(Remote::Git));
    let lines = Arc::clone(&playing);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let remote = lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
            // Who hangs up is what most of these are about.
            thread::spawn(move || drop(meet(&remote, stream)));
        }
    });
    playing
}

fn meet(remote: &Remote, stream: io::Result<UnixStream>) -> io::Result<()> {
    let mut stream = stream?;
    match remote {
        Remote::Git => Ok(()),
        Remote::Script(script) => script.play(&mut stream),
        Remote::Says(say) => {
            // The rest of the request may never be sent.
            stream.read_exact(&mut [0; 4])?;
            say(&mut stream)
        }
    }
}
