//! What a step runs, and the transient unit that it becomes.
//!
//! In: a plan. Out: a unit as plain data. Must not: call anything.

use std::path::PathBuf;
use std::time::Duration;

use crate::host::systemd::{
    AtShutdown, CacheDirectory, Kind, Network, Sandbox, StandardOutput, TransientUnit,
};
use crate::model::credential::Credential;
use crate::model::deployment::DeploymentId;
use crate::model::stage::UnitStep;

/// Who evaluates and builds.
pub const BUILD_USER: &str = "deploy-flake-build";

/// Whose members may read the mirror.
pub const FETCH_GROUP: &str = "deploy-flake-fetch";

/// Who fetches and probes: it has the credentials of the remote.
pub const FETCH_USER: &str = "deploy-flake-fetch";

/// The build user's directory, and its HOME.
pub const BUILD_DIRECTORY: &str = "/var/cache/deploy-flake/build";

/// The same for systemd, which makes it and gives it to the build user.
const BUILD_CACHE: &str = "deploy-flake/build";

/// How readily evaluation and build are ended when memory runs out: first.
const EXPENDABLE: i32 = 500;

/// What one step runs.
#[derive(Clone, Debug)]
pub struct StepPlan {
    /// Which step, hence which unit.
    pub step: UnitStep,
    /// For which deployment.
    pub deployment: DeploymentId,
    /// Absolute programs with their arguments, one after the other; the first
    /// failure ends the step.
    pub commands: Vec<Vec<String>>,
    /// Who runs them.
    pub user: StepUser,
    /// How long they may take together.
    pub deadline: Duration,
    /// Variables in addition to PATH and HOME.
    pub environment: Vec<(String, String)>,
    /// Files that systemd hands to them.
    pub credentials: Vec<Credential>,
    /// Whether their standard output is read back instead of going to the
    /// journal.
    pub capture: bool,
}

/// Who runs a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepUser {
    /// Root, with everything that root may do.
    Root,
    /// The build user, in a sandbox with the network: inputs are downloaded.
    Build,
    /// The build user, who may read the mirror but sees no network.
    Import,
    /// The fetcher's user, in a sandbox with the network.
    Probe,
}

impl StepPlan {
    /// The unit, with this PATH, and its captured output in this file.
    pub(super) fn unit(&self, path_variable: &str, captured: PathBuf) -> TransientUnit {
        let mut unit = TransientUnit::new(self.step.unit(), Kind::OneShot, self.commands.clone());
        unit.description = describe(self.step, &self.deployment);
        unit.deadline = Some(self.deadline);
        unit.at_shutdown = at_shutdown(self.step);
        unit.syslog_identifier = Some(format!("deploy-flake-{}", self.step.name()));
        let id = self.deployment.to_string();
        unit.log_fields = vec![("DEPLOY_FLAKE_DEPLOYMENT".to_owned(), id)];
        unit.environment = vec![("PATH".to_owned(), path_variable.to_owned())];
        if self.capture {
            unit.stdout = StandardOutput::File(captured);
        }
        unit.tells = self.step == UnitStep::Build;
        match self.user {
            StepUser::Root => {}
            StepUser::Build => confine(&mut unit),
            StepUser::Import => {
                confine(&mut unit);
                unit.supplementary_groups = vec![FETCH_GROUP.to_owned()];
                unit.network = Network::None;
            }
            StepUser::Probe => {
                unit.user = Some(FETCH_USER.to_owned());
                unit.sandbox = Sandbox::Strict;
                unit.oom_score_adjust = Some(EXPENDABLE);
            }
        }
        unit.environment.extend(self.environment.iter().cloned());
        unit.credentials = credentials(&self.credentials);
        unit
    }
}

/// What writes profile and boot entry is short, and half-written either may
/// leave a host that does not boot, or a menu that nobody can write again.
fn at_shutdown(step: UnitStep) -> AtShutdown {
    match step {
        UnitStep::Profile | UnitStep::Boot | UnitStep::Restore => AtShutdown::WaitedFor,
        UnitStep::Import
        | UnitStep::Evaluate
        | UnitStep::Build
        | UnitStep::Root
        | UnitStep::Check
        | UnitStep::Test
        | UnitStep::Probe => AtShutdown::Stopped,
    }
}

/// The description by which a later daemon knows the unit of a deployment's
/// step again.
pub(super) fn describe(step: UnitStep, id: &DeploymentId) -> String {
    format!("deploy-flake: {} of deployment {id}", step.name())
}

/// The same for one part of a step that has several.
pub(super) fn describe_part(step: UnitStep, id: &DeploymentId, part: &str) -> String {
    format!("{}: {part}", describe(step, id))
}

/// Whether it describes that step of that deployment, or a part of it.
pub(super) fn is_described(description: &str, step: UnitStep, id: &DeploymentId) -> bool {
    description
        .strip_prefix(&describe(step, id))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(": "))
}

/// Credentials as a unit takes them.
pub(in crate::pipeline) fn credentials(credentials: &[Credential]) -> Vec<(String, PathBuf)> {
    let pair = |it: &Credential| (it.name.clone(), it.source.clone());
    credentials.iter().map(pair).collect()
}

/// Makes a unit the build user's.
fn confine(unit: &mut TransientUnit) {
    unit.user = Some(BUILD_USER.to_owned());
    unit.sandbox = Sandbox::Strict;
    unit.cache_directory = Some(CacheDirectory {
        name: BUILD_CACHE.to_owned(),
        mode: 0o700,
    });
    unit.oom_score_adjust = Some(EXPENDABLE);
    let home = ("HOME".to_owned(), BUILD_DIRECTORY.to_owned());
    unit.environment.push(home);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(user: StepUser, capture: bool) -> TransientUnit {
        let plan = StepPlan {
            step: UnitStep::Evaluate,
            deployment: DeploymentId("0123456789abcdef".to_owned()),
            commands: vec![vec!["/bin/true".to_owned()]],
            user,
            deadline: Duration::from_secs(60),
            environment: vec![("A".to_owned(), "b".to_owned())],
            credentials: Vec::new(),
            capture,
        };
        plan.unit("/bin", PathBuf::from("/run/x.out"))
    }

    #[test]
    fn a_unit_says_whose_it_is_in_description_and_log() {
        let unit = unit(StepUser::Root, false);
        assert_eq!(unit.name, "deploy-flake-evaluate.service");
        assert_eq!(
            unit.description,
            "deploy-flake: evaluate of deployment 0123456789abcdef"
        );
        assert_eq!(
            unit.log_fields,
            [(
                "DEPLOY_FLAKE_DEPLOYMENT".to_owned(),
                "0123456789abcdef".to_owned()
            )]
        );
    }

    #[test]
    fn a_part_is_described_as_its_own_and_as_its_steps() {
        let id = DeploymentId("0123456789abcdef".to_owned());
        let other = DeploymentId("0123456789abcde".to_owned());
        let whole = describe(UnitStep::Check, &id);
        let part = describe_part(UnitStep::Check, &id, "first");
        assert_ne!(whole, part);
        assert_ne!(part, describe_part(UnitStep::Check, &id, "second"));
        for description in [whole, part] {
            assert!(is_described(&description, UnitStep::Check, &id));
            assert!(!is_described(&description, UnitStep::Test, &id));
            assert!(!is_described(&description, UnitStep::Check, &other));
        }
    }

    #[test]
    fn root_is_not_confined_and_the_build_user_is() {
        let root = unit(StepUser::Root, false);
        assert_eq!((root.user, root.sandbox), (None, Sandbox::None));
        let build = unit(StepUser::Build, false);
        assert_eq!(build.user.as_deref(), Some(BUILD_USER));
        assert_eq!(build.sandbox, Sandbox::Strict);
        assert_eq!(build.network, Network::Host);
        assert!(build.supplementary_groups.is_empty());
        assert!(build.environment.iter().any(|(name, _)| name == "HOME"));
    }

    #[test]
    fn a_shutdown_waits_only_for_what_writes_profile_and_boot_entry() {
        for &step in UnitStep::ALL {
            let writes = [UnitStep::Profile, UnitStep::Boot, UnitStep::Restore].contains(&step);
            let waits = at_shutdown(step) == AtShutdown::WaitedFor;
            assert_eq!(waits, writes, "{}", step.name());
        }
    }

    #[test]
    fn only_the_build_tells_systemd_how_far_it_is() {
        for &step in UnitStep::ALL {
            let plan = StepPlan {
                step,
                deployment: DeploymentId("0123456789abcdef".to_owned()),
                commands: Vec::new(),
                user: StepUser::Build,
                deadline: Duration::from_secs(60),
                environment: Vec::new(),
                credentials: Vec::new(),
                capture: false,
            };
            let unit = plan.unit("/bin", PathBuf::new());
            assert_eq!(unit.tells, step == UnitStep::Build, "{}", step.name());
        }
    }

    #[test]
    fn the_probe_is_the_fetchers_user_with_the_network_and_no_place_to_write() {
        let probe = unit(StepUser::Probe, true);
        assert_eq!(probe.user.as_deref(), Some(FETCH_USER));
        assert_eq!(probe.sandbox, Sandbox::Strict);
        assert_eq!(probe.network, Network::Host);
        assert_eq!(probe.cache_directory, None);
    }

    #[test]
    fn only_the_import_reads_the_mirror_and_it_sees_no_network() {
        let import = unit(StepUser::Import, false);
        assert_eq!(import.supplementary_groups, [FETCH_GROUP]);
        assert_eq!(import.network, Network::None);
    }

    #[test]
    fn output_is_captured_only_where_it_is_read() {
        assert_eq!(unit(StepUser::Root, false).stdout, StandardOutput::Journal);
        assert_eq!(
            unit(StepUser::Root, true).stdout,
            StandardOutput::File(PathBuf::from("/run/x.out"))
        );
    }
}
