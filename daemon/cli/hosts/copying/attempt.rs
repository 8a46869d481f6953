//! One attempt to copy: a child, how far it is, and what became of it.
//!
//! In: a command. Out: news while it runs, and how it ended. Must not: leave it
//! running that took too long; nor tell more than anybody can see.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::super::connection::Teller;
use super::super::destination::Destination;
use super::super::far::LINE_BYTES;
use super::super::fate::{Ending, Fate};
use super::super::stderr::{is_final, refusal};
use super::super::story::News;
use crate::config::duration;
use crate::host::lines::{Line, Lines};
use crate::relay::copies::{Copied, Copies};

/// How long `nix` has to end its ssh, and itself, once it is told to.
const LEAVING: Duration = Duration::from_secs(2);

/// How often it is told how far the copy is.
const TELLING: Duration = Duration::from_millis(500);

/// How much of the end of what `nix` says is kept, in bytes.
const SAID_BYTES: usize = 4 * 1024;

/// What became of an attempt.
#[derive(Debug)]
pub(super) enum Attempt {
    There,
    Failed(Failed),
}

/// Why it is not there.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) ending: Ending,
    /// Safe to show.
    pub(super) why: String,
    pub(super) to_do: Option<String>,
    /// Trying again is of no use.
    pub(super) is_final: bool,
}

impl Failed {
    fn because_of(said: &str) -> Self {
        let (why, to_do) = refusal(said);
        Self {
            ending: Ending::Error,
            why,
            to_do,
            is_final: is_final(said),
        }
    }

    pub(super) fn late(limit: Duration) -> Self {
        Self {
            ending: Ending::GaveUp,
            why: format!("the copy took longer than {}", duration::show(limit)),
            to_do: Some("push again with a longer --copy-timeout".to_owned()),
            is_final: false,
        }
    }

    pub(super) fn fate(self, host: &Destination, attempts: u32) -> Fate {
        let times = match attempts {
            1 => String::new(),
            many => format!(", {many} times"),
        };
        let usual = || format!("see whether `ssh {} nix --version` works", host.after_ssh());
        Fate::of(self.ending)
            .because(format!(
                "not copied, nothing was changed: {}{times}",
                self.why
            ))
            .with_remedy(self.to_do.unwrap_or_else(usual))
    }
}

/// Tells how far the copy is, but not more often than anybody can see.
pub(super) struct Telling<'a> {
    teller: &'a Teller,
    paths: usize,
    told: Option<(Instant, Copied)>,
}

impl<'a> Telling<'a> {
    pub(super) async fn begin(teller: &'a Teller, paths: usize) -> Self {
        let so_far = None;
        teller.tell(News::Copying { paths, so_far }).await;
        Self {
            teller,
            paths,
            told: None,
        }
    }

    async fn take(&mut self, copied: Option<Copied>) {
        let Some(copied) = copied else { return };
        let now = Instant::now();
        let is_news = self
            .told
            .is_none_or(|(at, before)| now.duration_since(at) >= TELLING && before != copied);
        if is_news {
            self.told = Some((now, copied));
            let (paths, so_far) = (self.paths, Some(copied));
            self.teller.tell(News::Copying { paths, so_far }).await;
        }
    }
}

/// One attempt. Dropped, it ends with its child.
pub(super) async fn copy(
    program: &str,
    words: &[String],
    variables: &[(String, String)],
    limit: Duration,
    telling: &mut Telling<'_>,
) -> io::Result<Attempt> {
    let mut lines = Lines::of_stderr(program, words, variables, LINE_BYTES)?;
    let (mut copies, mut said) = (Copies::default(), String::new());
    let read = async {
        while let Some(line) = lines.next().await? {
            let Line::Whole(line) = line else { continue };
            if let Some(line) = copies.take(&line) {
                keep(&mut said, &line);
            }
            telling.take(copies.copied()).await;
        }
        Ok::<(), io::Error>(())
    };
    match timeout(limit, read).await {
        Ok(read) => read?,
        Err(_elapsed) => {
            lines.stop(LEAVING).await;
            return Ok(Attempt::Failed(Failed::late(limit)));
        }
    }
    let ended = lines.end().await?;
    Ok(match ended.status.success() {
        true => Attempt::There,
        false => Attempt::Failed(Failed::because_of(&said)),
    })
}

/// Keeps the end of what was said.
fn keep(said: &mut String, line: &str) {
    said.push_str(line);
    said.push('\n');
    let start = said.len().saturating_sub(SAID_BYTES);
    let start = (start..=said.len()).find(|at| said.is_char_boundary(*at));
    said.drain(..start.unwrap_or(0));
}

#[cfg(test)]
mod tests;
