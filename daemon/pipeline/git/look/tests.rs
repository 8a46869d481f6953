//! Looks against a fetcher that plays a script.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};

use super::*;
use crate::fetcher::wire::LINE_LIMIT;
use crate::model::revision::Branch;

/// Long enough for everything that does not hang.
const PATIENCE: Duration = Duration::from_secs(20);

fn commit(digit: &str) -> CommitId {
    CommitId::try_from(digit.repeat(40)).expect("forty digits")
}

fn head(digit: &str) -> Answer {
    let commit = commit(digit);
    Answer::Head {
        commit,
        testing: None,
        heartbeat: None,
    }
}

fn fetched(digit: &str) -> Answer {
    let commit = commit(digit);
    Answer::Fetched { commit }
}

fn failed(problem: Problem) -> Answer {
    Answer::Failed {
        problem,
        message: "its words".to_owned(),
    }
}

/// What became of a look, and what the fetcher was asked for.
struct Played {
    is_kept: bool,
    result: Result<CommitId, LookError>,
    asked: Vec<Asked>,
}

/// Looks, while a fetcher gives these answers and then hangs up.
async fn play(already: Option<&CommitId>, script: &[Answer]) -> Played {
    let (ours, theirs) = duplex(LINE_LIMIT);
    let address = RemoteAddress {
        name: "origin".to_owned(),
        url: "https://example.org/r.git".to_owned(),
        branch: Branch::try_from("main".to_owned()).expect("a branch name"),
        access: crate::model::remote::Access::default(),
    };
    let look = Look {
        address: &address,
        besides: Besides::default(),
        fetched: already,
        poll_deadline: PATIENCE,
        fetch_deadline: PATIENCE,
        pack_limit: 1 << 20,
    };
    let looking = look.take(Conversation::new(ours));
    let (looked, asked) = tokio::join!(looking, answer(theirs, script));
    Played {
        is_kept: looked.conversation.is_some(),
        result: looked.result.map(|found| found.commit),
        asked,
    }
}

async fn answer(theirs: DuplexStream, script: &[Answer]) -> Vec<Asked> {
    let mut theirs = BufReader::new(theirs);
    let mut asked = Vec::new();
    for answer in script {
        let mut line = String::new();
        theirs.read_line(&mut line).await.expect("a line");
        asked.push(match serde_json::from_str(&line).expect("a request") {
            Request::Poll { .. } => Asked::Poll,
            Request::Fetch { .. } => Asked::Fetch,
            Request::Lineage { .. } | Request::Commit { .. } => Asked::Lineage,
            Request::Heartbeat { .. } => Asked::Heartbeat,
        });
        let mut text = serde_json::to_vec(answer).expect("answers serialise");
        text.push(b'\n');
        theirs.write_all(&text).await.expect("room for it");
    }
    asked
}

#[tokio::test]
async fn a_new_commit_is_polled_and_fetched() {
    let played = play(Some(&commit("1")), &[head("2"), fetched("2")]).await;
    assert_eq!(played.result.expect("a commit"), commit("2"));
    assert_eq!(played.asked, [Asked::Poll, Asked::Fetch]);
    assert!(played.is_kept);
}

#[tokio::test]
async fn a_commit_that_was_fetched_is_not_fetched_again() {
    let played = play(Some(&commit("1")), &[head("1")]).await;
    assert_eq!(played.result.expect("a commit"), commit("1"));
    assert_eq!(played.asked, [Asked::Poll]);
    assert!(played.is_kept);
}

#[tokio::test]
async fn a_branch_that_moves_is_followed_at_once() {
    let script = [head("2"), failed(Problem::Moved), head("3"), fetched("3")];
    let played = play(None, &script).await;
    assert_eq!(played.result.expect("a commit"), commit("3"));
}

#[tokio::test]
async fn a_branch_that_moves_for_ever_is_given_up() {
    let mut script = Vec::new();
    for digit in ["1", "2", "3"] {
        script.extend([head(digit), failed(Problem::Moved)]);
    }
    let played = play(None, &script).await;
    assert!(matches!(played.result, Err(LookError::Restless(_))));
    assert_eq!(played.asked.len(), 2 * ROUNDS);
}

#[tokio::test]
async fn a_fetcher_is_kept_only_while_nothing_is_in_doubt() {
    for (script, is_kept) in [
        (vec![Answer::BranchMissing], true),
        (vec![head("1"), Answer::BranchMissing], true),
        (vec![failed(Problem::Remote)], false),
        (vec![head("1"), failed(Problem::Fetch)], false),
        (vec![fetched("1")], false),
        (vec![head("1"), head("1")], false),
        (vec![head("1"), fetched("2")], false),
        (vec![], false),
        (vec![head("1")], false),
    ] {
        let played = play(None, &script).await;
        assert!(played.result.is_err(), "{script:?}");
        assert_eq!(played.is_kept, is_kept, "{script:?}");
    }
}

#[tokio::test]
async fn a_fetcher_that_ended_since_the_last_poll_is_told_apart() {
    let played = play(None, &[]).await;
    assert!(matches!(played.result, Err(LookError::EndedBeforePoll)));
    let played = play(None, &[head("1")]).await;
    let error = played.result.expect_err("it ended");
    assert!(matches!(
        error,
        LookError::Broken(Asked::Fetch, Broken::Ended)
    ));
}
