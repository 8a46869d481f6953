//! What an operator reads in the morning: one function per milestone, each
//! with a message id of its own, a constant message, and the facts in fields.
//!
//! In: the facts. Out: a journal entry (or a line on a terminal). Must not:
//! put a fact into the message; change an id once it was released.
//!
//! Field names are the journal's, in small letters: `df_commit` is found as
//! `journalctl DF_COMMIT=...`. The lines of a deployment's steps carry
//! `DEPLOY_FLAKE_DEPLOYMENT`, with the same value as our `DF_DEPLOYMENT`.

mod daemon;
mod deployment;
mod ending;

pub use daemon::*;
pub use deployment::*;
pub use ending::*;

use std::time::Duration;

use super::failures::{self, Entry};

macro_rules! message_ids {
    ($($(#[$doc:meta])* $name:ident = $id:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $id;)*

        /// Every milestone's name and id, besides those of the failures.
        pub const ALL: &[(&str, &str)] = &[$((stringify!($name), $name),)*];
    };
}

message_ids! {
    /// The daemon is ready.
    DAEMON_READY = "4278b712f24adf6ba786ca23734aefb6";
    /// The daemon stops.
    DAEMON_STOPPING = "cd10a072c1cf5f70168aba8b5a8c690e";
    /// The configuration has a mistake, or something to know.
    CONFIGURATION_PROBLEM = "cbdf711561051af992a4567bb37620a9";
    /// The branch points to another commit.
    NEW_COMMIT = "dbdc3233d34c058df66605882e4eb1d6";
    /// A deployment begins.
    DEPLOYMENT_STARTED = "852ccfae00180a1bc28930096a3fe0e7";
    /// The derivation is known.
    EVALUATED = "3aa69291e52c146def95e13587f9dc52";
    /// The toplevel is there.
    BUILT = "ac3abcd2d8982970b35a01d97388e3f7";
    /// The closure's own checks passed.
    CHECK_PASSED = "9e7ccab314c9fd83dc5f899ab7fad40a";
    /// `test` begins.
    TEST_STARTED = "cbbc9f00e3197d61502d2ef99cfd7bb1";
    /// `test` succeeded.
    ACTIVATED = "27dfa7829d8a7e291a5f69d81b678169";
    /// The host stayed healthy.
    CONFIRMED = "cbf7a626b2d283104f1443c617e98013";
    /// The boot entry is written.
    BOOT_ENTRY_WRITTEN = "c3d68e10f22850f236d3b8ab53bc6a81";
    /// The commit is deployed.
    DEPLOYED = "b5913f728d2ab6804e3a4240b1eda52a";
    /// The commit changes nothing on this host.
    UNCHANGED = "778c7f61d6cf358b4692a05d9f0e1418";
    /// A newer commit came first.
    SUPERSEDED = "4d328067352ee9e19c2daba6ad7b840b";
    /// Profile and boot entry are being put back.
    RESTORING = "5f0c1d6be7d84f0a8e6f3f7a1b0c92de";
    /// The previous system is being brought back.
    ROLLING_BACK = "045af4ed2d8d606e4362a40a299a8dbb";
    /// The way back is armed.
    ARMED = "0d7e265b091e453a9cc27906705370ae";
    /// The way back is disarmed.
    DISARMED = "39d3127f643643d48f005fcc76701e1f";
    /// The previous system runs again.
    ROLLED_BACK = "a7f84cf9e46143f696fc6ca70cec98f6";
    /// A reboot brought the previous system back.
    ROLLED_BACK_BY_REBOOT = "0e0ba53a891341e6b4aa13e4ecf63891";
    /// The way back failed.
    ROLLBACK_FAILED = "06e047a6cb8f419db4cb140d4a413855";
    /// The previous system runs again, and nobody can say whose fault it was.
    INCONCLUSIVE = "b900f38866a343a9bc1086a9c412f3d4";
    /// The host is kept from being shut down.
    SHUTDOWN_INHIBITED = "f3192ea3660140deb0fcf260e9b76086";
    /// It may be shut down again.
    SHUTDOWN_ALLOWED = "213850188b0643caaf506ac6a041e0b6";
    /// Nothing keeps it from being shut down, although something should.
    SHUTDOWN_NOT_INHIBITED = "d3a8934cf9dc4da4ba38f06c01111aa3";
    /// A system is not activated again by itself.
    QUARANTINED = "0f602f6f2bef4816a65589310a266dbf";
    /// An operator wants what failed tried once more.
    RETRY_ASKED = "8362e5f571c443309bed0ae379940162";
    /// Root lets a commit be followed once.
    ALLOW_ASKED = "d87af487b84f464e9fc816197f30341f";
    /// An operator wants nothing new begun.
    PAUSED = "f603b85fe14944be91fd531e3bf4cad0";
    /// An operator lets the host go on.
    RESUMED_BY = "4ebf7b6d05f34c99a0d9dd75f133695f";
    /// The time of a pause came.
    PAUSE_ENDED = "48771b545128488fb0afafd710827460";
    /// Root wants an earlier system back.
    ROLLBACK_ASKED = "75538e0ae9be40589ea980856f71a0ad";
    /// Root wants a snapshot of their own.
    PUSH_ASKED = "5bacb6c7852a4ce08f8e7e96078ffb21";
    /// The history does not know what a deployment changed.
    DIFFERENCE_UNKNOWN = "45d3989f11cb3ca413294ce919514c7d";
    /// An operator says that a system in its confirm window is good.
    CONFIRM_ASKED = "e64c36f2bb3243b6952dd3a060b0afd4";
    /// Another daemon goes on with the deployment that brought it.
    DAEMON_REPLACED = "9760eb40be8e4875a94c08ac03a15204";
    /// The running system asks for another daemon than this one.
    DAEMON_GIVES_WAY = "210ee6fe6ed143afac16ff2dd8a65bc5";
    /// A look does not come to an end.
    LOOK_HANGS = "8b5595caacac4dd6baf893aaf20b209a";
    /// The journal did not take reports, and some are lost.
    REPORTS_LOST = "e673dd6f0cef409db3bc2df504562bb3";
    /// A deployment goes on after the daemon was restarted.
    RESUMED = "68b2a6e8badca9dd187da14475aa7e41";
    /// A deployment was cut off by a reboot.
    INTERRUPTED = "d3b9f8e8ec2025699b10d010469973ed";
    /// Somebody changed the host.
    DRIFTED = "5abe590959f0786f1beecc5f1ebe6e07";
    /// The host is what it was brought to again.
    DRIFT_CORRECTED = "170995c82080817f8a8ea70e3422a3c7";
    /// What the testing branch is, is not tested.
    TESTING_REFUSED = "b7a499e63f89d825b56c666b4abb2f1c";
    /// The branch has moved on without what the host tests.
    TESTING_LACKS = "5b5288295b093d8a36e66516d7461c1c";
    /// A remote answers again.
    REMOTE_REACHABLE = "8d606f7f8584d365c058a4c2a31c602d";
    /// Another remote is followed, for the one before offers nothing any more.
    REMOTE_REPLACED = "be55ab26aab3461db7e6d893be27e99f";
    /// Two remotes offer commits of which neither descends from the other.
    REMOTES_DIVERGE = "c8c2e740fe0840318b05eef323047283";
}

/// Durations are counted in milliseconds in the journal.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::model::failure::FailureCode;

    #[test]
    fn every_message_id_has_128_bits_and_is_its_own() {
        let failures = FailureCode::ALL
            .iter()
            .map(|code| (code.as_str(), failures::entry(*code).message_id));
        let mut seen = HashSet::new();
        for (name, id) in ALL.iter().copied().chain(failures) {
            let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            assert!(
                id.len() == 32 && id.bytes().all(hexadecimal),
                "{name}: {id}"
            );
            assert!(seen.insert(id), "{name}: {id} is somebody else's");
        }
    }

    #[test]
    fn every_failure_has_a_message_of_its_own() {
        let messages: HashSet<_> = FailureCode::ALL
            .iter()
            .map(|code| failures::entry(*code).message)
            .collect();
        assert_eq!(messages.len(), FailureCode::ALL.len());
    }
}
