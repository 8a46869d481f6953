//! The crafted commits of the unit tests: one table for both.
//!
//! In: a commit that all of them follow. Out: objects, and what is to be said of them.

pub(crate) use deploy_flake::trust::{base64, keys, verify, wire};

#[path = "../../daemon/trust/tests/case.rs"]
#[expect(dead_code, reason = "unit tests use more of it")]
pub(crate) mod case;
#[cfg(feature = "openpgp")]
#[path = "../../daemon/trust/tests/openpgp_cases.rs"]
mod openpgp_cases;
#[path = "../../daemon/trust/tests/security_key.rs"]
mod security_key;
#[path = "../../daemon/trust/tests/shape_cases.rs"]
mod shape_cases;
#[path = "../../daemon/trust/tests/ssh_cases.rs"]
mod ssh_cases;
#[path = "../../daemon/trust/tests/tools.rs"]
#[expect(dead_code, reason = "unit tests use more of it")]
mod tools;
