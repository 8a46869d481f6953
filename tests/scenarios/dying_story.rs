//! The steps of a deployment, and the story of one as hooks and PID 1 tell it.
//!
//! In: lines of tally and journal. Out: what was done, to compare with what an undisturbed deployment does.

/// A step: the phase that the ledger has, the unit, and the gate that holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) phase: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) gate: &'static str,
}

impl Step {
    const fn new(phase: &'static str, unit: &'static str, gate: &'static str) -> Self {
        Self { phase, unit, gate }
    }

    /// One that is held before its program.
    const fn held_outside(phase: &'static str, unit: &'static str) -> Self {
        Self::new(phase, unit, unit)
    }
}

pub(crate) const IMPORT: Step = Step::held_outside("importing", "deploy-flake-import.service");
pub(crate) const EVALUATE: Step = Step::held_outside("evaluating", "deploy-flake-evaluate.service");
pub(crate) const BUILD: Step = Step::new("building", "deploy-flake-build.service", "build");
pub(crate) const ROOT: Step = Step::held_outside("rooting", "deploy-flake-root.service");
pub(crate) const SELF_CHECK: Step = Step::new(
    "checking",
    "deploy-flake-check.service",
    "pre-activate-safety-checks",
);
pub(crate) const SWITCH_CHECK: Step = Step::new(
    "checking",
    "deploy-flake-check.service",
    "switch-to-configuration-check",
);
pub(crate) const TEST: Step = Step::new("testing", "deploy-flake-test.service", "activate");
pub(crate) const PROFILE: Step =
    Step::held_outside("setting-profile", "deploy-flake-profile.service");
pub(crate) const BOOT: Step = Step::new(
    "writing-boot-entry",
    "deploy-flake-boot.service",
    "boot-loader",
);

/// The way back, held before the previous system's switch.
pub(crate) const BACK: Step = Step::new(
    "rolling-back",
    "deploy-flake-guardian.service",
    "switch-to-configuration-test",
);

/// What was done for one deployment, without what tells it from another.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Story {
    /// What hooks ran, in order.
    pub(crate) hooks: Vec<String>,
    /// What PID 1 started and finished, in order.
    pub(crate) steps: Vec<String>,
}

impl Story {
    #[track_caller]
    /// Panics unless every hook that has an effect ran once, and every step was started and finished once.
    pub(crate) fn has_each_effect_once(&self) {
        for hook in [
            "build",
            "pre-activate-safety-checks",
            "switch-to-configuration-check",
            "switch-to-configuration-test",
            "activate",
            "switch-to-configuration-boot",
            "boot-loader",
        ] {
            let count = self.times(hook);
            assert_eq!(count, 1, "{hook} in {self:#?}");
        }
        // The check has two parts; every other step one.
        let starts = self
            .steps
            .iter()
            .filter(|step| step.starts_with("Starting "));
        assert_eq!((starts.count(), self.steps.len()), (9, 18), "{self:#?}");
    }

    /// How often a hook ran.
    pub(crate) fn times(&self, hook: &str) -> usize {
        let names = self.hooks.iter().filter_map(|line| line.split(' ').next());
        names.filter(|name| *name == hook).count()
    }
}
