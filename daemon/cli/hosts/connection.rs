//! One host: ssh is started, listened to, and started again while the story says
//! so.
//!
//! In: a destination and an errand. Out: news, the last of which is how it ended.
//! Must not: decide anything; that is the story's.

use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};

use super::confirming::{Desk, Saying};
use super::copying;
use super::destination::Destination;
use super::errand::Errand;
use super::far::{self, LINE_BYTES, Malformed};
use super::fate::{Ending, Fate};
use super::ssh::{self, Prompts};
use super::story::{News, Next, Story};
use super::versions;
use crate::host::lines::{Ended, Line, Lines};
use crate::host::{clock, random};

/// How long the far side has to end after its last word; then it is ended.
const LEAVING: Duration = Duration::from_secs(1);

/// The longest answer that is read as a whole: a history of a thousand
/// deployments.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// How every connection is made.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// Options for ssh.
    pub(super) options: Vec<String>,
    /// Whether somebody may be asked for a password.
    pub(super) prompts: Prompts,
}

/// Where the news of one host go.
#[derive(Clone)]
pub(super) struct Teller {
    /// Which of the hosts.
    pub(super) number: usize,
    /// To whoever shows them.
    pub(super) to: Sender<(usize, News)>,
}

impl Teller {
    /// Tells it.
    pub(super) async fn tell(&self, news: News) {
        // Nobody listens any more: then nobody is told.
        let _ = self.to.send((self.number, news)).await;
    }
}

/// Follows a host to the end of its story.
pub(super) async fn follow(
    host: &Destination,
    errand: &Errand,
    way: &Way,
    teller: &Teller,
    desk: &Desk,
) {
    let errand = &errand.at(host);
    // What is pushed may be another configuration than the one that runs.
    let runs = host.configuration().filter(|_| errand.cargo.is_none());
    let mut story = Story::new(host.after_ssh(), runs, errand);
    let mut saying = errand
        .confirm
        .map(|by| Saying::new(by, host, way, teller, desk));
    let followed = async {
        if let Some(cargo) = &errand.cargo
            && let Err(fate) = copying::bring(host, cargo, way, teller).await
        {
            return fate;
        }
        connections(host, way, &mut story, teller, &mut saying).await
    };
    let fate = match errand.timeout {
        None => followed.await,
        // What is dropped ends ssh; the daemon goes on.
        Some(limit) => match timeout(limit, followed).await {
            Ok(fate) => fate,
            Err(_elapsed) => story.gave_up(limit),
        },
    };
    let fate = Box::new(fate.with_host(host));
    teller.tell(News::Over(fate)).await;
}

async fn connections(
    host: &Destination,
    way: &Way,
    story: &mut Story<'_>,
    teller: &Teller,
    saying: &mut Option<Saying<'_>>,
) -> Fate {
    loop {
        teller.tell(News::Connecting).await;
        let arguments = ssh::arguments(host, &way.options, way.prompts, story.words());
        let lines = match Lines::start(ssh::PROGRAM, &arguments, LINE_BYTES) {
            Ok(lines) => lines,
            Err(error) => return no_ssh(&error),
        };
        let ended = match listen(lines, story, teller, saying).await {
            Ok(Heard::Fate(fate)) => return fate,
            Ok(Heard::Ended(ended)) => ended,
            Err(error) => return no_ssh(&error),
        };
        let (code, stderr) = (ended.status.code(), &ended.stderr_tail);
        match story.ended(code, stderr, clock::awake(), random::bits()) {
            Next::Over(fate) => return versions::told(fate, code, host, way).await,
            Next::Again { after, why } => {
                teller.tell(News::Lost { why, after }).await;
                sleep(after).await;
            }
        }
    }
}

/// What a connection ended with.
enum Heard {
    /// The far side's last word.
    Fate(Fate),
    /// No such word.
    Ended(Ended),
}

async fn listen(
    mut lines: Lines,
    story: &mut Story<'_>,
    teller: &Teller,
    saying: &mut Option<Saying<'_>>,
) -> std::io::Result<Heard> {
    while let Some(line) = next(&mut lines, saying).await? {
        let said = match line {
            Line::Whole(line) => far::understand(&line),
            Line::TooLong => Err(Malformed::TooLong),
        };
        match story.hear(said) {
            None => {}
            Some(News::Over(fate)) => {
                // It has nothing to say any more, and is not waited for if it stays.
                let _ = timeout(LEAVING, lines.end()).await;
                return Ok(Heard::Fate(*fate));
            }
            Some(news) => teller.tell(news).await,
        }
        if let Some(saying) = saying {
            saying.window(story.in_window());
        }
    }
    lines.end().await.map(Heard::Ended)
}

/// The next line; meanwhile what there is to say in a confirm window is said.
async fn next(lines: &mut Lines, saying: &mut Option<Saying<'_>>) -> std::io::Result<Option<Line>> {
    let said = async {
        match saying {
            Some(saying) => saying.go_on().await,
            None => std::future::pending().await,
        }
    };
    // Both arms are cancel-safe: what was read is kept, and so is what is being
    // said.
    tokio::select! {
        line = lines.next() => line,
        never = said => match never {},
    }
}

/// Asks a host for one answer, which is all that it writes, and comes with one
/// of these codes.
///
/// # Errors
/// How it ended instead.
pub(super) async fn ask(
    host: &Destination,
    errand: &Errand,
    way: &Way,
    codes: &[i32],
) -> Result<(Vec<u8>, i32), Fate> {
    ask_aloud(host, errand, way, codes, None).await
}

/// The same, and whoever follows the host is told of connections that fail.
pub(super) async fn ask_aloud(
    host: &Destination,
    errand: &Errand,
    way: &Way,
    codes: &[i32],
    teller: Option<&Teller>,
) -> Result<(Vec<u8>, i32), Fate> {
    let mut story = Story::new(host.after_ssh(), host.configuration(), errand);
    loop {
        let arguments = ssh::arguments(host, &way.options, way.prompts, &errand.first);
        let answer = answer(&arguments).await?;
        let code = answer.ended.status.code();
        if let Some(code) = code.filter(|code| codes.contains(code))
            && !answer.bytes.is_empty()
        {
            return Ok((answer.bytes, code));
        }
        let stderr = &answer.ended.stderr_tail;
        match story.ended(code, stderr, clock::awake(), random::bits()) {
            Next::Over(fate) => return Err(versions::told(fate, code, host, way).await),
            Next::Again { after, why } => {
                if let Some(teller) = teller {
                    teller.tell(News::Lost { why, after }).await;
                }
                sleep(after).await;
            }
        }
    }
}

/// What a command wrote, and how it ended.
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    ended: Ended,
}

/// Runs a command to its end.
///
/// # Errors
/// How it ended instead.
pub(super) async fn answer(arguments: &[String]) -> Result<Answer, Fate> {
    let lines = Lines::start(ssh::PROGRAM, arguments, LINE_BYTES);
    let mut lines = lines.map_err(|error| no_ssh(&error))?;
    let mut bytes = Vec::new();
    while let Some(line) = lines.next().await.map_err(|error| no_ssh(&error))? {
        let line = match line {
            Line::Whole(line) if bytes.len() + line.len() < ANSWER_BYTES => line,
            Line::Whole(_) | Line::TooLong => return Err(endless()),
        };
        bytes.extend(line);
        bytes.push(b'\n');
    }
    let ended = lines.end().await.map_err(|error| no_ssh(&error))?;
    Ok(Answer { bytes, ended })
}

fn endless() -> Fate {
    let why = format!(
        "its answer is longer than {} MiB, or has a line of more than {} KiB",
        ANSWER_BYTES / 1024 / 1024,
        LINE_BYTES / 1024
    );
    let to_do = "ask for less, such as with a smaller --limit, or run the command on the host";
    Fate::of(Ending::Error).because(why).with_remedy(to_do)
}

/// ssh could not be run, or not be listened to.
pub(super) fn no_ssh(error: &std::io::Error) -> Fate {
    Fate::of(Ending::Error)
        .because(format!("ssh cannot be run: {error}"))
        .with_remedy("install OpenSSH's client, or run the command on the host")
}
