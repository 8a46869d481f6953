//! A timer without a file, and what systemd says of one.
//!
//! In: when it elapses. Out: properties for `StartTransientUnit`; values read
//! back. Must not: call anything.

use std::collections::HashMap;
use std::time::Duration;

use zbus::OwnedVariant;

use super::proxies::{EVERY_INTERFACE, Property};
use super::state::{ActiveState, Description};

/// How late systemd may be, to be late together with others.
const ACCURACY: Duration = Duration::from_secs(1);

/// A timer that elapses once, that long after it was started. It starts the
/// service of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransientTimer {
    /// Its name, with `.timer`.
    pub name: String,
    /// Its description, by which it is recognised later.
    pub description: String,
    /// When it elapses. The clock stands still while the machine sleeps.
    pub after: Duration,
}

impl TransientTimer {
    /// Everything that systemd is told.
    pub(super) fn properties(&self) -> Vec<Property<'_>> {
        let elapses = vec![("OnActiveSec".to_owned(), microseconds(self.after))];
        vec![
            ("Description", self.description.as_str().into()),
            ("TimersMonotonic", elapses.into()),
            ("AccuracyUSec", microseconds(ACCURACY).into()),
            // It stays after it has elapsed, and with it the service: whoever
            // asks later still finds both.
            ("RemainAfterElapse", true.into()),
            // A shutdown that hangs is one of the things it is there for.
            ("DefaultDependencies", false.into()),
            ("IgnoreOnIsolate", true.into()),
            ("CollectMode", "inactive".into()),
        ]
    }
}

/// What systemd knows about a loaded timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerStatus {
    /// Its description.
    pub description: String,
    /// Its state.
    pub active_state: ActiveState,
    /// `waiting`, `running` or `elapsed`.
    pub sub_state: String,
    /// What it starts.
    pub unit: String,
    /// When it elapses, on the clock that stands still while the machine
    /// sleeps; None: it does not.
    pub elapses: Option<Duration>,
}

impl Description for TimerStatus {
    const INTERFACE: &str = EVERY_INTERFACE;

    fn from_properties(properties: &HashMap<String, OwnedVariant>) -> Option<Self> {
        let text = |name: &str| -> Option<String> {
            let text: &str = properties.get(name)?.try_into().ok()?;
            Some(text.to_owned())
        };
        if text("LoadState").as_deref() == Some("not-found") {
            return None;
        }
        let elapses = properties
            .get("NextElapseUSecMonotonic")
            .and_then(|value| u64::try_from(value).ok())
            .filter(|&time| time != 0 && time != u64::MAX);
        Some(Self {
            description: text("Description")?,
            active_state: ActiveState::parse(&text("ActiveState")?),
            sub_state: text("SubState")?,
            unit: text("Unit")?,
            elapses: elapses.map(Duration::from_micros),
        })
    }
}

/// One command as systemd describes it: program, arguments, whether failure is
/// ignored, four times, process, and how it ended.
type Command = (String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32);

/// The argument vectors that a service starts with.
pub(super) fn commands(properties: &HashMap<String, OwnedVariant>) -> Option<Vec<Vec<String>>> {
    let value = properties.get("ExecStart")?.clone();
    let commands = Vec::<Command>::try_from(value).ok()?;
    Some(commands.into_iter().map(|command| command.1).collect())
}

fn microseconds(duration: Duration) -> u64 {
    // The largest value means "never" to systemd, which is what it amounts to.
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use zbus::Variant;

    use super::*;

    fn owned(value: Variant<'_>) -> OwnedVariant {
        value.try_into().expect("it holds no file descriptor")
    }

    fn properties(pairs: Vec<(&str, Variant<'_>)>) -> HashMap<String, OwnedVariant> {
        let owned = |(name, value): (&str, _)| (name.to_owned(), owned(value));
        pairs.into_iter().map(owned).collect()
    }

    #[test]
    fn a_timer_elapses_once_and_outlives_a_shutdown() {
        let timer = TransientTimer {
            name: "a.timer".to_owned(),
            description: "a timer".to_owned(),
            after: Duration::from_secs(90),
        };
        let told: HashMap<_, _> = timer.properties().into_iter().collect();
        let elapses = &told["TimersMonotonic"];
        assert_eq!(elapses.value_signature().to_string(), "a(st)");
        assert!(format!("{elapses:?}").contains("90000000"), "{elapses:?}");
        assert_eq!(told["DefaultDependencies"], Variant::from(false));
    }

    #[test]
    fn a_timer_is_read_as_systemd_describes_it() {
        let waiting = |elapses: u64| {
            TimerStatus::from_properties(&properties(vec![
                ("LoadState", "loaded".into()),
                ("Description", "a timer".into()),
                ("ActiveState", "active".into()),
                ("SubState", "waiting".into()),
                ("Unit", "a.service".into()),
                ("NextElapseUSecMonotonic", elapses.into()),
            ]))
            .expect("everything is there")
        };
        let found = waiting(1_500_000);
        assert_eq!(found.active_state, ActiveState::Active);
        assert_eq!(found.unit, "a.service");
        assert_eq!(found.elapses, Some(Duration::from_millis(1500)));
        for never in [0, u64::MAX] {
            assert_eq!(waiting(never).elapses, None);
        }
    }

    #[test]
    fn commands_are_read_as_argument_vectors() {
        let command: Command = (
            "/bin/a".to_owned(),
            vec!["/bin/a".to_owned(), "$x y".to_owned()],
            false,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        );
        let found = commands(&properties(vec![("ExecStart", vec![command].into())]));
        assert_eq!(
            found,
            Some(vec![vec!["/bin/a".to_owned(), "$x y".to_owned()]])
        );
        assert_eq!(commands(&HashMap::new()), None);
    }
}
