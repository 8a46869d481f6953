//! A boot partition that the system mounts and that is not mounted: what is written lands in the directory below it, is
//! read back from there, and is not what starts.

use crate::common::{DEADLINE, ended_as, invariants, is_all, settled, text};
use crate::invariants::Expected;
use crate::testbed::generation::Generation;
use crate::testbed::host::Host;
use crate::testbed::world::World;
use crate::window::{deployed_at_last, generation};

/// What stands for the partition.
const PARTITION: &str = "/var/partition";

/// systemd does not mount it at the start: that it is not mounted is what is tested.
const FSTAB: &str = "# boots from here\n/var/partition /boot none bind,noauto,nofail 0 0\n";

const NOT_MOUNTED: &str = "expected /boot to be mounted";

fn with_partition(label: &str) -> Generation {
    generation(label, 1)
        .etc("fstab", FSTAB)
        .one_shot("web.service", &format!("/usr/bin/true {label}"))
}

/// Makes the partition, with what is below its mount point.
fn make(host: &Host) {
    let make = format!("cp -a /boot {PARTITION}");
    host.shell(&make).must_succeed();
}

fn mount(host: &Host) {
    let mount = format!("mount --bind {PARTITION} /boot");
    host.shell(&mount).must_succeed();
}

#[test]
fn nothing_is_activated_for_a_boot_partition_that_is_not_mounted() {
    let mut world = World::starting_with(generation("first", 1));
    let host = world.boot();
    let old = settled(&host);
    let commit = world.server().repository().publish(&with_partition("next"));
    let status = ended_as(&host, &commit, "refused");
    let failure = &status["last"]["failure"];
    assert_eq!(failure["code"], "boot-loader-unreadable", "{status:#}");
    let message = text(&failure["message"]);
    let new = text(&status["desired"]["toplevel"]);
    assert!(message.starts_with(NOT_MOUNTED), "{message}");
    assert!(message.contains(&new), "{message}");
    is_all(&host, &old);
    let tests = host.tally_of(&format!("switch-to-configuration-test {new}"));
    assert_eq!(tests, 0, "{:#?}", host.tally());

    // It is the host's own state: nobody has to ask again.
    make(&host);
    mount(&host);
    deployed_at_last(&host, &commit);
}

#[test]
fn an_entry_that_was_written_below_a_boot_partition_is_not_believed() {
    let mut world = World::starting_with(generation("first", 1).etc("fstab", FSTAB));
    let host = world.boot();
    make(&host);
    mount(&host);
    let old = settled(&host);
    let loses = with_partition("next").with("bootLoader", "umount /boot");
    let commit = world.server().repository().publish(&loses);
    let status = ended_as(&host, &commit, "rolled-back");
    let failure = &status["last"]["failure"];
    assert_eq!(failure["code"], "read-back-mismatch", "{status:#}");
    let message = text(&failure["message"]);
    assert!(message.contains(NOT_MOUNTED), "{message}");
    let new = text(&status["desired"]["toplevel"]);
    // The way back mounts it again, as it was before; its entry was never touched.
    host.wait_for_status("a reboot is safe", DEADLINE, |status| {
        status["reboot"] == "safe"
    });
    is_all(&host, &old);
    invariants(&host, &old, &new, Expected::Old);
}
