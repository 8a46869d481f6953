//! The disk of a virtual machine: a host of the test bed with a kernel, on a file.
//!
//! In: a host that was not started. Out: a disk that firmware boots from, as it is after each cut of the power.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::root;
use crate::testbed::host::Host;
use crate::testbed::world::World;
use crate::testbed::{cache, child};

/// Making a file system of a gigabyte takes seconds.
const DEADLINE: Duration = Duration::from_secs(300);

/// What the kernel is told besides the system. Without udev the network device keeps the kernel's name.
pub(crate) const KERNEL_PARAMS: [&str; 8] = [
    "root=/dev/vda2",
    "rw",
    "console=ttyS0",
    "quiet",
    "net.ifnames=0",
    "systemd.getty_auto=no",
    // On a busy machine the check that timers work finds that they do not.
    "no_timer_check",
    // With `-no-reboot` a panic ends QEMU.
    "panic=-1",
];

/// Where Debian's own units are, which closures leave alone.
const UNITS: &str = "usr/local/lib/systemd/system";

/// What runs beside the host's system; without udev no mount unit would find its device.
const SERVICES: [(&str, &str, &str); 2] = [
    (
        "boot-partition.service",
        "local-fs.target",
        "[Unit]\nDefaultDependencies=no\nBefore=local-fs.target\n[Service]\nType=oneshot\n\
         RemainAfterExit=yes\nExecStart=mount -t vfat /dev/vda1 /boot\n",
    ),
    (
        "agent.service",
        "sysinit.target",
        "[Unit]\nDefaultDependencies=no\nAfter=local-fs.target\n[Service]\nExecStart=/opt/mini/agent\n",
    ),
];

/// What a container does not start either, or what needs modprobe: each costs a boot in emulation half a second.
const MASKED: [&str; 8] = [
    "systemd-modules-load.service",
    "modprobe@.service",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-kernel-config.mount",
    "sys-fs-fuse-connections.mount",
];

/// The network of QEMU's user mode; all that is beyond it is the world's.
const NETWORK: &str = "[ ! -e /sys/class/net/eth0 ] || ip link set eth0 name host0
address=10.0.2.15/24
gateway=10.0.2.2
";

/// A disk: what was made, and a layer for each time that the power was on.
///
/// QEMU keeps what it knows of a new layer's blocks to itself until the machine flushes its disk. So killing it loses
/// what a disk loses in its volatile cache, besides all that the machine had not written.
pub(crate) struct Disk {
    pub(crate) directory: PathBuf,
    layers: u32,
}

impl Disk {
    /// Makes the disk of a host.
    pub(crate) fn of(world: &World, host: &Host) -> Self {
        let directory = world.directory().join("disk");
        fs::create_dir_all(&directory).expect("the world's directory can be written");
        let root = host.path("/");
        prepare(&root, &host.profile());
        let script = fs::read_to_string(cache::sources().join("vm/make-disk"))
            .expect("the test bed's own files are there");
        let mut make = root::command(&[], &root, &directory, &["sh", "-c", &script]);
        child::run(&mut make, DEADLINE).must_succeed();
        Self {
            directory,
            layers: 0,
        }
    }

    /// Puts an empty layer on top, for the next time that the power is on; returns its name.
    pub(crate) fn add_layer(&mut self) -> String {
        let name = |layer: u32| match layer {
            0 => "0.raw".to_owned(),
            layer => format!("{layer}.qcow2"),
        };
        let format = if self.layers == 0 { "raw" } else { "qcow2" };
        let below = name(self.layers);
        self.layers += 1;
        let above = name(self.layers);
        let path = format!("{}/{above}", root::DISK);
        let words = [
            "qemu-img", "create", "-q", "-f", "qcow2", "-F", format, "-b", &below, &path,
        ];
        let mut create = root::command(&[], &self.directory, &self.directory, &words);
        child::run(&mut create, child::DEADLINE).must_succeed();
        above
    }
}

/// Puts into the root of a host what a machine needs and a container does not.
fn prepare(host: &Path, first: &str) {
    let mini = host.join("opt/mini");
    let boot = mini.join("boot");
    fs::create_dir_all(&boot).expect("the overlay can be written");
    for name in ["kernel", "initrd"] {
        fs::copy(root::path().join("boot").join(name), boot.join(name)).expect("qemu has made it");
    }
    install("agent", &mini.join("agent"));
    install("mv", &host.join("usr/local/bin/mv"));
    for (name, target, text) in SERVICES {
        let wants = host.join(UNITS).join(format!("{target}.wants"));
        fs::create_dir_all(&wants)
            .and_then(|()| fs::write(host.join(UNITS).join(name), text))
            .and_then(|()| symlink(format!("../{name}"), wants.join(name)))
            .expect("the overlay can be written");
    }
    for name in MASKED {
        symlink("/dev/null", host.join(UNITS).join(name)).expect("the overlay can be written");
    }
    let state = host.join("var/lib/testbed");
    fs::remove_dir_all(state.join("gates"))
        .and_then(|()| symlink("/run/testbed-gates", state.join("gates")))
        .and_then(|()| fs::write(state.join("network"), NETWORK))
        .expect("the overlay can be written");
    // The entry that is there has the few words in the place of a kernel.
    fs::remove_dir_all(host.join("boot/EFI/nixos")).expect("prepare has made it");
    let host = host.display().to_string();
    child::must("chroot", &[&host, "/opt/mini/install-bootloader", first]);
}

fn install(name: &str, to: &Path) {
    fs::copy(cache::sources().join("vm").join(name), to)
        .and_then(|_| fs::set_permissions(to, fs::Permissions::from_mode(0o755)))
        .expect("the overlay can be written");
}
