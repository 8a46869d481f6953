//! One request, one answer, in time: the fetcher's protocol from our side.
//!
//! In: a request and a deadline. Out: the answer that belongs to it. Must not:
//! go on after anything went wrong; request and answer would drift apart.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use crate::fetcher::wire::{Answer, LINE_LIMIT, Request};

/// A stream on which every request so far has been answered.
///
/// [`Conversation::ask`] takes it and gives it back only with the answer. So
/// neither an error nor a dropped future leaves one behind that is half-way.
pub(super) struct Conversation<S> {
    stream: BufReader<S>,
}

/// An answer, and the conversation to go on with.
pub(super) struct Reply<S> {
    pub(super) conversation: Conversation<S>,
    pub(super) answer: Answer,
}

/// Why there is no answer, and no conversation any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The deadline passed.
    #[error("no answer within {} s", .0.as_secs_f32())]
    Late(Duration),
    /// The other side hung up before it answered.
    #[error("the fetcher ended before it answered")]
    Ended,
    /// The answer is longer than the protocol allows.
    #[error("the fetcher's answer is longer than {LINE_LIMIT} bytes")]
    TooLong,
    /// The answer is not one.
    #[error("the fetcher's answer cannot be understood")]
    Malformed(#[source] serde_json::Error),
    /// The stream failed.
    #[error("the fetcher cannot be talked to")]
    Stream(#[source] io::Error),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<S> {
    /// Begins, on a stream that nobody has used.
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Asks, and waits for the answer until the deadline.
    pub(super) async fn ask(
        self,
        request: &Request,
        deadline: Duration,
    ) -> Result<Reply<S>, Broken> {
        timeout(deadline, self.exchange(request))
            .await
            .unwrap_or(Err(Broken::Late(deadline)))
    }

    async fn exchange(mut self, request: &Request) -> Result<Reply<S>, Broken> {
        let mut line = serde_json::to_vec(request).map_err(Broken::Malformed)?;
        line.push(b'\n');
        let sent = self.stream.write_all(&line).await;
        sent.map_err(ended_or_failed)?;
        let answer = self.read_answer().await?;
        Ok(Reply {
            conversation: self,
            answer,
        })
    }

    async fn read_answer(&mut self) -> Result<Answer, Broken> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(LINE_LIMIT as u64);
        let read = limited.read_until(b'\n', &mut line).await;
        read.map_err(ended_or_failed)?;
        match line.last() {
            Some(b'\n') => serde_json::from_slice(&line).map_err(Broken::Malformed),
            Some(_) if line.len() == LINE_LIMIT => Err(Broken::TooLong),
            Some(_) | None => Err(Broken::Ended),
        }
    }
}

/// Writing to who hung up fails; reading from them just ends. It is the same.
fn ended_or_failed(error: io::Error) -> Broken {
    let hung_up = matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    );
    if hung_up {
        Broken::Ended
    } else {
        Broken::Stream(error)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    /// Long enough for everything that does not hang.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn request() -> Request {
        serde_json::from_str(
            r#"{"request":"poll","remote":{"name":"origin","url":"file:///r","branch":"main"}}"#,
        )
        .expect("a request")
    }

    fn pair() -> (Conversation<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(LINE_LIMIT);
        (Conversation::new(ours), theirs)
    }

    /// Asks somebody who answers this, and keeps the line open or hangs up.
    async fn answered(text: &[u8], hangs_up: bool) -> Result<Answer, Broken> {
        let (conversation, mut theirs) = pair();
        let fetcher = async {
            theirs.read_exact(&mut [0; 16]).await.expect("a request");
            theirs.write_all(text).await.expect("room for it");
            (!hangs_up).then_some(theirs)
        };
        let request = request();
        let (reply, _kept) = tokio::join!(conversation.ask(&request, PATIENCE), fetcher);
        reply.map(|reply| reply.answer)
    }

    #[tokio::test]
    async fn requests_are_lines_and_answers_come_in_order() {
        let (mut conversation, theirs) = pair();
        let mut theirs = BufReader::new(theirs);
        for _ in 0..3 {
            let fetcher = async {
                let mut line = String::new();
                theirs.read_line(&mut line).await.expect("a line");
                let answer = b"{\"answer\":\"branch-missing\"}\n";
                theirs.write_all(answer).await.expect("room for it");
                line
            };
            let request = request();
            let (reply, line) = tokio::join!(conversation.ask(&request, PATIENCE), fetcher);
            let reply = reply.expect("an answer");
            assert_eq!(reply.answer, Answer::BranchMissing);
            let sent: Request = serde_json::from_str(&line).expect("a request");
            assert_eq!(sent, request);
            conversation = reply.conversation;
        }
    }

    #[tokio::test]
    async fn silence_ends_with_the_deadline() {
        let (conversation, _silent) = pair();
        let broken = conversation
            .ask(&request(), Duration::from_millis(20))
            .await;
        assert!(matches!(broken.err(), Some(Broken::Late(_))));
    }

    #[tokio::test]
    async fn one_who_does_not_even_listen_ends_with_the_deadline() {
        let (ours, _deaf) = duplex(8);
        let conversation = Conversation::new(ours);
        let broken = conversation
            .ask(&request(), Duration::from_millis(20))
            .await;
        assert!(matches!(broken.err(), Some(Broken::Late(_))));
    }

    #[tokio::test]
    async fn half_an_answer_is_none() {
        for text in ["", "{\"answer\":\"branch-missing\"}"] {
            let broken = answered(text.as_bytes(), true).await;
            assert!(matches!(broken, Err(Broken::Ended)), "{broken:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_without_end_is_not_read_on() {
        let broken = answered(&[b'x'; LINE_LIMIT], false).await;
        assert!(matches!(broken, Err(Broken::TooLong)), "{broken:?}");
    }

    #[tokio::test]
    async fn what_is_no_answer_is_refused() {
        for text in ["nonsense\n", "{\"answer\":\"obey\"}\n", "\n", "\u{7f}\n"] {
            let broken = answered(text.as_bytes(), false).await;
            assert!(matches!(broken, Err(Broken::Malformed(_))), "{broken:?}");
        }
    }
}
