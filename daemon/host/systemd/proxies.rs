//! The parts of systemd's D-Bus interface that are used here.
//!
//! In: calls. Out: replies, as they are on the wire. Must not: cache any
//! property; systemd does not signal every change.

use std::collections::HashMap;

use zbus::{OwnedFd, OwnedObjectPath, OwnedVariant, Variant};

/// What all units have, whatever their type (org.freedesktop.systemd1(5)).
pub(super) const UNIT_INTERFACE: &str = "org.freedesktop.systemd1.Unit";

/// What services have besides.
pub(super) const SERVICE_INTERFACE: &str = "org.freedesktop.systemd1.Service";

/// To an empty name systemd answers with the properties of all interfaces.
pub(super) const EVERY_INTERFACE: &str = "";

/// One unit as `ListUnitsFiltered` lists it: name, description, load state,
/// active state, sub state, followed unit, path, job id, job type, job path.
pub(super) type ListedUnit = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

/// A property of a transient unit: name and value.
pub(super) type Property<'a> = (&'static str, Variant<'a>);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
pub(super) trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;

    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &[Property<'_>],
        auxiliary: &[(&str, Vec<Property<'_>>)],
    ) -> zbus::Result<OwnedObjectPath>;

    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;

    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;

    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;

    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;

    fn get_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;

    fn list_units_filtered(&self, states: &[&str]) -> zbus::Result<Vec<ListedUnit>>;

    #[zbus(property(emits_changed_signal = "false"))]
    fn system_state(&self) -> zbus::Result<String>;
}

/// Properties of a unit: some interface's, or all of them for an empty name.
#[zbus::proxy(
    interface = "org.freedesktop.DBus.Properties",
    default_service = "org.freedesktop.systemd1"
)]
pub(super) trait UnitProperties {
    fn get_all(&self, interface_name: &str) -> zbus::Result<HashMap<String, OwnedVariant>>;

    fn get(&self, interface_name: &str, property_name: &str) -> zbus::Result<OwnedVariant>;
}

#[zbus::proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
pub(super) trait Login {
    fn inhibit(&self, what: &str, who: &str, why: &str, mode: &str) -> zbus::Result<OwnedFd>;
}
