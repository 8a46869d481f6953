//! A transport that tells a meter what it brings.
//!
//! In: a transport. Out: the same, that ends where the meter says so. Must
//! not: change what is said.

use std::any::Any;
use std::borrow::Cow;
use std::io::{self, BufRead, BufWriter, Read};
use std::sync::Arc;

use gix::bstr::BStr;
use gix::protocol::transport::client::blocking_io::{
    ExtendedBufRead, HandleProgress, ReadlineBufRead, RequestWriter, SetServiceResponse, Transport,
};
use gix::protocol::transport::client::{
    Capabilities, Error, MessageKind, TransportWithoutIO, WriteMode,
};
use gix::protocol::transport::packetline::PacketLineRef;
use gix::protocol::transport::{Protocol, Service};

use crate::fetcher::meter::Meter;

/// Whatever connects us to a server.
type Connection = Box<dyn Transport + Send>;

/// A transport under a meter. What it says before the handshake is over goes
/// past the meter, and is bounded by time and the process's memory alone.
pub(super) struct Metered {
    inner: Connection,
    meter: Arc<Meter>,
}

impl Metered {
    pub(super) fn new(inner: Connection, meter: Arc<Meter>) -> Self {
        Self { inner, meter }
    }

    /// Goes on under another meter: each exchange has its own.
    pub(super) fn measure_with(&mut self, meter: Arc<Meter>) {
        self.meter = meter;
    }
}

/// Servers of protocol 0 and 1 tell beforehand which refs are symbolic. gix
/// panics where one of those does not follow; nobody here asks for them.
fn without_symrefs(told: &Capabilities) -> Result<Capabilities, Error> {
    let mut kept = vec![0];
    for capability in told.iter().filter(|it| it.name() != "symref") {
        if kept.len() > 1 {
            kept.push(b' ');
        }
        kept.extend_from_slice(capability.name());
        if let Some(value) = capability.value() {
            kept.push(b'=');
            kept.extend_from_slice(value);
        }
    }
    let (capabilities, _) = Capabilities::from_bytes(&kept)?;
    Ok(capabilities)
}

/// Servers of protocol 2 offer to tell of a HEAD that leads nowhere yet. gix asks for it wherever it is offered; nobody here asks
/// for HEAD, and it is eleven bytes of every poll.
fn without_unborn(told: &Capabilities) -> Result<Capabilities, Error> {
    let mut kept = b"version 2".to_vec();
    for capability in told.iter() {
        kept.push(b'\n');
        kept.extend_from_slice(capability.name());
        let others = capability.values().into_iter().flatten();
        let others: Vec<_> = others
            .filter(|value| capability.name() != "ls-refs" || *value != "unborn")
            .collect();
        if !others.is_empty() {
            kept.push(b'=');
            kept.extend_from_slice(&gix::bstr::join(b" ", others));
        }
    }
    Ok(Capabilities::from_lines(kept.into())?)
}

impl TransportWithoutIO for Metered {
    fn set_identity(&mut self, identity: gix::sec::identity::Account) -> Result<(), Error> {
        self.inner.set_identity(identity)
    }

    fn to_url(&self) -> Cow<'_, BStr> {
        self.inner.to_url()
    }

    fn supported_protocol_versions(&self) -> &[Protocol] {
        self.inner.supported_protocol_versions()
    }

    fn connection_persists_across_multiple_requests(&self) -> bool {
        self.inner.connection_persists_across_multiple_requests()
    }

    /// It was set up before. gix would do it anew for a fetch, from what the
    /// repository says alone: without token, authorities and proxy.
    fn configure(&mut self, _config: &dyn Any) -> Result<(), gix::Error> {
        Ok(())
    }
}

impl Transport for Metered {
    fn handshake<'a>(
        &mut self,
        service: Service,
        extra_parameters: &'a [(&'a str, Option<&'a str>)],
    ) -> Result<SetServiceResponse<'_>, Error> {
        let meter = &self.meter;
        let response = self.inner.handshake(service, extra_parameters)?;
        let capabilities = match response.actual_protocol {
            Protocol::V2 => without_unborn(&response.capabilities)?,
            Protocol::V0 | Protocol::V1 => without_symrefs(&response.capabilities)?,
        };
        Ok(SetServiceResponse {
            capabilities,
            refs: response.refs.map(|lines| {
                let meter = Arc::clone(meter);
                Box::new(Reader { lines, meter }) as Box<dyn ReadlineBufRead>
            }),
            actual_protocol: response.actual_protocol,
        })
    }

    fn request(
        &mut self,
        write_mode: WriteMode,
        on_into_read: MessageKind,
        trace: bool,
    ) -> Result<RequestWriter<'_>, Error> {
        let meter = Arc::clone(&self.meter);
        // What is written goes through one more encoder, so the one inside is left out.
        let (writer, lines) = self
            .inner
            .request(write_mode, on_into_read, trace)?
            .into_parts();
        let reader = Box::new(Reader { lines, meter });
        Ok(RequestWriter::new_from_bufread(
            // Over http each piece is handed to another thread, which is waited for; a request has a dozen of a few bytes.
            BufWriter::new(writer),
            reader,
            write_mode,
            on_into_read,
            trace,
        ))
    }
}

/// Reads lines, or a pack, for somebody with a meter.
struct Reader<R> {
    lines: R,
    meter: Arc<Meter>,
}

impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Reader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.meter.begin_wait()?;
        let filled = self.lines.fill_buf();
        self.meter.end_wait();
        filled
    }

    fn consume(&mut self, amount: usize) {
        self.meter.take_pack(amount);
        self.lines.consume(amount);
    }
}

impl<R: ReadlineBufRead> ReadlineBufRead for Reader<R> {
    fn readline(&mut self) -> Option<io::Result<Result<PacketLineRef<'_>, gix::Error>>> {
        let line = self.lines.readline()?;
        let length = match &line {
            Ok(Ok(PacketLineRef::Data(data))) => data.len(),
            Ok(_) | Err(_) => 0,
        };
        Some(self.meter.take(length).and(line))
    }

    fn readline_str(&mut self, line: &mut String) -> io::Result<usize> {
        let length = self.lines.readline_str(line)?;
        self.meter.take(length)?;
        Ok(length)
    }
}

impl<'a, R: ExtendedBufRead<'a>> ExtendedBufRead<'a> for Reader<R> {
    fn set_progress_handler(&mut self, handle_progress: Option<HandleProgress<'a>>) {
        self.lines.set_progress_handler(handle_progress);
    }

    fn peek_data_line(&mut self) -> Option<io::Result<Result<&[u8], Error>>> {
        self.lines.peek_data_line()
    }

    fn reset(&mut self, version: Protocol) {
        self.lines.reset(version);
    }

    fn stopped_at(&self) -> Option<MessageKind> {
        self.lines.stopped_at()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_can_do_is_kept_but_for_an_unborn_head() {
        let told = b"version 2\nagent=git/2.47.3\nls-refs=unborn more\nfetch=shallow unborn\nserver-option\n";
        let told = Capabilities::from_lines(told.as_slice().into()).expect("capabilities");
        let kept = without_unborn(&told).expect("capabilities");
        let one = |name| {
            kept.capability(name)
                .and_then(|it| it.value().map(ToString::to_string))
        };
        assert_eq!(one("ls-refs").as_deref(), Some("more"));
        assert_eq!(one("agent").as_deref(), Some("git/2.47.3"));
        assert_eq!(one("fetch").as_deref(), Some("shallow unborn"));
        assert!(kept.contains("server-option") && one("server-option").is_none());
        assert_eq!(kept.iter().count(), told.iter().count());

        let bare =
            Capabilities::from_lines("version 2\nls-refs=unborn\n".into()).expect("capabilities");
        let bare = without_unborn(&bare).expect("capabilities");
        assert!(bare.contains("ls-refs"));
    }
}
