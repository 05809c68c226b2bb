//! Changes as they happen: a stream that goes on where it was cut off.

use std::io::{BufReader, Read, Write};
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use ureq::BodyReader;

use super::event_stream::{EventStream, StreamEvent};
use super::problem::ClientError;
use super::service::Service;
use super::show::ChangeTable;
use super::view::{ChangeView, DeviceView, ForgottenView, GapView, SnapshotCompleteView};
use super::{ExitOutcome, Printer, next_line, understand};
use crate::config::WatchSelection;

/// How long to wait before a stream is asked for again, if the service does not say.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// An event as a line of JSON.
#[derive(Serialize)]
struct EventLine<'a> {
    event: &'a str,
    data: &'a RawValue,
}

/// Shows changes until as many are shown as may be. A service that cannot be asked at first is an error; one that goes away is
/// waited for.
pub fn watch(
    service: &Service,
    selection: &WatchSelection,
    output: &mut Printer<impl Write>,
) -> Result<ExitOutcome, ClientError> {
    let mut watch = Watch {
        stream: EventStream::default(),
        table: ChangeTable::new(output.colour),
        left: selection.filter.limit.unwrap_or(u64::MAX),
    };
    let mut body = service.events(selection, None)?;
    if !output.json {
        watch.table.heading().iter().try_for_each(|line| output.line(line))?;
        output.flush()?;
    }
    loop {
        match watch.follow(body, output) {
            Ok(()) => return Ok(ExitOutcome::Done),
            Err(error) if error.may_pass() => {
                note(&format!("{}; going on when it is back", super::table::plain(&error.to_string())));
            }
            Err(error) => return Err(error),
        }
        body = watch.again(service, selection)?;
    }
}

struct Watch {
    stream: EventStream,
    table: ChangeTable,
    left: u64,
}

impl Watch {
    /// Shows what comes until enough is shown; a stream that ends earlier is broken off.
    fn follow(&mut self, body: impl Read, output: &mut Printer<impl Write>) -> Result<(), ClientError> {
        self.stream.begin();
        let mut reader = BufReader::new(body);
        while self.left > 0 {
            let Some(line) = next_line(&mut reader)? else {
                return Err(ClientError::Broken(std::io::ErrorKind::UnexpectedEof.into()));
            };
            let event = self.stream.line(&line).map_err(|_too_large| ClientError::NotUnderstood)?;
            if let Some(event) = event {
                self.show(&event, output)?;
                output.flush()?;
            }
        }
        Ok(())
    }

    fn show(&mut self, event: &StreamEvent, output: &mut Printer<impl Write>) -> Result<(), ClientError> {
        let is_change = event.name == "change";
        self.left -= u64::from(is_change);
        if output.json {
            let line = EventLine { event: &event.name, data: understand(&event.data)? };
            let line = serde_json::to_string(&line).map_err(|_| ClientError::NotUnderstood)?;
            return output.line(&line);
        }
        match event.name.as_str() {
            "change" => {
                let change: ChangeView = understand(&event.data)?;
                return self.table.change(&change).iter().try_for_each(|line| output.line(line));
            }
            "device" => {
                let device: DeviceView = understand(&event.data)?;
                let unchanged = ChangeView { device, previous_status: None };
                return self.table.change(&unchanged).iter().try_for_each(|line| output.line(line));
            }
            "snapshot_complete" => {
                let SnapshotCompleteView { devices } = understand(&event.data)?;
                note(&format!("these were all, {devices} devices; from here on it is changes"));
            }
            "forgotten" => {
                let ForgottenView { device_type, id } = understand(&event.data)?;
                let name = super::table::plain(&format!("{device_type} {id}"));
                note(&format!("{name} has been forgotten by an administrator"));
            }
            "gap" => {
                let gap: GapView = understand(&event.data)?;
                note(&format!("changes are missing here ({})", super::table::plain(&gap.reason)));
            }
            // Of a later version.
            _ => {}
        }
        Ok(())
    }

    /// The stream that follows, once there is one.
    fn again(
        &self,
        service: &Service,
        selection: &WatchSelection,
    ) -> Result<BodyReader<'static>, ClientError> {
        let mut wait = self.stream.retry().unwrap_or(RETRY).min(RETRY_MAX);
        loop {
            std::thread::park_timeout(wait);
            match service.events(selection, self.stream.last_event_id()) {
                Err(error) if error.may_pass() => wait = (wait * 2).min(RETRY_MAX),
                asked => return asked,
            }
        }
    }
}

/// A remark beside the output. Where nobody can read it, nobody misses it.
fn note(text: &str) {
    writeln!(std::io::stderr(), "devstatus: {text}").ok();
}
