//! What is logged, and how.

use std::fmt;
use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{self, FormatEvent, FormatFields, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use crate::config::{self, LogFormat};

/// The library's log tells numbers and pairing codes at level info: it is off, unless somebody asks
/// for it with `trace`.
const LIBRARIES: &[&str] = &[
    "whatsapp_rust",
    "wacore",
    "wacore_libsignal",
    "wacore_noise",
    "wacore_appstate",
    "wacore_binary",
    "whatsapp_rust_tokio_transport",
    "Client",
    "Bot",
    "hickory_resolver",
    "hickory_net",
    "hickory_proto",
];

impl From<config::Level> for LevelFilter {
    fn from(level: config::Level) -> Self {
        match level {
            config::Level::Off => Self::OFF,
            config::Level::Error => Self::ERROR,
            config::Level::Warn => Self::WARN,
            config::Level::Info => Self::INFO,
            config::Level::Debug => Self::DEBUG,
            config::Level::Trace => Self::TRACE,
        }
    }
}

/// Starts logging to standard error. With `journal_stream` (systemd's `JOURNAL_STREAM`) that of the
/// journal, lines begin with their priority.
pub fn start(level: LevelFilter, format: LogFormat, journal_stream: Option<&str>) {
    let mut targets = Targets::new()
        .with_default(LevelFilter::ERROR.min(level))
        .with_target("warung", level);
    for library in LIBRARIES {
        let quiet = if level == LevelFilter::TRACE {
            LevelFilter::DEBUG
        } else {
            LevelFilter::OFF
        };
        targets = targets.with_target(*library, quiet);
    }
    let journal = journal_stream.is_some_and(is_standard_error);
    let colours = std::io::stderr().is_terminal();
    let layer = layer(format, journal, colours, std::io::stderr).with_filter(targets);
    // A second start, in a test, keeps the first one's settings.
    let _ = tracing_subscriber::registry().with(layer).try_init();
}

/// Whether standard error is the stream `DEVICE:INODE`. The variable alone says little: it is
/// inherited by a program whose output was sent elsewhere since (systemd.exec(5)).
fn is_standard_error(stream: &str) -> bool {
    let Ok(ours) = rustix::fs::fstat(std::io::stderr()) else {
        return false;
    };
    stream == format!("{}:{}", ours.st_dev, ours.st_ino)
}

fn layer<W>(
    format: LogFormat,
    journal: bool,
    colours: bool,
    writer: W,
) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let plain = format::format().with_target(false).with_ansi(colours);
    match (format, journal) {
        (LogFormat::Text, false) => layer.with_ansi(colours).event_format(plain).boxed(),
        // The journal knows the time.
        (LogFormat::Text, true) => {
            let lines = Prioritised(plain.without_time());
            layer.with_ansi(false).event_format(lines).boxed()
        }
        (LogFormat::Json, journal) => {
            let json = plain.json().flatten_event(true);
            let layer = layer.with_ansi(false).fmt_fields(JsonFields::new());
            match journal {
                false => layer.event_format(json).boxed(),
                true => layer.event_format(Prioritised(json)).boxed(),
            }
        }
    }
}

/// Puts the priority before each line, as sd-daemon(3) says; the journal takes it off.
struct Prioritised<F>(F);

impl<S, N, F> FormatEvent<S, N> for Prioritised<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        self.0.format_event(context, writer, event)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The lines of one event per level.
    fn lines(format: LogFormat, journal: bool) -> Vec<String> {
        let written = Written::default();
        let writer = written.clone();
        let layer = layer(format, journal, false, move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(session = "shop", "it fails");
            tracing::warn!("it may fail");
            tracing::info!("it works");
            tracing::debug!("how it works");
        });
        let all = written.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8(all.clone()).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_line_for_people_begins_with_time_and_level() {
        let lines = lines(LogFormat::Text, false);
        let words: Vec<&str> = lines[0].split_whitespace().collect();
        assert!(words[0].ends_with('Z'), "{lines:?}");
        assert_eq!(words[1..], ["ERROR", "it", "fails", "session=\"shop\""]);
    }

    #[test]
    fn a_line_for_programs_is_one_json_object() {
        for journal in [false, true] {
            let lines = lines(LogFormat::Json, journal);
            let line = lines[0].trim_start_matches("<3>");
            let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(row["level"], "ERROR");
            assert_eq!(row["message"], "it fails");
            assert_eq!(row["session"], "shop");
            assert!(row["timestamp"].is_string(), "{row}");
        }
    }

    #[test]
    fn the_journal_is_told_priorities_and_tells_the_time_itself() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let lines = lines(format, true);
            let priorities: Vec<&str> = lines.iter().map(|line| &line[..3]).collect();
            assert_eq!(priorities, ["<3>", "<4>", "<6>", "<7>"], "{lines:?}");
        }
        let text = lines(LogFormat::Text, true);
        assert!(!text[0].contains('Z'), "{text:?}");
    }
}
