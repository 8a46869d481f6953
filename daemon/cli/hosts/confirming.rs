//! `--confirm`: what is said in a host's confirm window, over a connection that is
//! made for that alone.
//!
//! In: the deployment that is in its window, and who says whether it is good. Out:
//! the word to the host, and news. Must not: take the window's end from anybody
//! but the daemon, which goes by health in any case; nor take silence for a word.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::oneshot::{self, Receiver, Sender};
use tokio::time::sleep;

use super::connection::{Teller, Way};
use super::destination::Destination;
use super::errand::Confirm;
use super::far::{LINE_BYTES, Word};
use super::ssh;
use super::stderr::{last_line, refusal};
use super::story::{News, SSH_FAILED};
use crate::host::lines::{Ended, Lines};

/// Between two attempts to get in.
const PAUSE: Duration = Duration::from_secs(3);

/// Why a system is led back from that somebody said `n` to.
const REASON: &str = "whoever deployed it said so";

/// Whether a system is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is.
    Good,
    /// It is not.
    Bad,
}

/// The questions for whoever sits at the terminal, one after the other.
#[derive(Debug, Default)]
pub(super) struct Desk {
    questions: RefCell<VecDeque<(usize, Sender<Verdict>)>>,
}

impl Desk {
    /// Asks about a host. Whoever drops what is returned takes the question back.
    fn ask(&self, host: usize) -> Receiver<Verdict> {
        let (to, verdict) = oneshot::channel();
        self.questions.borrow_mut().push_back((host, to));
        verdict
    }

    /// The host that is asked about now.
    pub(super) fn asks(&self) -> Option<usize> {
        let mut questions = self.questions.borrow_mut();
        // Those whose window is over.
        questions.retain(|(_, to)| !to.is_closed());
        questions.front().map(|(host, _)| *host)
    }

    /// Takes a line that was typed; what is neither yes nor no is no answer.
    pub(super) fn answer(&self, line: &str) {
        let verdict = match line.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Verdict::Good,
            "n" | "no" => Verdict::Bad,
            _ => return,
        };
        if self.asks().is_some()
            && let Some((_, to)) = self.questions.borrow_mut().pop_front()
        {
            // A window that has ended since needs no answer.
            let _ = to.send(verdict);
        }
    }
}

/// What is said in one host's windows.
pub(super) struct Saying<'a> {
    by: Confirm,
    host: &'a Destination,
    way: &'a Way,
    teller: &'a Teller,
    desk: &'a Desk,
    /// The deployment that something is said of.
    of: Option<Word>,
    going: Option<Pin<Box<dyn Future<Output = ()> + 'a>>>,
}

impl<'a> Saying<'a> {
    /// Nothing is said yet.
    pub(super) fn new(
        by: Confirm,
        host: &'a Destination,
        way: &'a Way,
        teller: &'a Teller,
        desk: &'a Desk,
    ) -> Self {
        Self {
            by,
            host,
            way,
            teller,
            desk,
            of: None,
            going: None,
        }
    }

    /// Takes which deployment is in its window. Of each something is said once; a
    /// window that is over ends the attempt.
    pub(super) fn window(&mut self, deployment: Option<&Word>) {
        match deployment {
            None => self.going = None,
            Some(deployment) if self.of.as_ref() == Some(deployment) => {}
            Some(deployment) => {
                self.of = Some(deployment.clone());
                let (host, way, teller) = (self.host, self.way, self.teller);
                let asked = match self.by {
                    Confirm::Ssh => None,
                    Confirm::Ask => Some(self.desk.ask(teller.number)),
                };
                let deployment = deployment.clone();
                self.going = Some(Box::pin(async move {
                    let verdict = match asked {
                        None => Ok(Verdict::Good),
                        Some(answer) => answer.await,
                    };
                    // Nobody is there to answer: the window goes on.
                    if let Ok(verdict) = verdict {
                        say(host, way, teller, verdict, &deployment).await;
                    }
                }));
            }
        }
    }

    /// Goes on with what is being said, and never ends. Cancel-safe: it goes on
    /// the next time.
    pub(super) async fn go_on(&mut self) -> Infallible {
        if let Some(going) = &mut self.going {
            going.await;
            self.going = None;
        }
        std::future::pending().await
    }
}

/// Says it over a new connection, and tries again while none can be made: that is
/// what the window is for.
async fn say(host: &Destination, way: &Way, teller: &Teller, verdict: Verdict, deployment: &Word) {
    let words = words(verdict, deployment);
    let arguments = ssh::fresh_arguments(host, &way.options, way.prompts, &words);
    let mut is_told = false;
    loop {
        let (code, stderr) = match attempt(&arguments).await {
            Ok(ended) => (ended.status.code(), ended.stderr_tail),
            Err(error) => (None, format!("ssh cannot be run: {error}")),
        };
        let news = match (code, verdict) {
            (Some(0), Verdict::Good) => News::Confirmed(deployment.clone()),
            (Some(0), Verdict::Bad) => News::Rejected(deployment.clone()),
            (None | Some(SSH_FAILED), _) => {
                if !std::mem::replace(&mut is_told, true) {
                    let why = last_line(&stderr);
                    let why = why.unwrap_or_else(|| "no new connection".to_owned());
                    teller.tell(News::Unsaid { why }).await;
                }
                sleep(PAUSE).await;
                continue;
            }
            (Some(_), _) => News::Unsaid {
                why: refusal(&stderr).0,
            },
        };
        return teller.tell(news).await;
    }
}

/// The words for the far side.
fn words(verdict: Verdict, deployment: &Word) -> Vec<String> {
    let (verb, more) = match verdict {
        Verdict::Good => ("confirm", &[][..]),
        Verdict::Bad => ("reject", &["--reason", REASON][..]),
    };
    let words = [verb, "--deployment", deployment.as_str()];
    let words = words.into_iter().chain(more.iter().copied());
    words.map(str::to_owned).collect()
}

async fn attempt(arguments: &[String]) -> std::io::Result<Ended> {
    let mut lines = Lines::start(ssh::PROGRAM, arguments, LINE_BYTES)?;
    // The code says enough.
    while lines.next().await?.is_some() {}
    lines.end().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Word {
        Word::try_from(text.to_owned()).expect("it is a word")
    }

    #[test]
    fn questions_are_put_one_after_the_other_and_taken_back_with_their_window() {
        let desk = Desk::default();
        assert_eq!(desk.asks(), None);
        desk.answer("y");
        let mut first = desk.ask(0);
        let second = desk.ask(1);
        let mut third = desk.ask(2);
        assert_eq!(desk.asks(), Some(0));
        for line in ["", "maybe", "\u{1b}[A", "yn"] {
            desk.answer(line);
            assert_eq!(desk.asks(), Some(0), "{line:?} is no answer");
        }
        desk.answer(" Yes ");
        assert_eq!(first.try_recv(), Ok(Verdict::Good));
        drop(second);
        assert_eq!(desk.asks(), Some(2));
        desk.answer("n");
        assert_eq!(third.try_recv(), Ok(Verdict::Bad));
        assert_eq!(desk.asks(), None);
    }

    #[test]
    fn what_is_said_names_the_deployment() {
        let id = word("00c0ffee00c0ffee");
        assert_eq!(
            words(Verdict::Good, &id).join(" "),
            "confirm --deployment 00c0ffee00c0ffee"
        );
        assert_eq!(
            words(Verdict::Bad, &id).join(" "),
            "reject --deployment 00c0ffee00c0ffee --reason whoever deployed it said so"
        );
    }
}
