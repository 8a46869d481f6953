//! systemd over the system bus: transient units and the state of the system.
//!
//! In: units to start, names to watch. Out: what systemd says of them. Must
//! not: know what a unit is for, or believe a signal; every signal only makes
//! us read the state again.

mod proxies;
mod state;
mod transient;
mod timer;
mod bus;
mod units;
mod unit;
mod ending;
mod inhibit;

pub use bus::{Systemd, SystemdError};
pub use inhibit::ShutdownLock;
pub use state::{ActiveState, ExitCode, SystemState, UnitState, UnitStatus};
pub use timer::{TimerStatus, TransientTimer};
pub use transient::{
    AtShutdown, CREDENTIALS_STATUS, CacheDirectory, Kind, Network, Sandbox, StandardOutput,
    TransientUnit, WhenKilled,
};
