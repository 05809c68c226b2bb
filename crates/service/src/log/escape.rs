//! Keeps what others have sent from forging the log: control characters, line separators and what turns the direction of
//! writing round are written as escapes, in whatever part of a line they stand.

use std::fmt::{self, Write};

use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{DefaultFields, FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use system::is_unseen;

/// Fields as tracing formats them, on one line: a line break is written as `\n`, other characters as `\u{…}`.
pub struct TextFields;

impl<'writer> FormatFields<'writer> for TextFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut escaping = EscapingText(&mut writer);
        DefaultFields::new().format_fields(Writer::new(&mut escaping), fields)
    }
}

struct EscapingText<'a, 'writer>(&'a mut Writer<'writer>);

impl Write for EscapingText<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, character)) = rest.char_indices().find(|(_, character)| is_unseen(*character)) {
            self.0.write_str(&rest[..at])?;
            write!(self.0, "{}", character.escape_default())?;
            rest = &rest[at + character.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// An event as JSON in which every such character is written as `\uXXXX`, not only those that JSON forbids.
pub struct JsonEvent<F>(pub F);

impl<S, N, F> FormatEvent<S, N> for JsonEvent<F>
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
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        // All of them stand in texts: the rest of a line is ASCII, and has no line break but the last.
        let mut units = [0; 2];
        for character in line.trim_end_matches('\n').chars() {
            if is_unseen(character) {
                for unit in character.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            } else {
                writer.write_char(character)?;
            }
        }
        writer.write_char('\n')
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const HOSTILE: &str = "a\nb\r\u{1b}[2J\u{85}\u{2028}\u{202e}\u{200b}\u{feff}é\"\\n";

    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines() -> (Arc<Mutex<Vec<u8>>>, impl Fn() -> Lines) {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&bytes);
        (bytes, move || Lines(Arc::clone(&writer)))
    }

    fn log_hostile() {
        let _span = tracing::info_span!("span", text = %HOSTILE).entered();
        tracing::info!(shown = %HOSTILE, debugged = ?HOSTILE, plain = HOSTILE, "{HOSTILE}");
    }

    fn logged(bytes: &Mutex<Vec<u8>>) -> String {
        String::from_utf8(bytes.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_line_of_text_stays_one_line_whatever_was_sent() {
        let (bytes, writer) = lines();
        let layer =
            tracing_subscriber::fmt::layer().fmt_fields(TextFields).with_writer(writer).with_ansi(false);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log_hostile);
        let text = logged(&bytes);
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.contains(is_unseen), "{line}");
        assert!(line.contains(r"a\nb\r") && line.contains(r"\u{2028}\u{202e}\u{200b}\u{feff}é"), "{line}");
    }

    #[test]
    fn a_line_of_json_says_the_same_and_has_no_such_character() {
        let (bytes, writer) = lines();
        let layer = tracing_subscriber::fmt::layer().with_writer(writer).json().map_event_format(JsonEvent);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log_hostile);
        let text = logged(&bytes);
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.contains(is_unseen), "{line}");
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(json["fields"]["message"], HOSTILE);
        assert_eq!(json["fields"]["plain"], HOSTILE);
    }
}
