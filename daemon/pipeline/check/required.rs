//! The units that policy requires to whether they are active before anything is
//! activated.
//!
//! In: the running configuration's list, and systemd's. Out: nothing, or which
//! units are not active and what they are. Must not: start any, or know of the
//! units that are required by default: those are taken from what is active.
//!
//! A required unit that is not active now would be missed after `test`, and
//! after the way back as well: a misspelt name would end every commit in the
//! guardian's last resort, a reboot. The list is the running configuration's,
//! so what it names must be there now; a unit that only the new system has is
//! required by the new system's own list.

use std::collections::{BTreeMap, BTreeSet};

use super::super::health::{HostView, list, unreadable};
use super::as_policy_has_it;
use crate::host::systemd::{ActiveState, UnitState};
use crate::model::failure::{Failure, FailureCode};
use crate::model::policy::Health;

/// Refuses a host on which a unit of `health.require_units` is not active.
/// `known_broken` are those that an earlier activation of ours left so.
pub(super) async fn active_before(
    view: HostView<'_>,
    health: &Health,
    known_broken: &BTreeSet<String>,
) -> Result<(), Failure> {
    let Some(required) = &health.require_units else {
        return Ok(());
    };
    let active = view.systemd.active_units().await.map_err(unreadable)?;
    let down = down(required, &active, known_broken);
    let mut found = BTreeMap::new();
    for name in as_policy_has_it(down, health.on_unhealthy) {
        let unit = view.systemd.unit(&name).await.map_err(unreadable)?;
        let state = state(unit.as_ref());
        found.insert(name, state);
    }
    verdict(&found)
}

fn down(
    required: &[String],
    active: &BTreeSet<String>,
    known_broken: &BTreeSet<String>,
) -> BTreeSet<String> {
    required
        .iter()
        .filter(|unit| !active.contains(*unit) && !known_broken.contains(*unit))
        .cloned()
        .collect()
}

/// What a unit is that is not in the list of the active ones.
fn state(unit: Option<&UnitState>) -> String {
    let Some(unit) = unit else {
        return "not loaded; is its name right?".to_owned();
    };
    let word = match &unit.active_state {
        // Its own name is another one; after `test` it would be missed as well.
        ActiveState::Active => "active under another name only",
        ActiveState::Inactive => "inactive",
        ActiveState::Failed => "failed",
        ActiveState::Activating => "activating",
        ActiveState::Deactivating => "deactivating",
        ActiveState::Other(word) => word,
    };
    word.to_owned()
}

fn verdict(found: &BTreeMap<String, String>) -> Result<(), Failure> {
    if found.is_empty() {
        return Ok(());
    }
    let units = found
        .iter()
        .map(|(unit, state)| format!("{unit} ({state})"));
    Err(Failure::new(
        FailureCode::SystemUnhealthy,
        format!(
            "expected every unit of health.require_units to be active before the deployment, and \
             found {}",
            list(&units.collect())
        ),
        "Nothing was changed. Start the units, or correct health.require_units in the \
         configuration that runs. To deploy all the same, set health.on_unhealthy = \
         \"proceed-if-not-worse\".",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_required_unit_must_be_active_unless_we_left_it_broken() {
        let required = ["web.service", "db.service", "wbe.service"].map(str::to_owned);
        let down = down(&required, &units(&["web.service"]), &units(&["db.service"]));
        assert_eq!(down, units(&["wbe.service"]));
    }

    #[test]
    fn the_refusal_names_each_unit_and_what_it_is() {
        assert_eq!(verdict(&BTreeMap::new()), Ok(()));
        let found = BTreeMap::from([
            ("db.service".to_owned(), "failed".to_owned()),
            ("wbe.service".to_owned(), state(None)),
        ]);
        let refused = verdict(&found).expect_err("they are not active");
        assert_eq!(refused.code, FailureCode::SystemUnhealthy);
        assert!(
            refused.message.ends_with(
                "found db.service (failed), wbe.service (not loaded; is its name right?)"
            ),
            "{refused:?}"
        );
    }
}
