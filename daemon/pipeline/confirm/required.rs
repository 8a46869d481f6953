//! Which units must be active after `test`.
//!
//! In: the baseline, policy, and which ssh units the new system has. Out: those
//! that are down. Must not: ask systemd.

use std::collections::BTreeSet;

use super::super::installed::SSH_UNITS;
use crate::model::health::Baseline;
use crate::model::policy::Health;

/// The units that must be active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Required {
    /// Every one of these.
    all: BTreeSet<String>,
    /// At least one of these, if there are any.
    one_of: BTreeSet<String>,
}

impl Required {
    /// What policy names or, if it names nothing, what the baseline does. Of the
    /// ssh server's units in the baseline, any of the new system's may take the
    /// place: a socket that of a service, or the other way round. If the new
    /// system has none at all, that was allowed before it was activated.
    pub(super) fn new(baseline: &Baseline, health: &Health, ssh_units: &BTreeSet<String>) -> Self {
        if let Some(units) = &health.require_units {
            return Self {
                all: units.iter().cloned().collect(),
                one_of: BTreeSet::new(),
            };
        }
        let is_ssh = |unit: &String| SSH_UNITS.contains(&unit.as_str());
        let (ssh, all): (BTreeSet<_>, BTreeSet<_>) =
            baseline.required.iter().cloned().partition(is_ssh);
        let one_of = if ssh.is_empty() {
            BTreeSet::new()
        } else {
            ssh_units.clone()
        };
        Self { all, one_of }
    }

    /// Those that are not active and should be.
    pub(super) fn down(&self, active: &BTreeSet<String>) -> BTreeSet<String> {
        let mut down: BTreeSet<_> = self.all.difference(active).cloned().collect();
        if self.one_of.is_disjoint(active) {
            down.extend(self.one_of.iter().cloned());
        }
        down
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::policy::OnUnhealthy;

    fn units(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn down(
        before: &[&str],
        configured: Option<&[&str]>,
        ssh: &[&str],
        active: &[&str],
    ) -> BTreeSet<String> {
        let baseline = Baseline {
            required: units(before),
            ..Baseline::default()
        };
        let health = Health {
            probe_deadline: Duration::ZERO,
            confirm_window: Duration::ZERO,
            ignore_units: Vec::new(),
            require_units: configured.map(|it| units(it).into_iter().collect()),
            on_unhealthy: OnUnhealthy::default(),
            probes: Vec::new(),
        };
        Required::new(&baseline, &health, &units(ssh)).down(&units(active))
    }

    #[test]
    fn what_is_required_and_not_active_is_down() {
        for (before, configured, ssh, active, expected) in [
            (&["a"][..], None, &[][..], &["a", "b"][..], &[][..]),
            (&["a"], None, &[], &["b"], &["a"]),
            (&["a"], Some(&["b"][..]), &[], &["a"], &["b"]),
            (&["a"], Some(&[]), &[], &[], &[]),
            (
                &["sshd.service"],
                None,
                &["sshd.service"],
                &[],
                &["sshd.service"],
            ),
            (
                &["sshd.service"],
                None,
                &["sshd.socket"],
                &["sshd.socket"],
                &[],
            ),
            (
                &["sshd.service"],
                None,
                &["sshd.socket"],
                &["a"],
                &["sshd.socket"],
            ),
            (&["sshd.service"], None, &[], &[], &[]),
            (&[], None, &["sshd.service"], &[], &[]),
            (
                &[],
                Some(&["sshd.service"]),
                &["sshd.socket"],
                &["sshd.socket"],
                &["sshd.service"],
            ),
        ] {
            let found = down(before, configured, ssh, active);
            assert_eq!(
                found,
                units(expected),
                "{before:?} {configured:?} {ssh:?} {active:?}"
            );
        }
    }
}
