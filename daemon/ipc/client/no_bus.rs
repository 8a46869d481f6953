//! In the place of the bus, on systems on which no daemon runs.
//!
//! In: what is asked. Out: that nobody is there to be asked. Must not: be
//! reached; such systems ask other hosts only.

use super::{Call, CallError, Done, Look, Order};

pub(super) async fn call(_call: &Call) -> Result<Look, CallError> {
    Err(nobody())
}

pub(super) async fn give(_order: &Order) -> Result<Done, CallError> {
    Err(nobody())
}

fn nobody() -> CallError {
    CallError::NoBus("deploy-flake's daemon runs on Linux only: name the hosts to ask".into())
}
