//! Shows what happens: on a terminal, as plain lines, or as JSON.
//!
//! In: news by the number of the host. Out: standard output. Must not: decide
//! how anything ended.

use std::time::Duration;

use super::board::{Board, Colours, Row};
use super::fate::{Ending, Fate};
use super::story::News;
use super::{over, plain, words};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, print, write};
use crate::cli::patience::Sparing;
use crate::host::environment::{self, Terminal};
use crate::host::{clock, terminal};

/// How often a terminal is drawn.
pub(super) const TICK: Duration = Duration::from_millis(125);

/// What is shown of all hosts.
pub(super) struct Show {
    hosts: Vec<Host>,
    to: To,
}

struct Host {
    label: String,
    state: State,
    /// How often lines tell how far its build is.
    sparing: Sparing,
}

enum State {
    /// Nothing was heard of it, nor asked.
    Waiting,
    /// It is under way.
    Going(Row),
    /// It is over.
    Over(Fate),
}

enum To {
    Terminal {
        board: Board,
        /// Lines that are to stay, and are not drawn yet.
        stays: Vec<String>,
    },
    Lines,
    Json,
}

impl Show {
    /// For hosts of these names.
    pub(super) fn new(labels: Vec<String>, output: Output) -> Self {
        let to = match output {
            Output::Json => To::Json,
            Output::Text => match colours() {
                Some(colours) => To::Terminal {
                    board: Board::new(labels.iter().map(String::as_str), colours),
                    stays: Vec::new(),
                },
                None => To::Lines,
            },
        };
        let host = |label| Host {
            label,
            state: State::Waiting,
            sparing: Sparing::default(),
        };
        Self {
            hosts: labels.into_iter().map(host).collect(),
            to,
        }
    }

    /// Takes news of a host.
    pub(super) fn take(&mut self, number: usize, news: News) -> Result<(), Failure> {
        let is_alone = self.hosts.len() == 1;
        let Some(host) = self.hosts.get_mut(number) else {
            return Ok(());
        };
        match &mut self.to {
            To::Json => print(&plain::json(&host.label, &news))?,
            To::Lines => {
                // Every connection begins like that; and of one host alone the
                // summary tells how it ended, and more.
                let is_told = over(&news).is_some_and(|fate| is_alone && !fate.ending.is_fine());
                let is_much = is_told_all_the_time(&news) && !host.sparing.is_due();
                if news != News::Connecting && !is_told && !is_much {
                    print(&plain::text(&host.label, &news))?;
                }
            }
            To::Terminal { board, stays } => {
                if let (Some(fate), Some(size)) = (over(&news), terminal::size()) {
                    let took = clock::awake().saturating_sub(host.since());
                    stays.push(board.over(&host.label, took, fate, size));
                }
            }
        }
        host.take(news);
        Ok(())
    }

    /// Whether there is a terminal that a question can be put on.
    pub(super) fn can_ask(&self) -> bool {
        matches!(self.to, To::Terminal { .. })
    }

    /// Asks about a host from the next drawing on, or about none.
    pub(super) fn ask(&mut self, number: Option<usize>) {
        let To::Terminal { board, .. } = &mut self.to else {
            return;
        };
        let host = number.and_then(|number| self.hosts.get(number));
        board.ask(host.map(|host| words::question(&host.label)));
    }

    /// Whoever was asked has ended a line.
    pub(super) fn answered(&mut self) {
        if let To::Terminal { board, .. } = &mut self.to {
            board.typed();
        }
    }

    /// Draws a terminal again.
    pub(super) fn tick(&mut self) -> Result<(), Failure> {
        let To::Terminal { board, stays } = &mut self.to else {
            return Ok(());
        };
        // A terminal that is gone is nobody's loss.
        let Some(size) = terminal::size() else {
            return Ok(());
        };
        let going = self.hosts.iter().filter_map(|host| host.row());
        let rows: Vec<Row> = going.cloned().collect();
        let is_waiting = |host: &&Host| matches!(host.state, State::Waiting);
        let waiting = self.hosts.iter().filter(is_waiting).count();
        let stays = std::mem::take(stays);
        write(&board.draw(&stays, &rows, waiting, clock::awake(), size))
    }

    /// Leaves the terminal as it is to stay.
    pub(super) fn leave(&mut self) -> Result<(), Failure> {
        self.tick()?;
        match &mut self.to {
            To::Terminal { board, .. } => write(&board.erase()),
            To::Lines | To::Json => Ok(()),
        }
    }

    /// Tells what all of it amounts to.
    pub(super) fn summary(&mut self, exit: Exit) -> Result<(), Failure> {
        self.leave()?;
        let fates: Vec<(&str, &Fate)> = self.hosts.iter().filter_map(Host::fate).collect();
        match self.to {
            To::Json => {
                let endings: Vec<Ending> = fates.iter().map(|(_, fate)| fate.ending).collect();
                print(&plain::json_summary(&endings, exit))
            }
            To::Lines => words::summary(&fates).map_or(Ok(()), |it| print(&it)),
            // Apart from the lines of the hosts.
            To::Terminal { .. } => {
                words::summary(&fates).map_or(Ok(()), |it| print(&format!("\n{it}")))
            }
        }
    }
}

/// Whether there is more of it than anybody reads line by line.
fn is_told_all_the_time(news: &News) -> bool {
    matches!(
        news,
        News::Progress(_)
            | News::Copying {
                so_far: Some(_),
                ..
            }
    )
}

/// Whether there is a terminal to draw on, and in colours.
fn colours() -> Option<Colours> {
    terminal::size()?;
    match environment::terminal() {
        Terminal::Coloured => Some(Colours::Used),
        Terminal::Plain => Some(Colours::Unused),
        Terminal::Dumb => None,
    }
}

impl Host {
    fn since(&self) -> Duration {
        self.row().map_or_else(clock::awake, |row| row.since)
    }

    fn row(&self) -> Option<&Row> {
        match &self.state {
            State::Going(row) => Some(row),
            State::Waiting | State::Over(_) => None,
        }
    }

    fn fate(&self) -> Option<(&str, &Fate)> {
        match &self.state {
            State::Over(fate) => Some((&self.label, fate)),
            State::Waiting | State::Going(_) => None,
        }
    }

    fn take(&mut self, news: News) {
        let row = Row {
            label: self.label.clone(),
            since: self.since(),
            last: words::news(&news),
            is_lost: matches!(news, News::Lost { .. } | News::NotCopied { .. }),
        };
        self.state = match news {
            // The whole state was for programs, and has been told.
            News::Over(fate) => State::Over(Fate {
                snapshot: None,
                ..*fate
            }),
            News::Connecting if matches!(self.state, State::Going(_)) => return,
            News::Connecting
            | News::Copying { .. }
            | News::NotCopied { .. }
            | News::Pushed { .. }
            | News::Told { .. }
            | News::Phase(_)
            | News::Progress(_)
            | News::Restarted
            | News::Unexpected { .. }
            | News::Confirmed(_)
            | News::Rejected(_)
            | News::Unsaid { .. }
            | News::Lost { .. }
            | News::Back { .. }
            | News::Other(_) => State::Going(row),
        };
    }
}
