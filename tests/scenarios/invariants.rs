//! What holds after whatever befell a deployment, however it ended. The names are those of the invariants.
//!
//! In: what was seen of a host at rest. Out: every promise that is broken, in words. It looks at nothing itself:
//! `common::invariants` does.

use serde_json::Value;

/// The keys of the snapshot's `system`, in the order of [`Seen::systems`].
const KEYS: [&str; 3] = ["running", "profile", "default_entry"];

/// Which of two systems a host is to end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The one from before the deployment.
    Old,
    /// The one that was deployed.
    New,
}

/// What was seen of a host.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// What runs, what the profile is, what the default entry starts.
    pub(crate) systems: [String; 3],
    /// The daemon's snapshot.
    pub(crate) status: Value,
    /// Whether a login from elsewhere succeeded.
    pub(crate) answers_ssh: bool,
    /// All that was done to the host, and the same after the daemon has looked again.
    pub(crate) acts: [Vec<String>; 2],
    /// How often an operator said `retry`.
    pub(crate) retries: usize,
}

impl Seen {
    /// Says what is broken; nothing, if all is as it has to be.
    pub(crate) fn broken(&self, old: &str, new: &str, expected: Expected) -> Vec<String> {
        let mut broken = self.a_third_system(old, new);
        broken.extend(self.another_end(old, new, expected));
        broken.extend(self.an_untrue_status());
        broken.extend(self.an_unexplained_disagreement());
        broken.extend((!self.answers_ssh).then(|| "I3: nobody can log in by ssh".to_owned()));
        broken.extend(self.an_act_at_rest());
        broken.extend(self.a_failure_that_is_not_held(new));
        broken.extend(self.a_second_activation(new));
        // I8 (what an operator did meanwhile is not undone) belongs here: `systems` then is what the operator made.
        broken
    }

    /// I1: running system, profile and default entry are each the old or the new one.
    fn a_third_system(&self, old: &str, new: &str) -> Vec<String> {
        let each = KEYS.iter().zip(&self.systems);
        each.filter(|(_, system)| ![old, new].contains(&system.as_str()))
            .map(|(key, system)| format!("I1: {key} is a third system: {system:?}"))
            .collect()
    }

    fn another_end(&self, old: &str, new: &str, expected: Expected) -> Option<String> {
        let wanted = match expected {
            Expected::Old => old,
            Expected::New => new,
        };
        let running = &self.systems[0];
        (running != wanted).then(|| format!("{running} runs, expected was {wanted}"))
    }

    /// I2: status says which system is where.
    fn an_untrue_status(&self) -> Vec<String> {
        let told = &self.status["system"];
        let each = KEYS.iter().zip(&self.systems);
        each.filter(|(key, system)| told[**key] != system.as_str())
            .map(|(key, system)| format!("I2: {key} is {system}, and told is {}", told[*key]))
            .collect()
    }

    /// I2: all three agree and are what is asked for, or status says why not.
    fn an_unexplained_disagreement(&self) -> Option<String> {
        let agree = self.systems.iter().all(|system| *system == self.systems[0]);
        let desired = &self.status["desired"]["toplevel"];
        let is_desired = desired.is_null() || *desired == self.systems[0].as_str();
        let condition = &self.status["condition"];
        let says_why = condition["why"].as_str().is_some_and(|why| !why.is_empty());
        let is_explained = condition["state"] != "converged" && says_why;
        let is_well = (agree && is_desired) || is_explained;
        (!is_well).then(|| format!("I2: {:?} is not explained by {condition}", self.systems))
    }

    /// I6: a system that was led back from is remembered as one that failed.
    fn a_failure_that_is_not_held(&self, new: &str) -> Option<String> {
        let held = self.status["quarantine"].as_array();
        let is_held = held.is_some_and(|held| held.iter().any(|it| it["toplevel"] == new));
        (self.was_led_back() && !is_held)
            .then(|| format!("I6: {new} failed and is not in {held:#?}"))
    }

    /// I6: it was activated once, and once more for each word of an operator.
    fn a_second_activation(&self, new: &str) -> Option<String> {
        let test = format!("switch-to-configuration-test {new}");
        let times = self.acts[1].iter().filter(|act| **act == test).count();
        (self.was_led_back() && times > 1 + self.retries)
            .then(|| format!("I6: {new} was tested {times} times"))
    }

    fn was_led_back(&self) -> bool {
        let ends = ["rolled-back", "rolled-back-by-reboot", "rollback-failed"];
        let outcome = self.status["last"]["outcome"].as_str();
        outcome.is_some_and(|outcome| ends.contains(&outcome))
    }

    /// I7: a second look changes nothing.
    fn an_act_at_rest(&self) -> Option<String> {
        let [before, after] = &self.acts;
        (before != after)
            .then(|| format!("I7: another look did something: {before:#?} became {after:#?}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Expected, Seen};

    fn seen(systems: [&str; 3], state: &str) -> Seen {
        let [running, profile, default_entry] = systems;
        let told =
            json!({ "running": running, "profile": profile, "default_entry": default_entry });
        let condition = json!({ "state": state, "why": "Words." });
        let desired = json!({ "toplevel": "new" });
        Seen {
            systems: systems.map(str::to_owned),
            status: json!({ "system": told, "condition": condition, "desired": desired }),
            answers_ssh: true,
            acts: [vec!["test new".into()], vec!["test new".into()]],
            retries: 0,
        }
    }

    #[track_caller]
    fn breaks(seen: &Seen, expected: Expected, invariants: &[&str]) {
        let broken = seen.broken("old", "new", expected);
        let starts: Vec<&str> = broken
            .iter()
            .map(|words| words.split(':').next().unwrap_or_default())
            .collect();
        assert_eq!(starts, invariants, "{broken:#?}");
    }

    #[test]
    fn what_is_as_it_has_to_be_breaks_nothing() {
        breaks(
            &seen(["new", "new", "new"], "converged"),
            Expected::New,
            &[],
        );
        breaks(&seen(["old", "old", "old"], "failed"), Expected::Old, &[]);
        breaks(&seen(["old", "new", "old"], "failed"), Expected::Old, &[]);
    }

    #[test]
    fn each_broken_promise_is_told() {
        let good = seen(["new", "new", "new"], "converged");
        breaks(
            &seen(["new", "third", "third"], "failed"),
            Expected::New,
            &["I1", "I1"],
        );
        breaks(
            &seen(["old", "old", "old"], "failed"),
            Expected::New,
            &["old runs, expected was new"],
        );
        breaks(
            &seen(["old", "old", "old"], "converged"),
            Expected::Old,
            &["I2"],
        );
        breaks(
            &seen(["new", "old", "old"], "converged"),
            Expected::New,
            &["I2"],
        );
        let mut lies = good.clone();
        lies.status["system"]["profile"] = "old".into();
        breaks(&lies, Expected::New, &["I2"]);
        let mut silent = seen(["old", "old", "old"], "failed");
        silent.status["condition"]["why"] = "".into();
        breaks(&silent, Expected::Old, &["I2"]);
        let lost = Seen {
            answers_ssh: false,
            ..good.clone()
        };
        breaks(&lost, Expected::New, &["I3"]);
        let mut failed = seen(["old", "old", "old"], "failed");
        failed.status["last"] = json!({ "outcome": "rolled-back" });
        breaks(&failed, Expected::Old, &["I6"]);
        failed.status["quarantine"] = json!([{ "toplevel": "new" }]);
        breaks(&failed, Expected::Old, &[]);
        failed.acts = [(); 2].map(|()| vec!["switch-to-configuration-test new".into(); 2]);
        breaks(&failed, Expected::Old, &["I6"]);
        failed.retries = 1;
        breaks(&failed, Expected::Old, &[]);
        let mut again = good;
        again.acts[1].push("test new".into());
        breaks(&again, Expected::New, &["I7"]);
    }
}
