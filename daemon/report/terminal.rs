//! Reports as lines for people: time, level, message, then the facts.
//!
//! In: events and the spans they happen in. Out: one line each, without
//! anything that steers the terminal. Must not: show what only programs need.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::host::clock;
use crate::model::text::one_line;

/// How much of one fact is shown, in characters: a store path fits.
const FACT_LIMIT: usize = 400;

/// Writes every event as a line.
pub struct Terminal<W> {
    writer: W,
}

impl<W> Terminal<W> {
    /// Writes to what the writer makes, such as `std::io::stderr`.
    pub fn new(writer: W) -> Self {
        Self { writer }
    }
}

impl<S, W> Layer<S> for Terminal<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut facts = Facts::default();
        attributes.record(&mut facts);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(facts);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(facts) = span.extensions_mut().get_mut::<Facts>()
        {
            values.record(facts);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut facts = Facts::default();
        event.record(&mut facts);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Facts>() {
                facts.add(outer);
            }
        }
        let time = clock::now().wall.strftime("%H:%M:%S");
        let line = format!("{time} {:5} {facts}\n", event.metadata().level().as_str());
        // A terminal that is gone is no reason to stop.
        let _ = self.writer.make_writer().write_all(line.as_bytes());
    }
}

/// The message and the fields of an event or a span.
#[derive(Default)]
struct Facts {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Facts {
    /// Adds what a span says and the event does not.
    fn add(&mut self, outer: &Self) {
        for (name, value) in &outer.fields {
            if !self.fields.iter().any(|(known, _)| known == name) {
                self.fields.push((name, value.clone()));
            }
        }
    }

    fn note(&mut self, field: &Field, value: &str) {
        let value = one_line(value, FACT_LIMIT);
        match field.name() {
            "message" => self.message = value,
            "message_id" => {}
            name if value.is_empty() || name.starts_with("log.") => {}
            name => self
                .fields
                .push((name.strip_prefix("df_").unwrap_or(name), value)),
        }
    }
}

impl Visit for Facts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.note(field, &format!("{value:?}"));
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        for (name, value) in &self.fields {
            formatter.write_char(' ')?;
            if value.contains(' ') {
                write!(formatter, "{name}=\"{value}\"")?;
            } else {
                write!(formatter, "{name}={value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// What a test's events wrote.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no test panics in it").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(events: impl FnOnce()) -> Vec<String> {
        let written = Written::default();
        let writer = written.clone();
        let layer = Terminal::new(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, events);
        let bytes = written.0.lock().expect("no test panics in it");
        String::from_utf8_lossy(&bytes)
            .lines()
            .map(|line| line.split_once(' ').expect("a time, then the rest").1)
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn a_line_shows_message_and_facts_without_what_programs_need() {
        let written = lines(|| {
            let span = tracing::info_span!("deployment", df_deployment = "00c0ffee");
            let _entered = span.enter();
            tracing::info!(
                message_id = "0123",
                df_commit = %"0123456789ab",
                df_duration_ms = 12_u64,
                df_detail = "",
                "the system is built"
            );
            tracing::warn!(
                df_message = "two words\n\u{1b}[2J",
                df_deployment = "x",
                "hostile"
            );
        });
        assert_eq!(
            written,
            [
                "INFO  the system is built commit=0123456789ab duration_ms=12 deployment=00c0ffee",
                "WARN  hostile message=\"two words\\n\\u{1b}[2J\" deployment=x",
            ]
        );
    }
}
