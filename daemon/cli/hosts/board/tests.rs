//! What a terminal shows, whole.

use super::super::destination::parse;
use super::super::fate::About;
use super::super::story::News;
use super::*;
use crate::cli::columns::width;
use crate::model::progress::{Count, Progress};
use crate::relay::copies::Copied;

const WIDE: Size = Size {
    columns: 80,
    rows: 24,
};

fn row(label: &str, since: u64, last: &str) -> Row {
    Row {
        label: label.to_owned(),
        since: Duration::from_secs(since),
        last: last.to_owned(),
        is_lost: false,
    }
}

fn board() -> Board {
    Board::new(["web1", "root@web2:2222"], Colours::Unused)
}

/// Hosts in the middle of their stories, for docs/screens.md.
pub(in crate::cli) fn screen(columns: usize) -> String {
    let size = Size { columns, rows: 24 };
    let mut board = board();
    let now = Duration::from_secs(95);
    let fate = Fate::of(Ending::RolledBack).because(
        "The previous system runs again; commit 0123456789ab of main failed when it was \
         activated: web.service failed.",
    );
    let over = board.over("web3", Duration::from_secs(62), &fate, size);
    let mut lost = row(
        "root@web2:2222",
        35,
        "no connection, trying again in 2 s: ssh: connect to host web2 port 2222: Connection \
         timed out",
    );
    lost.is_lost = true;
    let progress = Progress::parse(
        "41 of 126 built, 12 of 260 fetched: linux-6.6.61> CC drivers/net/ethernet/intel/igb/igb_main.o",
    );
    let building = words::news(&News::Progress(progress.expect("it is one")));
    let rows = [row("web1", 0, &building), lost];
    board
        .draw(&[over], &rows, 3, now, size)
        .trim_end()
        .to_owned()
}

/// A host in its confirm window, and who is asked about it, for docs/screens.md.
pub(in crate::cli) fn question_screen() -> String {
    let mut board = Board::new(["web1", "web2"], Colours::Unused);
    board.ask(Some(words::question("web1")));
    let rows = [
        row("web1", 0, "watching the host's health"),
        row("web2", 0, "activating the system for a test"),
    ];
    let drawn = board.draw(&[], &rows, 0, Duration::from_secs(41), WIDE);
    drawn.trim_end().to_owned()
}

/// What is pushed in the screens.
const CALLED: &str = "fleet (commit 0123456789ab with changes)";

/// How a push ended for some hosts.
fn pushed() -> [(&'static str, u64, Fate); 3] {
    let deployed = Fate {
        about: Some(About::Snapshot(CALLED.to_owned())),
        ..Fate::of(Ending::Deployed)
    };
    let rolled_back = Fate::of(Ending::RolledBack)
        .because("web.service failed after the activation")
        .with_remedy("Mend it and push again.");
    // As `reconcile::NotBegun` has it.
    let refused = Fate::of(Ending::Refused).because(
        "this host takes pushes only to be tested (allow = \"test-only\" in [push] of its \
         configuration): push with --test-only, which a reboot ends, or set allow = \"always\" there",
    );
    [
        ("web1", 41, deployed),
        ("nixos://root@web2:2222/web", 48, rolled_back),
        ("db", 2, refused),
    ]
}

/// A push to many hosts, for docs/screens.md.
pub(in crate::cli) fn push_screen(columns: usize) -> String {
    let size = Size { columns, rows: 24 };
    let labels = ["web1", "root@web2:2222/web", "db", "web3", "web4", "web5"];
    let mut board = Board::new(labels, Colours::Unused);
    let over = pushed().map(|(host, took, fate)| {
        let host = parse(host).expect("it is a host");
        let fate = fate.with_host(&host);
        board.over(host.label(), Duration::from_secs(took), &fate, size)
    });
    let late = News::NotCopied {
        why: "the copy took longer than 10m".to_owned(),
        after: Duration::from_secs(2),
    };
    let mut late = row("web3", 0, &words::news(&late));
    late.is_lost = true;
    let copying = |so_far| words::news(&News::Copying { paths: 7, so_far });
    let count = |done, expected| Count { done, expected };
    let copied = Copied {
        paths: count(1, 2),
        bytes: count(120 << 20, 430 << 20),
    };
    let rows = [
        late,
        row("web4", 591, &copying(Some(copied))),
        row("web5", 602, &copying(None)),
    ];
    let now = Duration::from_secs(602);
    let drawn = board.draw(&over, &rows, 12, now, size);
    drawn.trim_end().to_owned()
}

/// What is said when a push is over, for docs/screens.md.
pub(in crate::cli) fn push_summary() -> String {
    let fates = pushed().map(|(host, _, fate)| {
        let host = parse(host).expect("it is a host");
        let fate = fate.with_host(&host);
        (host, fate)
    });
    let gone = Fate::of(Ending::Unreachable)
        .because("ssh: connect to host web3 port 22: No route to host")
        .with_remedy("see whether `ssh web3` works");
    let mut all: Vec<(&str, &Fate)> = fates
        .iter()
        .map(|(host, fate)| (host.label(), fate))
        .collect();
    all.push(("web3", &gone));
    words::summary(&all).expect("not all are fine")
}

#[test]
fn each_host_has_a_line_and_the_next_ones_are_counted() {
    assert_eq!(
        screen(80),
        "\
✗ web3             1m02s  rolled back: The previous system runs again; commit 0…
⠋ web1             1m35s  41 of 126 built, 12 of 260 fetched: linux-6.6.61> CC …
! root@web2:2222   1m00s  no connection, trying again in 2 s: ssh: connect to h…
3 more to begin"
    );
    assert!(
        screen(200).contains("Connection timed out\n"),
        "{}",
        screen(200)
    );
}

#[test]
fn what_is_over_stands_still_above_what_is_drawn_again() {
    let mut board = board();
    let rows = [
        row("web1", 0, "connecting"),
        row("root@web2:2222", 0, "connecting"),
    ];
    let now = Duration::from_secs(1);
    board.draw(&[], &rows, 0, now, WIDE);
    let fate = Fate::of(Ending::RolledBack).because("The unit web.service failed.");
    let stays = [board.over("web1", now, &fate, WIDE)];
    assert_eq!(
        board.draw(&stays, &rows[1..], 0, now, WIDE),
        "\u{1b}[2A\r\u{1b}[J\
✗ web1                1s  rolled back: The unit web.service failed.
⠙ root@web2:2222      1s  connecting
"
    );
    assert_eq!(board.erase(), "\u{1b}[1A\r\u{1b}[J");
    assert_eq!(board.erase(), "");
}

#[test]
fn a_question_stands_below_and_what_was_typed_is_drawn_over() {
    let mut board = board();
    board.ask(Some("is it good?".to_owned()));
    let rows = [row("web1", 0, "watching")];
    let now = Duration::from_secs(1);
    assert_eq!(
        board.draw(&[], &rows, 0, now, WIDE),
        "⠋ web1                1s  watching\nis it good?\n"
    );
    board.typed();
    board.ask(None);
    assert_eq!(
        board.draw(&[], &rows, 0, now, WIDE),
        "\u{1b}[3A\r\u{1b}[J⠙ web1                1s  watching\n"
    );
}

#[test]
fn no_line_is_wider_than_the_terminal_and_no_board_higher() {
    let text = "a very long word ".repeat(30);
    let asian = "漢字".repeat(100);
    for (columns, lines) in [(80, 24), (200, 50), (20, 5), (1, 1), (3, 2)] {
        let size = Size {
            columns,
            rows: lines,
        };
        let rows: Vec<Row> = (0..100)
            .map(|number| row("web1", number, if number % 2 == 0 { &text } else { &asian }))
            .collect();
        let drawn = board().draw(&[], &rows, 5, Duration::from_secs(4000), size);
        let shown: Vec<&str> = drawn.lines().collect();
        assert!(shown.len() <= lines.max(2), "{columns}: {drawn}");
        let widest = shown.iter().map(|line| width(line)).max();
        assert!(widest <= Some(columns.max(2)), "{columns}: {drawn}");
    }
}

#[test]
fn colours_come_only_where_they_are_wanted() {
    let fate = Fate::of(Ending::Deployed);
    let line = |colours| {
        let board = Board::new(["web1"], colours);
        board.over("web1", Duration::from_secs(1), &fate, WIDE)
    };
    assert_eq!(line(Colours::Unused), "✓ web1      1s  deployed");
    assert_eq!(
        line(Colours::Used),
        "\u{1b}[32m✓\u{1b}[0m web1      1s  deployed"
    );
}
