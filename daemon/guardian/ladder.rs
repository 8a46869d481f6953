//! The way back, rung by rung.
//!
//! In: orders. Out: how it ended; everything on the way is in the journal and
//! in the record. Must not: do anything once `commit` stands, or to a host that
//! somebody else has switched.

use std::thread::sleep;
use std::time::Duration;

use super::health::{Before, Complaints, running};
use super::orders::Orders;
use super::record::{self, Diary};
use super::say::say;
use super::systemctl::Systemctl;
use super::units::{DAEMON, Starter};
use super::{activation, bus, reboot, switch};
use crate::host::clock;
use crate::model::policy::OnFailedRollback;
use crate::model::rollback::{RollbackPlan, RollbackRecord, RollbackStage, Verdict, WantedBy};
use crate::model::system::{BootId, Toplevel};
use crate::store::plan;
use crate::store::record as records;
use crate::store::token;

/// How long the rungs may take without a plan: the defaults of the
/// configuration.
const LOCK: Duration = Duration::from_secs(60);
const SWITCH: Duration = Duration::from_secs(5 * 60);
const HEALTH: Duration = Duration::from_secs(60);

/// Between two looks at the host.
const LOOK: Duration = Duration::from_millis(500);

/// How many looks in a row must be good: a unit that was just started may fail.
const STEADY: u32 = 3;

/// How a guardian ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The system stays: there was nothing to do.
    Obeyed,
    /// It was over before.
    Over,
    /// It came to this.
    Came(RollbackStage),
    /// The host was to be rebooted, and is still here.
    StillHere,
}

/// Carries the orders out.
pub fn run(orders: &Orders) -> Ending {
    say(&format!(
        "deployment {}: back from {} to {}",
        orders.deployment, orders.candidate, orders.previous
    ));
    let boot_id = clock::boot_id().unwrap_or_else(|_| BootId(String::new()));
    let earlier = records::read()
        .filter(|record| record.deployment == orders.deployment && record.boot_id == boot_id);
    if earlier.as_ref().is_some_and(|it| it.stage.is_final()) {
        say("this rollback is over");
        return Ending::Over;
    }
    let Some(wanted_by) = claim(orders, earlier.as_ref()) else {
        say("the system was confirmed: it stays");
        return Ending::Obeyed;
    };
    let diary = Diary {
        orders,
        boot_id,
        wanted_by,
    };
    climb(orders, &diary)
}

/// Who wants it; None when the system stays.
fn claim(orders: &Orders, earlier: Option<&RollbackRecord>) -> Option<WantedBy> {
    let before = token::read(&orders.deployment);
    let verdict = token::claim(&orders.deployment, Verdict::RollBack).unwrap_or_else(|error| {
        // Then the daemon cannot have claimed anything either, but before.
        say(&format!("the verdict cannot be written: {error}"));
        before.unwrap_or(Verdict::RollBack)
    });
    wanted_by(before, verdict, earlier)
}

fn wanted_by(
    before: Option<Verdict>,
    verdict: Verdict,
    earlier: Option<&RollbackRecord>,
) -> Option<WantedBy> {
    match (verdict, before, earlier) {
        (Verdict::Commit, _, _) => None,
        // A guardian that was ended in the middle knew better.
        (Verdict::RollBack, _, Some(record)) => Some(record.wanted_by),
        (Verdict::RollBack, None, None) => Some(WantedBy::Deadline),
        (Verdict::RollBack, Some(_), None) => Some(WantedBy::Daemon),
    }
}

fn climb(orders: &Orders, diary: &Diary<'_>) -> Ending {
    let systemctl = Systemctl(orders.systemctl.clone());
    if let Some(running) = overridden(orders) {
        return leave(diary, &systemctl, running);
    }
    diary.note(&RollbackStage::RollingBack);
    let plan = read_plan(orders);
    activation::end(&systemctl);
    let daemon = || {
        systemctl
            .show(&[DAEMON])
            .and_then(|shown| shown.into_iter().next())
    };
    if is_in_the_way(diary.wanted_by, || daemon().map(|shown| shown.active)) {
        systemctl.attempt(&["kill", "--signal=KILL", DAEMON]);
        systemctl.attempt(&["stop", "--no-block", DAEMON]);
    }
    if !bus::is_alive() && orders.on_failure == OnFailedRollback::Reboot {
        let why = "the system bus does not answer, so no system can be switched to";
        return restart(orders, diary, &systemctl, why.to_owned());
    }
    activation::wait_for_lock(plan.as_ref().map_or(LOCK, |plan| plan.lock));
    if let Some(running) = overridden(orders) {
        return leave(diary, &systemctl, running);
    }
    switch::back(
        &orders.previous,
        plan.as_ref().map_or(SWITCH, |plan| plan.switch),
    );
    match become_healthy(orders, plan.as_ref(), &systemctl) {
        Ok(()) => {
            say("the previous system runs and is as healthy as before");
            end(diary, &systemctl, RollbackStage::RolledBack)
        }
        Err(complaints) => fall(orders, diary, &systemctl, complaints),
    }
}

/// Whether the daemon is ended first. One that hangs in its start would hold up
/// every switch, also ours; and a guardian that was killed between its verdict
/// and its first record comes back without knowing that nobody had asked for it.
fn is_in_the_way(wanted_by: WantedBy, state: impl FnOnce() -> Option<String>) -> bool {
    match wanted_by {
        WantedBy::Deadline => true,
        WantedBy::Daemon => state().as_deref() == Some("activating"),
    }
}

/// What runs if it is neither of the two; nothing at all is a switch that
/// broke off, which is ours to mend.
fn overridden(orders: &Orders) -> Option<Toplevel> {
    let running = running()?;
    let is_ours = running == orders.previous || running == orders.candidate;
    (!is_ours).then_some(running)
}

fn leave(diary: &Diary<'_>, systemctl: &Systemctl, running: Toplevel) -> Ending {
    say(&format!(
        "somebody else has switched the host to {running}: it is left alone"
    ));
    let running = Some(running);
    end(diary, systemctl, RollbackStage::Overridden { running })
}

/// A plan of another deployment is none.
fn read_plan(orders: &Orders) -> Option<RollbackPlan> {
    let found = plan::read(&orders.plan);
    if let Err(error) = &found {
        say(&format!(
            "there is no plan, so not every unit is known: {error}"
        ));
    }
    found
        .ok()
        .filter(|plan| plan.deployment == orders.deployment)
}

/// Waits until the host is as before, and starts what was active and is not.
fn become_healthy(
    orders: &Orders,
    plan: Option<&RollbackPlan>,
    systemctl: &Systemctl,
) -> Result<(), Complaints> {
    let before = Before::of(&orders.previous, plan);
    let give_up_at = clock::awake() + plan.map_or(HEALTH, |plan| plan.health);
    let mut starter = Starter::default();
    let mut steady = 0;
    loop {
        let seen = before.look(systemctl);
        let complaints = before.judge(&seen, &starter);
        // Also what is no verdict: it was active before.
        starter.start(&seen.down, systemctl);
        if complaints.is_none() {
            steady += 1;
        } else if clock::awake() >= give_up_at {
            return Err(complaints);
        } else {
            steady = 0;
        }
        if steady == STEADY {
            return Ok(());
        }
        sleep(LOOK);
    }
}

/// It did not work.
fn fall(
    orders: &Orders,
    diary: &Diary<'_>,
    systemctl: &Systemctl,
    complaints: Complaints,
) -> Ending {
    let why = complaints.words.join("; ");
    say(&format!(
        "the previous system is not as healthy as before: {why}"
    ));
    match orders.on_failure {
        OnFailedRollback::Reboot => restart(orders, diary, systemctl, why),
        OnFailedRollback::Stay => {
            let failed_units = complaints.failed_units;
            end(
                diary,
                systemctl,
                RollbackStage::Failed { why, failed_units },
            )
        }
    }
}

/// Reboots, having said so on disk: the next boot tells it from a power cut.
fn restart(orders: &Orders, diary: &Diary<'_>, systemctl: &Systemctl, why: String) -> Ending {
    say(&format!("the host is rebooted: {why}"));
    diary.note(&RollbackStage::Rebooting { why });
    record::sync();
    reboot::reboot(systemctl, orders.reboot_patience);
    Ending::StillHere
}

/// Records the end, then has the daemon of the previous system go on from it:
/// the one that runs may be stopped, hung, or the new system's.
fn end(diary: &Diary<'_>, systemctl: &Systemctl, stage: RollbackStage) -> Ending {
    diary.note(&stage);
    say("the daemon is started again");
    // It may not run at all, or not exist.
    systemctl.attempt(&["kill", "--signal=KILL", DAEMON]);
    systemctl.attempt(&["reset-failed", DAEMON]);
    systemctl.attempt(&["restart", "--no-block", DAEMON]);
    Ending::Came(stage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_wanted_it_unless_somebody_had_said_so() {
        let both = [None, Some(Verdict::RollBack), Some(Verdict::Commit)];
        for before in both {
            assert_eq!(wanted_by(before, Verdict::Commit, None), None);
        }
        assert_eq!(
            wanted_by(None, Verdict::RollBack, None),
            Some(WantedBy::Deadline)
        );
        assert_eq!(
            wanted_by(Some(Verdict::RollBack), Verdict::RollBack, None),
            Some(WantedBy::Daemon)
        );
    }

    #[test]
    fn a_guardian_killed_before_its_first_record_still_ends_a_daemon_that_hangs_in_its_start() {
        // All that it finds when it comes back is its own verdict.
        let found = wanted_by(Some(Verdict::RollBack), Verdict::RollBack, None);
        assert_eq!(found, Some(WantedBy::Daemon));
        for (state, expected) in [
            (Some("activating"), true),
            (Some("active"), false),
            (Some("failed"), false),
            (None, false),
        ] {
            let state = || state.map(str::to_owned);
            let is_ended = is_in_the_way(WantedBy::Daemon, state);
            assert_eq!(is_ended, expected, "{:?}", state());
            assert!(is_in_the_way(WantedBy::Deadline, state));
        }
    }
}
