//! Reports on their way to the journal: a bounded queue, and a thread of its
//! own, which alone waits for journald.
//!
//! In: events and spans. Out: the same, in the same order, to the layer that
//! speaks with journald. Must not: hold up whoever reports; what the journal
//! does not take in time is counted and dropped, and the count is told once it
//! takes reports again.
//!
//! tracing-journald writes into a socket that blocks once journald has stopped
//! reading, and that nobody else can get at: so it is given a thread that may
//! stand still. Every value is text by then, as it is in the journal anyway.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use tracing::field::{Field, Value, ValueSet, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Span, Subscriber, dispatcher};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// How many reports wait: those of many deployments, or a few seconds of
/// everything; a report is a few hundred bytes.
pub(super) const CAPACITY: usize = 1024;

/// How long the end of the process waits for the last reports.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The layer that puts reports into the queue.
pub(super) struct Delivery {
    queue: SyncSender<Item>,
    lost: Arc<AtomicU64>,
}

/// The other end, for the end of the process.
pub(super) struct Flush {
    queue: SyncSender<Item>,
}

impl Flush {
    /// Returns when what was reported so far is delivered, or cannot be.
    pub(super) fn wait(&self) {
        let (done, delivered) = sync_channel(1);
        if self.queue.try_send(Item::Flush(done)).is_ok() {
            // A journal that stands still does not keep the process.
            let _ = delivered.recv_timeout(LAST_WORDS);
        }
    }
}

/// Starts the thread. `tell_lost` reports, as everything else is reported, how
/// many reports were dropped.
pub(super) fn start(
    layer: impl Layer<Unfiltered> + Send + Sync,
    capacity: usize,
    tell_lost: impl Fn(u64) + Send + 'static,
) -> io::Result<(Delivery, Flush)> {
    let (queue, items) = sync_channel(capacity);
    let lost = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&lost);
    let journal = Dispatch::new(unfiltered().with(layer));
    std::thread::Builder::new()
        .name("journal".to_owned())
        .spawn(move || deliver(&items, &journal, &counted, tell_lost))?;
    let flush = Flush {
        queue: queue.clone(),
    };
    Ok((Delivery { queue, lost }, flush))
}

/// What the delivering layer stands on.
pub(super) type Unfiltered = tracing_subscriber::layer::Layered<LevelFilter, Registry>;

/// Asked whether anybody wants a report, it says no: or it would have every
/// library trace everything. What was wanted is given to it without asking.
fn unfiltered() -> Unfiltered {
    Registry::default().with(LevelFilter::OFF)
}

/// What waits.
enum Item {
    Report(Report),
    /// Asks to be told when everything before is delivered.
    Flush(SyncSender<()>),
}

/// An event, and the spans in which it happened, outermost first.
struct Report {
    spans: Vec<Captured>,
    event: Captured,
}

/// The values of an event or a span, as text, by the index of their field.
#[derive(Clone)]
struct Captured {
    metadata: &'static Metadata<'static>,
    values: Vec<Option<String>>,
}

impl Captured {
    fn new(metadata: &'static Metadata<'static>) -> Self {
        let values = vec![None; metadata.fields().len()];
        Self { metadata, values }
    }

    fn set(&mut self, field: &Field, text: String) {
        if let Some(value) = self.values.get_mut(field.index()) {
            *value = Some(text);
        }
    }

    /// Hands the values over in the form in which they were recorded.
    fn replayed<R>(&self, replay: impl FnOnce(&ValueSet<'_>) -> R) -> R {
        let values: Vec<Option<&dyn Value>> = self
            .values
            .iter()
            .map(|value| value.as_ref().map(|text| text as &dyn Value))
            .collect();
        replay(&self.metadata.fields().value_set_all(&values))
    }
}

impl Visit for Captured {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }
}

impl<S> Layer<S> for Delivery
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut captured = Captured::new(attributes.metadata());
        attributes.record(&mut captured);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(captured);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(captured) = span.extensions_mut().get_mut::<Captured>()
        {
            values.record(captured);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut captured = Captured::new(event.metadata());
        event.record(&mut captured);
        let scope = context.event_scope(event).into_iter();
        let spans = scope
            .flat_map(|scope| scope.from_root())
            .filter_map(|span| span.extensions().get::<Captured>().cloned());
        let report = Report {
            spans: spans.collect(),
            event: captured,
        };
        if self.queue.try_send(Item::Report(report)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn deliver(items: &Receiver<Item>, journal: &Dispatch, lost: &AtomicU64, tell_lost: impl Fn(u64)) {
    loop {
        let item = match items.try_recv() {
            Ok(item) => item,
            // What waited was delivered; what was lost came after it, and there
            // is room for the count, which goes through the queue as well.
            Err(TryRecvError::Empty) => {
                let lost = lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    tell_lost(lost);
                }
                match items.recv() {
                    Ok(item) => item,
                    Err(_) => return,
                }
            }
            Err(TryRecvError::Disconnected) => return,
        };
        match item {
            Item::Report(report) => {
                dispatcher::with_default(journal, || replay(&report.spans, &report.event));
            }
            // Whoever asked may have stopped waiting.
            Item::Flush(done) => drop(done.try_send(())),
        }
    }
}

/// Enters the spans anew, and has the event happen in them.
fn replay(spans: &[Captured], event: &Captured) {
    match spans.split_first() {
        None => event.replayed(|values| Event::dispatch(event.metadata, values)),
        Some((outer, inner)) => {
            let span = outer.replayed(|values| Span::new(outer.metadata, values));
            span.in_scope(|| replay(inner, event));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc;

    use tracing::subscriber::with_default;
    use tracing::{info, info_span, warn};

    use super::*;

    /// Stands for journald: takes one report for each word that it is given.
    struct Journal {
        takes: Mutex<Receiver<()>>,
        taken: mpsc::Sender<String>,
    }

    /// The names and texts of everything in a report.
    #[derive(Clone, Default)]
    struct Text(String);

    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            self.0.push_str(&format!("{}={value:?} ", field.name()));
        }

        fn record_str(&mut self, field: &Field, value: &str) {
            self.0.push_str(&format!("{}={value} ", field.name()));
        }
    }

    impl<S> Layer<S> for Journal
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
            let mut text = Text(format!("[{}] ", attributes.metadata().name()));
            attributes.record(&mut text);
            let span = context.span(id).expect("it was just made");
            span.extensions_mut().insert(text);
        }

        fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
            let gate = self.takes.lock().expect("nobody panics");
            // Without anybody to give the word, it takes everything.
            let _ = gate.recv();
            let mut text = Text::default();
            for span in context.event_scope(event).into_iter().flatten() {
                let span = span.extensions().get::<Text>().cloned();
                text.0.push_str(&span.unwrap_or_default().0);
            }
            event.record(&mut text);
            let text = format!("{} {}", event.metadata().level(), text.0.trim_end());
            self.taken.send(text).expect("the test listens");
        }
    }

    struct Bed {
        delivery: Delivery,
        flush: Flush,
        word: mpsc::Sender<()>,
        taken: Receiver<String>,
        lost: Receiver<u64>,
    }

    fn bed(capacity: usize) -> Bed {
        let (word, takes) = mpsc::channel();
        let (to_taken, taken) = mpsc::channel();
        let (to_lost, lost) = mpsc::channel();
        let journal = Journal {
            takes: Mutex::new(takes),
            taken: to_taken,
        };
        let tell_lost = move |count| to_lost.send(count).expect("the test listens");
        let (delivery, flush) = start(journal, capacity, tell_lost).expect("a thread");
        Bed {
            delivery,
            flush,
            word,
            taken,
            lost,
        }
    }

    #[test]
    fn a_report_arrives_with_its_fields_and_spans() {
        let bed = bed(CAPACITY);
        drop(bed.word);
        with_default(Registry::default().with(bed.delivery), || {
            let span =
                info_span!("deployment", df_deployment = %"d1", late = tracing::field::Empty);
            span.record("late", 7);
            span.in_scope(|| info!(df_commit = "c1", number = 5_u64, none = None::<u64>, "told"));
            warn!("{} without a span", "one");
        });
        bed.flush.wait();
        let taken: Vec<_> = bed.taken.try_iter().collect();
        assert_eq!(
            taken,
            [
                "INFO [deployment] df_deployment=d1 late=7 message=told df_commit=c1 number=5",
                "WARN message=one without a span",
            ]
        );
    }

    #[test]
    fn a_journal_that_stands_still_holds_nobody_up_and_is_told_what_it_missed() {
        const SENT: u64 = 20;
        let bed = bed(4);
        with_default(Registry::default().with(bed.delivery), || {
            for number in 0..SENT {
                info!(number, "told");
            }
        });
        // The journal has not taken any, and everybody went on.
        assert!(bed.taken.try_recv().is_err());
        drop(bed.word);
        let lost = bed.lost.recv().expect("it is told");
        let taken: Vec<_> = bed.taken.try_iter().collect();
        let number = |text: &String| text.rsplit('=').next().map(str::to_owned);
        let expected: Vec<_> = (0..SENT - lost).map(|it| Some(it.to_string())).collect();
        assert_eq!(taken.iter().map(number).collect::<Vec<_>>(), expected);
        assert!((4..=5).contains(&taken.len()), "{taken:?}");
    }

    #[test]
    fn the_end_of_the_process_does_not_wait_for_a_journal_that_stands_still() {
        let bed = bed(1);
        with_default(Registry::default().with(bed.delivery), || {
            info!("one");
            info!("two");
            info!("three");
        });
        bed.flush.wait();
        assert!(bed.taken.try_recv().is_err());
    }
}
