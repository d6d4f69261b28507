//! What is logged, and how.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

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

/// Starts logging to standard error. An unknown level means `info`.
pub fn start(level: &str) {
    let level: LevelFilter = level.parse().unwrap_or(LevelFilter::INFO);
    let mut targets = Targets::new()
        .with_default(LevelFilter::ERROR)
        .with_target("warung", level);
    for library in LIBRARIES {
        let quiet = if level == LevelFilter::TRACE {
            LevelFilter::DEBUG
        } else {
            LevelFilter::OFF
        };
        targets = targets.with_target(*library, quiet);
    }
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .with_filter(targets);
    // A second start, in a test, keeps the first one's settings.
    let _ = tracing_subscriber::registry().with(layer).try_init();
}
