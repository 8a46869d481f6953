//! What is coming needs room; where there is none, it waits, and nothing is touched.

use deploy_flake::model::failure::FailureCode;

use super::{Scene, Settings, refused, says, up_to};
use crate::testbed::host::Host;

/// Puts a boot partition of this size in the place of the directory; it goes with the host.
fn shrink_boot(host: &Host, size: &str) {
    let line = format!(
        "cp -a /boot /run/boot && mount -t tmpfs -o size={size} testbed /boot && cp -a /run/boot/. /boot"
    );
    host.shell(&line).must_succeed();
}

#[test]
fn a_kernel_that_the_boot_partition_does_not_take_is_not_activated() {
    let mut scene = Scene::new(Settings::Ordinary);
    shrink_boot(&scene.host, "256k");
    scene.deploys_a_good_commit();
    let kernel = "k".repeat(150_000);
    let large = scene.generation("large").with("kernel", kernel);
    let commit = scene.publish(&large);
    let end = refused(FailureCode::DiskFull, "transient", up_to("build"));
    says(&scene.ends(&commit, &end), "below /boot/EFI/nixos");
    let grow = ["mount", "-o", "remount,size=8m", "/boot"];
    scene.host.run(&grow).must_succeed();
    scene.deploys(&commit);
    scene.deploys_a_good_commit();
}

#[test]
fn nothing_is_built_into_a_store_that_is_about_to_be_full() {
    let mut scene = Scene::new(Settings::With("", "[reserve]\nstore = \"1024TiB\""));
    let good = scene.generation("good");
    let commit = scene.publish(&good);
    let end = refused(FailureCode::DiskFull, "transient", &[]);
    says(&scene.ends(&commit, &end), "1048576.0 GiB in reserve");
}
