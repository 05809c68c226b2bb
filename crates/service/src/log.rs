//! The log of the process: which lines are written, and in which form. Each place that logs decides what it says.

mod escape;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io;

use cli::client;
use cli::config::{LogFormat, LogLevel, LogSettings};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::progress::Screen;

/// Where our own lines come from: the crates of the workspace.
const OWN_TARGETS: [&str; 16] = [
    "alerting",
    "cli",
    "devstatus",
    "formats",
    "http_api",
    "http_views",
    "mqtt",
    "presence",
    "republish",
    "server",
    "service",
    "serving",
    "simulator",
    "store",
    "system",
    "webhooks",
];

/// Our own lines at the level asked for; of the libraries' only what is wrong. What is returned writes them, and can show
/// a bar among them.
pub fn start_log(settings: LogSettings) -> Screen {
    let level = match settings.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let filter = Targets::new()
        .with_targets(OWN_TARGETS.map(|target| (target, level)))
        .with_default(level.min(LevelFilter::ERROR));
    let is_terminal = io::IsTerminal::is_terminal(&io::stderr());
    let screen = Screen::new(is_terminal && settings.format == LogFormat::Text);
    // A log that cannot be written, to a terminal that was closed, must not end an orderly stop.
    let log = tracing_subscriber::fmt::layer()
        .with_writer(screen.clone())
        .with_target(false)
        .log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(filter);
    match settings.format {
        LogFormat::Text => {
            let may_colour = is_terminal && client::may_colour();
            registry.with(log.fmt_fields(escape::TextFields).with_ansi(may_colour)).init();
        }
        LogFormat::Json => registry.with(log.json().map_event_format(escape::JsonEvent)).init(),
    }
    log_panics();
    screen
}

/// A panic is a line of the log like any other, so that a reader of JSON can read it. What goes on after it is for
/// those to decide who catch it.
fn log_panics() {
    std::panic::set_hook(Box::new(|fault| {
        let message = fault.payload_as_str().unwrap_or("of an unknown kind");
        let location = fault.location().map(ToString::to_string);
        // Empty unless RUST_BACKTRACE asks for it.
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        tracing::error!(location, backtrace, "internal error: {message}");
    }));
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_one_log_line_with_message_and_place() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let writer = {
            let lines = Arc::clone(&lines);
            move || Lines(Arc::clone(&lines))
        };
        let log = tracing_subscriber::fmt().json().with_writer(writer).finish();
        tracing::subscriber::with_default(log, || {
            let before = std::panic::take_hook();
            log_panics();
            let number = 7;
            assert!(std::panic::catch_unwind(|| panic!("it is {number},\nnot 8")).is_err());
            std::panic::set_hook(before);
        });
        let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(&text).expect("one line of JSON");
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["fields"]["message"], "internal error: it is 7,\nnot 8");
        assert!(
            line["fields"]["location"].as_str().unwrap().starts_with("crates/service/src/log.rs:"),
            "{line}"
        );
    }
}
