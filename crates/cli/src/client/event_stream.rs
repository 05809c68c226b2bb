//! What comes over the wire as Server-Sent Events, line by line, as the HTML standard reads it (pure).

use std::time::Duration;

/// An event of a device has about a thousand bytes; one without an end would fill the memory.
const EVENT_MAX_BYTES: usize = 1 << 20;

/// An event is larger than any that the service sends.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEvent {
    pub name: String,
    pub data: String,
}

/// Takes lines, gives events, and remembers where a stream can go on.
#[derive(Debug, Default)]
pub struct EventStream {
    name: String,
    data: Option<String>,
    id: Option<String>,
    last_event_id: Option<String>,
    retry: Option<Duration>,
}

impl EventStream {
    /// The id after which the next stream goes on.
    pub fn last_event_id(&self) -> Option<&str> {
        self.last_event_id.as_deref()
    }

    /// How long the service asks to wait before that.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// A new stream begins: of an event that was broken off nothing is kept.
    pub fn begin(&mut self) {
        self.name.clear();
        self.data = None;
        self.id.clone_from(&self.last_event_id);
    }

    /// Takes a line without its end; gives the event that it ends.
    pub fn line(&mut self, line: &str) -> Result<Option<StreamEvent>, TooLarge> {
        if line.is_empty() {
            return Ok(self.end());
        }
        if self.data.as_ref().map_or(0, String::len) + line.len() > EVENT_MAX_BYTES {
            return Err(TooLarge);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // What no header can carry is no id that can be given back.
            "id" if !value.contains(char::is_control) => self.id = Some(value.to_owned()),
            "retry" => self.retry = value.parse().ok().map(Duration::from_millis).or(self.retry),
            // A comment, or a field of another time.
            _ => {}
        }
        Ok(None)
    }

    fn end(&mut self) -> Option<StreamEvent> {
        self.last_event_id.clone_from(&self.id);
        let name = std::mem::take(&mut self.name);
        self.data.take().map(|data| StreamEvent { name, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(stream: &mut EventStream, text: &str) -> Vec<(String, String)> {
        text.lines()
            .filter_map(|line| stream.line(line).unwrap())
            .map(|event| (event.name, event.data))
            .collect()
    }

    #[test]
    fn events_have_names_and_data_and_the_position_after_them_is_remembered() {
        let mut stream = EventStream::default();
        let text =
            "retry: 2000\nid: a-1\n\nid: a-2\nevent: change\ndata: {\"a\":1}\n\n: keep-alive\nid: a-3\n\n";
        assert_eq!(events(&mut stream, text), [("change".to_owned(), "{\"a\":1}".to_owned())]);
        assert_eq!((stream.last_event_id(), stream.retry()), (Some("a-3"), Some(Duration::from_secs(2))));
        assert_eq!(events(&mut stream, "data:a\ndata: b\ndata\n\n"), [(String::new(), "a\nb\n".to_owned())]);
        assert_eq!(stream.last_event_id(), Some("a-3"), "an event without an id does not move it");
    }

    #[test]
    fn an_event_that_is_broken_off_does_not_count() {
        let mut stream = EventStream::default();
        assert!(events(&mut stream, "id: a-1\n\nid: a-2\nevent: change\ndata: {}").is_empty());
        assert_eq!(stream.last_event_id(), Some("a-1"));
        stream.begin();
        assert!(events(&mut stream, "\n").is_empty());
        assert_eq!(stream.last_event_id(), Some("a-1"));
    }

    #[test]
    fn an_event_without_an_end_is_refused_before_it_fills_the_memory() {
        let mut stream = EventStream::default();
        let line = format!("data: {}", "x".repeat(1_000));
        let taken = (0..10_000).take_while(|_| stream.line(&line) == Ok(None)).count();
        assert!((1_000..1_100).contains(&taken), "{taken}");
    }
}
