//! A message id and a constant message for every failure code.
//!
//! In: a code. Out: what the journal's entry about it is found by. Must not:
//! change an id once it was released; people and programs search for it.

use crate::model::failure::FailureCode;

/// The journal's entry for a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The 128-bit message id.
    pub message_id: &'static str,
    /// The constant message.
    pub message: &'static str,
}

/// The entry for a failure code.
pub fn entry(code: FailureCode) -> Entry {
    let (message_id, message) = match code {
        FailureCode::RemoteUnreachable => (
            "ae4bc5df6fe9f40a46e4849c6e8642e2",
            "the remote could not be asked",
        ),
        FailureCode::RemoteUnresolved => (
            "662ff7454542d6f3fe8ce1f0512f4a7a",
            "the remote's host name cannot be resolved",
        ),
        FailureCode::RemoteUntrusted => (
            "c06a5d9e2c849f89fc85be8847195f41",
            "the remote's certificate is not accepted",
        ),
        FailureCode::RemoteNameMismatch => (
            "19a2ca95a46e834eb92434710d9ddec5",
            "the remote's certificate is for another name",
        ),
        FailureCode::RemoteKeyUnknown => (
            "0426f968dd89491f3d531df295111afa",
            "nobody has told this host the ssh server's key",
        ),
        FailureCode::RemoteKeyChanged => (
            "9d6dd3adae3b5bf3e1f6af0c154a3fe2",
            "the ssh server has another key than it has to have",
        ),
        FailureCode::CredentialUnusable => (
            "0f649cd9d5f6ad9f59e68cd1bbce168b",
            "what this host is to show the remote cannot be used",
        ),
        FailureCode::RemoteRedirected => (
            "d6e6c0e0dc24189873816a495121e22c",
            "the remote wants to be asked elsewhere",
        ),
        FailureCode::RemoteDenied => (
            "e3ceba79e5697c360bc8227bdbf39bf6",
            "the remote does not let this host read it",
        ),
        FailureCode::RemoteError => (
            "55e3a9752dec2a540b0d07f771cd9b61",
            "the remote says that it cannot answer",
        ),
        FailureCode::RemoteNotGit => (
            "df99b64a505ed31a79abae642127c7ab",
            "what the remote answered is not git's protocol",
        ),
        FailureCode::RemoteTooSlow => (
            "66e491a85783f28ecdc7885634151f75",
            "the remote is silent or too slow",
        ),
        FailureCode::RemoteTooBig => (
            "6301457354616def050b76bd6ca9b201",
            "the remote sent more than is taken",
        ),
        FailureCode::RemoteUnsupported => (
            "66818673fef6f196319abd3b779b8796",
            "the remote is no repository that can be deployed from",
        ),
        FailureCode::BranchMissing => (
            "146459c66fae95a49040bdcb35a92fe5",
            "the remote does not have the branch",
        ),
        FailureCode::BranchNotACommit => (
            "3b0e2219016b8816e90f90b7e4e6dde3",
            "the branch is not a commit",
        ),
        FailureCode::FetchFailed => (
            "cc7311e2f80e4d62a477d316681a42f3",
            "the commit could not be fetched",
        ),
        FailureCode::PackDamaged => (
            "0d76e69101073e5f20205f3c7dc801e4",
            "what the remote sent is damaged or incomplete",
        ),
        FailureCode::Downgrade => (
            "1111e649e02547cdbc21b22de7f27015",
            "the commit is older than the one that was confirmed last, and is refused",
        ),
        FailureCode::Diverged => (
            "0a223d9a300c4bbe8e324ee64b6c5083",
            "the commit does not follow the one that was confirmed last, and is refused",
        ),
        FailureCode::NotIntroduced => (
            "36a840a86457419295d7fc00ec47b03c",
            "the commit does not descend from the introduction, and is refused",
        ),
        FailureCode::CommitUnsigned => (
            "781ec23363694c26992c14193936c1b2",
            "the commit is not signed, and is refused",
        ),
        FailureCode::CommitUntrusted => (
            "dc0a32fde3ee4944bf3fbb41c2722168",
            "the commit is not signed by a trusted key, and is refused",
        ),
        FailureCode::HistoryIncomplete => (
            "9ace072f740d4fd3bfa03e1aa161a267",
            "commits that the verdict depends on are missing",
        ),
        FailureCode::HistoryTooLong => (
            "f4b16fc97d8b4b589b3ed87fcf7f37df",
            "there are more commits to be looked at than are",
        ),
        FailureCode::KeysUnusable => (
            "bb435746a41b447e9ccfb6a51ebbd759",
            "the keys that commits are verified with cannot be used",
        ),
        FailureCode::RemoteStale => (
            "e62bef941883459eb7ff7bfef5f376a1",
            "the remote does not show that it is alive, so nothing new is followed",
        ),
        FailureCode::ImportFailed => (
            "3cbda9bd9045367659dc8d744b43ecbb",
            "the commit could not be imported for evaluation",
        ),
        FailureCode::ObjectRefused => (
            "4e88218032d689fda60d4cc1ec45c8a6",
            "git refuses an object of the commit's history",
        ),
        FailureCode::SourceInvalid => (
            "9796afb607e94b5b8a1a814a6b1bc121",
            "what was pushed is not in this host's store",
        ),
        FailureCode::FlakeMissing => (
            "b7db35e5f627be5406ae5d5161aa3f8b",
            "the commit has no flake.nix",
        ),
        FailureCode::ConfigurationMissing => (
            "1dcb779ccaa2198080e62ddee05d25ce",
            "the flake has no configuration for this host",
        ),
        FailureCode::LockFileIncomplete => (
            "3d93a8c94f85ad39fe916699cd89d6f7",
            "the flake's lock file is incomplete",
        ),
        FailureCode::InputUnavailable => (
            "53a7810a9027e685688470a7967511a3",
            "an input or a substitute could not be downloaded",
        ),
        FailureCode::EvaluationFailed => (
            "4accbec4f1a9d7d62f125e2ae4ee43c7",
            "the flake does not evaluate",
        ),
        FailureCode::EvaluationTimeout => (
            "675727a681f1efcb17c10aeb92672365",
            "the evaluation took too long",
        ),
        FailureCode::BuildFailed => ("2408254b8ef3fc0a9bbfe85f3677f2ae", "the build failed"),
        FailureCode::BuildTimeout => (
            "bce5d17a7770be63589d5f25fad935df",
            "the build took too long",
        ),
        FailureCode::OutOfMemory => ("93d32bc3b517f21ead5116aefbb9d7dc", "memory ran out"),
        FailureCode::DiskFull => ("5a21da6a337abba6299354626e099037", "a file system is full"),
        FailureCode::NotRooted => (
            "baa62659cc817162a739314da8a3931d",
            "the system could not be registered as a GC root",
        ),
        FailureCode::NotSwitchable => (
            "63d7a91341e3a656c9d8b3bd60f4febd",
            "the system has no switch-to-configuration",
        ),
        FailureCode::BootLoaderUnreadable => (
            "f59b570459a154e4588972db64e5eda7",
            "the boot loader's default entry cannot be read",
        ),
        FailureCode::SystemUnhealthy => (
            "4651877633c827fa45404db52c310ab0",
            "the host is not healthy, nothing was started",
        ),
        FailureCode::HostBusy => (
            "0c90a2a450069099caebb7cced2b21b9",
            "the host is starting or stopping",
        ),
        FailureCode::CheckRefused => (
            "38d0f63f4808e9fcd1d443223a9b55d9",
            "the system's own check refused",
        ),
        FailureCode::CheckTimeout => (
            "f1ba0ddddd8a89037dd4548d94cd5ae1",
            "the system's own check took too long",
        ),
        FailureCode::CheckPostponed => (
            "5a350774acf5543f1ea65a5ef1882780",
            "the system's own check asked to be run later",
        ),
        FailureCode::DaemonMissing => (
            "e81f50a6d9ff38465c9d9368565685bc",
            "the system would not run this daemon",
        ),
        FailureCode::SshServerMissing => (
            "3c24755c89f53916df66a64cf20ba8cf",
            "the system would run no ssh server",
        ),
        FailureCode::RemoteMissing => (
            "27eb10649b7ff4f9a94b2f40039bbc5e",
            "the system would not follow this remote",
        ),
        FailureCode::MachineMismatch => (
            "d6e8bd40e45990a7929e2ba161d91b04",
            "the configuration is for another machine",
        ),
        FailureCode::Quarantined => (
            "2df147f83259e6cd19e53535b628182f",
            "the system failed before and is not activated again",
        ),
        FailureCode::GuardianNotArmed => (
            "134baff40e130fed6d6db9ecfe17842c",
            "the way back could not be armed, nothing was activated",
        ),
        FailureCode::RequiredUnitDown => (
            "dee321670b08c4486179a79fec260b39",
            "a required unit is not active after the test",
        ),
        FailureCode::SshUnreachable => (
            "bc1cfe52e3bf0b7f4042591a49029764",
            "the ssh server does not answer after the test",
        ),
        FailureCode::RouteLost => (
            "4b9101bb72a3e8075db0423367760aa1",
            "the default route is gone after the test",
        ),
        FailureCode::RemoteLost => (
            "1e9192e69e5e4d5fedea25a9670b9e5c",
            "the remote cannot be asked after the test",
        ),
        FailureCode::ProbeFailed => (
            "bb7ad794db083ca8b39302a1c92ff92e",
            "a probe failed after the test",
        ),
        FailureCode::Rejected => (
            "0a775329680743ffa3eac0e56d1c847b",
            "an operator rejected the system",
        ),
        FailureCode::DaemonNotReplaced => (
            "a9a8fd8d60a747d5ab0eee3f5b4d8ee0",
            "the new system's daemon could not take over",
        ),
        FailureCode::GuardianFired => (
            "80b6f89888c014cf82a765b097df14b6",
            "the guardian brought the previous system back",
        ),
        FailureCode::RollbackFailed => ("1078e6ecba88eaa542a1195033e83d74", "the way back failed"),
        FailureCode::SwitchInhibited => (
            "2b640ec54340aa37436f17c01f999705",
            "a switch inhibitor asks for a reboot",
        ),
        FailureCode::RebootRequired => (
            "427403a0b1ad21069000c6515f54ba0a",
            "the system can only be reached by a reboot",
        ),
        FailureCode::WaitsForReboot => (
            "77040dd29a0b45879573e9f862f7b06b",
            "the boot entry is written, and waits for a reboot",
        ),
        FailureCode::LockHeld => (
            "ccf48ba663f161151a90e61ebe0ca3e9",
            "somebody else is switching",
        ),
        FailureCode::ActivationRefused => (
            "63c853ca01b374df9edb26787d1d62d3",
            "the test ended before it touched the host",
        ),
        FailureCode::ActivationFailed => (
            "7e99a24dbc755be3542432fb8a4d1498",
            "the test failed half-way",
        ),
        FailureCode::ActivationTimeout => {
            ("ca3778d72262017c2e36bf5090529285", "the test took too long")
        }
        FailureCode::UnhealthyAfterTest => (
            "bb9e3a0cf4c5ecdea8fe87a59d4b3712",
            "the host is not healthy after the test",
        ),
        FailureCode::Overridden => (
            "ef84319f5a95c9601a055df05597ac7c",
            "somebody switched the host meanwhile",
        ),
        FailureCode::ProfileFailed => (
            "b9b6835d67bb2272ed0470c8793ce087",
            "the profile could not be set",
        ),
        FailureCode::BootLoaderFailed => (
            "015208279fa6a44995b970c84e9b468d",
            "the boot entry could not be written",
        ),
        FailureCode::ReadBackMismatch => (
            "2fdd6ee500ac4816fd1aa531e8512e69",
            "profile or boot entry are not what was written",
        ),
        FailureCode::Interrupted => (
            "0b00a208c3e36328a94958e04b567a68",
            "the host went down in the middle of it",
        ),
        FailureCode::TestEnded => (
            "8d40f0da9e8247b7ad996f7325cfe720",
            "a reboot took away what was only tested",
        ),
        FailureCode::StepFailed => (
            "cb0efacf1b3957001bb5a591bd47f883",
            "a step could not be started or watched",
        ),
    };
    Entry {
        message_id,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_is_documented_with_its_class() {
        let documentation = include_str!("../../docs/failures.md");
        for code in FailureCode::ALL {
            let row = format!("\n| `{}` | {} |", code.as_str(), code.class().as_str());
            assert!(documentation.contains(&row), "{row} is not documented");
        }
        let rows = documentation.matches("\n| `").count();
        assert_eq!(
            rows,
            FailureCode::ALL.len(),
            "a code is documented that is none"
        );
    }
}
