//! Configurations that lose a host, or break it, when they are activated: the fifteen that a host has to come back from.
//!
//! In: a generation that is good. Out: the same one spoilt in one way. Nothing here says what is to happen then.

use super::generation::{Generation, SERVER_NAME, hosts};
use super::network::Address;

/// Where a disk is filled. A host that is to meet that needs [`Host::limit_disk`](super::host::Host::limit_disk) for it.
pub const DISK: &str = "/var";

/// Room for the journal, the ledger and a mirror, and nothing else.
pub const DISK_SIZE: &str = "96m";

/// One way to spoil a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The link goes down, and with it every route.
    NetworkDown,
    /// Nothing comes in and nothing goes out; address and routes stay, and so does what the host says to itself.
    FirewallDropsAll,
    /// sshd's configuration is not one.
    SshdBroken,
    /// There is no sshd.
    SshdRemoved,
    /// The system bus dies and does not come back before another system is booted.
    BusBroken,
    /// The activation script neither ends nor lets itself be terminated.
    ActivationHangs,
    /// A unit dies and is started again without end; it is never failed.
    UnitCrashLoops,
    /// A unit fails at once.
    UnitFails,
    /// A unit starts well and fails so many seconds later.
    UnitFailsAfter(u32),
    /// A unit takes all the memory that it gets (a bound of its own: the machine's is not touched), dies, begins anew.
    MemoryEaten,
    /// The disk at [`DISK`] is full for as long as a unit is active; no unit fails by that.
    DiskFilled,
    /// No name is found any more; addresses go on working.
    DnsBroken,
    /// The daemon does not do its work.
    DaemonBroken(BrokenDaemon),
    /// There is no daemon.
    DaemonRemoved,
    /// The boot entry cannot be written.
    BootLoaderFails,
}

/// How a daemon does not do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokenDaemon {
    /// It ends at once.
    Exits,
    /// It becomes ready and is killed a second later, again and again.
    Crashes,
    /// It is never ready.
    Hangs,
    /// Its configuration is not one.
    Misconfigured,
    /// Its configuration names a remote that nobody has; everything else is well.
    Deaf,
}

impl BrokenDaemon {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::Exits,
        Self::Crashes,
        Self::Hangs,
        Self::Misconfigured,
        Self::Deaf,
    ];
}

impl Sabotage {
    /// Every one, with times for short windows.
    pub const ALL: [Self; 15] = [
        Self::NetworkDown,
        Self::FirewallDropsAll,
        Self::SshdBroken,
        Self::SshdRemoved,
        Self::BusBroken,
        Self::ActivationHangs,
        Self::UnitCrashLoops,
        Self::UnitFails,
        Self::UnitFailsAfter(2),
        Self::MemoryEaten,
        Self::DiskFilled,
        Self::DnsBroken,
        Self::DaemonBroken(BrokenDaemon::Exits),
        Self::DaemonRemoved,
        Self::BootLoaderFails,
    ];

    /// Its name in tables.
    pub fn name(self) -> String {
        match self {
            Self::NetworkDown => "network down".into(),
            Self::FirewallDropsAll => "firewall drops all".into(),
            Self::SshdBroken => "sshd broken".into(),
            Self::SshdRemoved => "sshd removed".into(),
            Self::BusBroken => "D-Bus broken".into(),
            Self::ActivationHangs => "activation hangs".into(),
            Self::UnitCrashLoops => "unit crash-loops".into(),
            Self::UnitFails => "unit fails".into(),
            Self::UnitFailsAfter(seconds) => format!("unit fails after {seconds} s"),
            Self::MemoryEaten => "memory eaten".into(),
            Self::DiskFilled => "disk filled".into(),
            Self::DnsBroken => "DNS broken".into(),
            Self::DaemonBroken(how) => format!("daemon broken ({how:?})").to_lowercase(),
            Self::DaemonRemoved => "daemon removed".into(),
            Self::BootLoaderFails => "boot loader fails".into(),
        }
    }

    /// Spoils a generation; its label stays.
    pub fn spoil(self, good: Generation) -> Generation {
        match self {
            Self::NetworkDown => good.with("network", "ip link set host0 down"),
            Self::FirewallDropsAll => good.with("firewall", DROP_ALL),
            Self::SshdBroken => good.with("sshdConfig", "Port twenty-two\nNonsense yes\n"),
            Self::SshdRemoved => good.with("sshd", false),
            Self::BusBroken => without_bus(good),
            Self::ActivationHangs => good.with("activationScript", "trap '' TERM\nsleep 3600"),
            Self::UnitCrashLoops => good.wanted_unit("crashing.service", CRASHING),
            Self::UnitFails => good.one_shot("failing.service", "/usr/bin/false"),
            Self::UnitFailsAfter(seconds) => good.wanted_unit("late.service", &late(seconds)),
            Self::MemoryEaten => good.wanted_unit("eater.service", EATER),
            Self::DiskFilled => good.wanted_unit("filler.service", FILLER),
            Self::DnsBroken => without_names(good),
            Self::DaemonBroken(how) => with_broken_daemon(good, how),
            Self::DaemonRemoved => good.with("daemonConfig", serde_json::Value::Null),
            Self::BootLoaderFails => {
                good.with("bootLoader", "echo 'this boot loader fails' >&2; exit 1")
            }
        }
    }
}

/// As a firewall is often written: the host may talk to itself.
const DROP_ALL: &str = "\
table inet filter {
  chain input { type filter hook input priority 0; policy drop; iif lo accept; }
  chain output { type filter hook output priority 0; policy drop; oif lo accept; }
}
";

/// Without a limit of starts it goes on for ever.
const CRASHING: &str = "\
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=/bin/sh -c 'sleep 0.2; exit 1'
Restart=always
RestartSec=200ms
";

/// Should the bound not hold, the machine's kernel takes this one first.
const EATER: &str = "\
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=/usr/bin/perl -e 'my @held; push @held, \"x\" x 1000000 while 1'
LimitAS=256M
OOMScoreAdjust=1000
Restart=always
RestartSec=200ms
";

/// It ends well, and the disk is full when it has. Its own bound holds where there is no small disk.
const FILLER: &str = "\
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'head --bytes=256M /dev/zero > /var/lib/filler || true'
ExecStopPost=/usr/bin/rm --force /var/lib/filler
";

fn late(seconds: u32) -> String {
    format!("[Service]\nExecStart=/bin/sh -c 'sleep {seconds}; exit 1'\n")
}

/// The unit of this closure comes before Debian's, and starts nothing; then the bus that still runs is killed.
fn without_bus(good: Generation) -> Generation {
    let bus = "[Unit]\nRequires=dbus.socket\n[Service]\nExecStart=/usr/bin/false\n";
    let kill = "/usr/bin/systemctl kill --signal=KILL dbus.service";
    good.unit("dbus.service", bus)
        .one_shot("bus-killer.service", kill)
}

fn without_names(good: Generation) -> Generation {
    let resolver = format!(
        "options timeout:1 attempts:1\nnameserver {}\n",
        Address::NOBODY
    );
    good.etc("hosts", &hosts(&[])).etc("resolv.conf", &resolver)
}

fn with_broken_daemon(good: Generation, how: BrokenDaemon) -> Generation {
    let variant = |name: &str| ("daemonVariant", name.to_owned());
    let (knob, value) = match how {
        BrokenDaemon::Exits => variant("exits"),
        BrokenDaemon::Crashes => variant("crashes"),
        BrokenDaemon::Hangs => variant("hangs"),
        BrokenDaemon::Misconfigured => ("daemonConfig", "this is no configuration\n".to_owned()),
        BrokenDaemon::Deaf => ("daemonConfig", deaf(&good)),
    };
    good.with(knob, value)
}

/// The generation's own configuration, with another server in it.
fn deaf(good: &Generation) -> String {
    let nobody = format!("://{}/", Address::NOBODY);
    let servers = [Address::FIRST.to_string(), SERVER_NAME.to_owned()];
    let text = good.daemon_config_text().to_owned();
    servers.iter().fold(text, |text, server| {
        text.replace(&format!("://{server}/"), &nobody)
    })
}
