//! Attempts of a shell in the place of nix, which forces every way to end.

use tokio::sync::mpsc;

use super::super::super::destination::parse;
use super::super::super::words;
use super::*;

/// Longer than any of these take on a busy machine.
const LONG: Duration = Duration::from_secs(60);

fn shell(script: &str) -> Vec<String> {
    vec!["-c".to_owned(), script.to_owned()]
}

fn why(attempt: io::Result<Attempt>) -> Failed {
    match attempt.expect("a shell runs") {
        Attempt::There => panic!("it failed"),
        Attempt::Failed(failed) => failed,
    }
}

/// One attempt of a shell, and what was told meanwhile.
async fn told(
    script: &str,
    variables: &[(String, String)],
    limit: Duration,
) -> (io::Result<Attempt>, Vec<String>) {
    let (to, mut news) = mpsc::channel(1000);
    let teller = Teller { number: 0, to };
    let mut telling = Telling::begin(&teller, 1).await;
    let attempt = copy("sh", &shell(script), variables, limit, &mut telling).await;
    drop(teller);
    let mut told = Vec::new();
    while let Some((_, it)) = news.recv().await {
        told.push(words::news(&it));
    }
    (attempt, told)
}

async fn attempt(script: &str, limit: Duration) -> io::Result<Attempt> {
    told(script, &[], limit).await.0
}

#[tokio::test]
async fn how_far_it_is_is_told_once_in_a_while() {
    let script = r#"exec >&2
        echo '@nix {"action":"start","id":1,"type":103}'
        echo '@nix {"action":"result","id":1,"type":106,"fields":[100,2048]}'
        i=0; while [ $i -lt 1000 ]; do i=$((i + 1))
            echo '@nix {"action":"result","id":1,"type":105,"fields":['$i',1000]}'
        done"#;
    let (attempt, told) = told(script, &[], LONG).await;
    assert!(matches!(attempt, Ok(Attempt::There)), "{attempt:?}");
    assert_eq!(told[0], "copying the snapshot");
    assert_eq!(told[1], "copying, 1 of 1000 store paths, 0 B of 2.0 KiB");
    assert!(told.len() < 10, "{told:?}");
}

#[tokio::test]
async fn a_copy_that_takes_too_long_is_ended_and_not_only_left_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    // As nix does it: what it is told to end, it ends with its own child.
    let script = format!(
        "trap 'kill $!; wait; touch {ended}; exit 1' TERM; sleep 60 & wait",
        ended = path("ended")
    );
    let failed = why(attempt(&script, Duration::from_secs(1)).await);
    assert_eq!(failed.ending, Ending::GaveUp);
    assert_eq!(failed.why, "the copy took longer than 1s");
    assert!(
        directory.path().join("ended").exists(),
        "it was told to end"
    );

    // One that does not listen is killed, and would write the mark if it were not.
    let gate = path("gate");
    let script = format!(
        "trap '' TERM; until [ -e {gate} ]; do :; done; touch {mark}",
        mark = path("mark")
    );
    why(attempt(&script, Duration::from_millis(100)).await);
    std::fs::write(&gate, "").expect("writable");
    let other = "i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done";
    let copied = attempt(other, LONG).await;
    assert!(matches!(copied, Ok(Attempt::There)), "{copied:?}");
    assert!(!directory.path().join("mark").exists(), "it lives");
}

#[tokio::test]
async fn a_copy_is_started_once_and_says_why_it_failed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let starts = directory.path().join("starts");
    let script = format!(
        "echo $NIX_SSHOPTS >> {}; echo 'error: no \u{1b}[1mroom' >&2; exit 1",
        starts.display()
    );
    let variables = [("NIX_SSHOPTS".to_owned(), "-o A=b".to_owned())];
    let failed = why(told(&script, &variables, LONG).await.0);
    assert_eq!(failed.why, "no room", "and no colours");
    assert!(!failed.is_final);
    let started = std::fs::read_to_string(&starts).expect("it was started");
    assert_eq!(started, "-o A=b\n");
    let denied = "echo 'root@web1: Permission denied (publickey).' >&2; exit 1";
    assert!(why(attempt(denied, LONG).await).is_final);
}

#[test]
fn what_was_not_copied_is_told_with_why_and_what_to_do() {
    let host = parse("nixos://root@web1/web").expect("it is one");
    let told = |failed: Failed, attempts| {
        let fate = failed.fate(&host, attempts);
        words::each(&[(host.label(), &fate)]).expect("it is not fine")
    };
    assert_eq!(
        told(Failed::late(Duration::from_secs(600)), 4),
        "root@web1/web: not over in time: not copied, nothing was changed: the copy took\n\
         longer than 10m, 4 times\n  to do: push again with a longer --copy-timeout"
    );
    let full = Failed {
        ending: Ending::Error,
        why: "no room".to_owned(),
        to_do: None,
        is_final: false,
    };
    assert_eq!(
        told(full, 1),
        "root@web1/web: error: not copied, nothing was changed: no room\n  to do: see whether \
         `ssh root@web1 nix --version` works"
    );
}
