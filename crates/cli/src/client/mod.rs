//! Asks a running service and shows its answers to a person, or as JSON to a program. The client knows the
//! names in the answers; their meaning is the service's.

mod alerts;
mod confirm;
mod event_stream;
mod problem;
mod series;
mod service;
mod show;
mod table;
mod tls;
mod view;
mod watch;
mod webhooks;

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

pub use self::confirm::confirms_keys;
pub use self::problem::ClientError;
pub use self::table::plain;

use self::alerts::MadeSilence;
use self::series::SeriesView;
use self::service::Service;
use self::show::DeviceTable;
use self::view::{DeviceView, SummaryView};
use self::webhooks::OutcomeView;
use crate::config::{
    AlertQuestion, ClientSettings, EndpointName, ListSelection, NamedDevice, Question, Rotation,
    SilenceQuestion, SummarySelection, WebhookQuestion,
};

/// Rows that are aligned with each other; the next ones may be wider.
const PAGE: usize = 200;
/// Text of rows that wait to be aligned: lines may be long.
const PAGE_MAX_BYTES: usize = 4 << 20;
/// No line of an answer is longer: a device has about a thousand bytes.
const LINE_MAX_BYTES: u64 = 1 << 20;

/// What the service said, as an exit code tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitOutcome {
    /// All was shown that was asked for.
    Done,
    Connected,
    Disconnected,
    NeverConnected,
    Unknown,
}

impl ExitOutcome {
    /// 1 is a failure and 2 a bad setting, so these begin behind them.
    pub fn exit_code(self) -> u8 {
        match self {
            ExitOutcome::Done | ExitOutcome::Connected => 0,
            ExitOutcome::Disconnected => 3,
            ExitOutcome::NeverConnected => 4,
            ExitOutcome::Unknown => 5,
        }
    }

    fn of_status(status: &str) -> Self {
        match status {
            "connected" => ExitOutcome::Connected,
            "disconnected" => ExitOutcome::Disconnected,
            "never_connected" => ExitOutcome::NeverConnected,
            _ => ExitOutcome::Unknown,
        }
    }
}

/// Asks and shows; of changes until Ctrl-C.
pub async fn run(settings: ClientSettings) -> Result<ExitOutcome, ClientError> {
    let is_endless = matches!(settings.question, Question::Watch(_));
    let asking = tokio::task::spawn_blocking(move || ask(settings));
    let asked = tokio::select! {
        asked = asking => asked.map_err(io::Error::other)?,
        interrupted = tokio::signal::ctrl_c(), if is_endless => interrupted.map(|()| ExitOutcome::Done).map_err(ClientError::from),
    };
    match asked {
        // The reader has read enough.
        Err(ClientError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitOutcome::Done),
        asked => asked,
    }
}

fn ask(settings: ClientSettings) -> Result<ExitOutcome, ClientError> {
    let service = Service::new(settings.service)?;
    let stdout = io::stdout();
    let colour = stdout.is_terminal() && may_colour();
    let mut output = Printer { to: io::BufWriter::new(stdout.lock()), colour, json: settings.json };
    let outcome = match settings.question {
        Question::Get(named) => device(&service, &named, &mut output)?,
        Question::Forget(named) => {
            service.delete(&service::device_path(&named))?;
            ExitOutcome::Done
        }
        Question::List(selection) => devices(&service, &selection, &mut output)?,
        Question::Watch(selection) => watch::watch(&service, &selection, &mut output)?,
        Question::Summary(SummarySelection { last: None, .. }) => summary(&service, &mut output)?,
        Question::Summary(SummarySelection { last: Some(last), source }) => {
            series(&service, last, source.as_deref(), &mut output)?
        }
        Question::Webhooks(question) => webhooks(&service, &question, &mut output)?,
        Question::Alerts(question) => alerts(&service, &question, &mut output)?,
        Question::Silence(question) => silences(&service, &question, &mut output)?,
    };
    output.flush()?;
    Ok(outcome)
}

/// Whether a terminal is to be written to in colour. Not where `NO_COLOR` is set, and not to nothing, as <https://no-color.org> has it;
/// and not on a terminal that says of itself that it can do nothing.
pub fn may_colour() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !is_set("NO_COLOR") && !is_dumb
}

/// Where answers are shown, and how.
struct Printer<W> {
    to: W,
    colour: bool,
    json: bool,
}

impl<W: Write> Printer<W> {
    fn line(&mut self, line: &str) -> Result<(), ClientError> {
        writeln!(self.to, "{line}").map_err(ClientError::Output)
    }

    /// An answer as it came, or as lines for a person.
    fn answer(
        &mut self,
        text: &str,
        lines: impl FnOnce(bool) -> Result<Vec<String>, ClientError>,
    ) -> Result<ExitOutcome, ClientError> {
        let lines = match (self.json, text.trim()) {
            (true, "") => Vec::new(),
            (true, json) => vec![json.to_owned()],
            (false, _) => lines(self.colour)?,
        };
        lines.iter().try_for_each(|line| self.line(line))?;
        Ok(ExitOutcome::Done)
    }

    fn flush(&mut self) -> Result<(), ClientError> {
        self.to.flush().map_err(ClientError::Output)
    }
}

fn device(
    service: &Service,
    named: &NamedDevice,
    output: &mut Printer<impl Write>,
) -> Result<ExitOutcome, ClientError> {
    let text = service.text(&service::device_path(named))?;
    let device: DeviceView = understand(&text)?;
    output.answer(&text, |colour| Ok(show::device(&device, colour)))?;
    Ok(ExitOutcome::of_status(&device.status))
}

fn summary(service: &Service, output: &mut Printer<impl Write>) -> Result<ExitOutcome, ClientError> {
    let text = service.text("/api/v1/summary")?;
    let summary: SummaryView = understand(&text)?;
    output.answer(&text, |colour| Ok(show::summary(&summary, colour)))
}

/// The endpoints of webhooks, the deliveries of one, or what one is told.
fn webhooks(
    service: &Service,
    question: &WebhookQuestion,
    output: &mut Printer<impl Write>,
) -> Result<ExitOutcome, ClientError> {
    let path_of = |name: &EndpointName, rest| service::webhook_path(&name.endpoint) + rest;
    let (path, is_order) = match question {
        WebhookQuestion::List => ("/api/v1/webhooks".to_owned(), false),
        WebhookQuestion::Deliveries(name) => (path_of(name, "/deliveries"), false),
        WebhookQuestion::Test(name) => (path_of(name, "/test"), true),
        WebhookQuestion::Enable(name) => (path_of(name, "/enable"), true),
        WebhookQuestion::Redeliver(what) => (service::redelivery_path(what), true),
        WebhookQuestion::Rotate(Rotation { endpoint, overlap }) => {
            let overlap = overlap.map(|overlap| format!("?overlap={}", system::period::text(overlap)));
            (service::webhook_path(endpoint) + "/secret" + &overlap.unwrap_or_default(), true)
        }
    };
    let text = if is_order { service.post(&path)? } else { service.text(&path)? };
    let lines = match question {
        WebhookQuestion::List => webhooks::endpoints(&understand(&text)?, output.colour),
        WebhookQuestion::Deliveries(_) => webhooks::deliveries(&understand(&text)?, output.colour),
        WebhookQuestion::Test(_) | WebhookQuestion::Enable(_) | WebhookQuestion::Redeliver(_) => {
            let outcome: OutcomeView = understand(&text)?;
            if !outcome.done {
                return Err(ClientError::NotTaken(outcome.failure.unwrap_or_default()));
            }
            vec!["done".to_owned()]
        }
        WebhookQuestion::Rotate(_) => webhooks::secret(&understand(&text)?),
    };
    output.answer(&text, |_| Ok(lines))
}

/// Alerts, or what is told about them.
fn alerts(
    service: &Service,
    question: &AlertQuestion,
    output: &mut Printer<impl Write>,
) -> Result<ExitOutcome, ClientError> {
    let text = service.request(alerts::alert_request(question))?;
    output.answer(&text, |colour| match question {
        AlertQuestion::List(_) => Ok(alerts::alerts(&understand(&text)?, colour)),
        AlertQuestion::Ack(_) | AlertQuestion::Unack(_) => Ok(Vec::new()),
    })
}

/// Silences and windows, or what is told about them.
fn silences(
    service: &Service,
    question: &SilenceQuestion,
    output: &mut Printer<impl Write>,
) -> Result<ExitOutcome, ClientError> {
    let text = service.request(alerts::silence_request(question))?;
    output.answer(&text, |colour| match question {
        SilenceQuestion::List => Ok(alerts::silences(&understand(&text)?, colour)),
        SilenceQuestion::Add(_) => Ok(vec![understand::<MadeSilence>(&text)?.id]),
        SilenceQuestion::End(_) => Ok(Vec::new()),
    })
}

/// The series of the time until now. The service is asked for it by this machine's clock.
fn series(
    service: &Service,
    last: Duration,
    source: Option<&str>,
    output: &mut Printer<impl Write>,
) -> Result<ExitOutcome, ClientError> {
    let text = service.text(&service::series_path(last, source))?;
    output.answer(&text, |colour| Ok(series::series(&understand::<SeriesView>(&text)?, colour)))
}

/// The devices as they come, in pages that are aligned each.
fn devices(
    service: &Service,
    selection: &ListSelection,
    output: &mut Printer<impl Write>,
) -> Result<ExitOutcome, ClientError> {
    let mut reader = BufReader::new(service.devices(selection)?);
    let mut left = selection.filter.limit.unwrap_or(u64::MAX);
    let mut table = DeviceTable::new(output.colour);
    let (mut page, mut page_bytes) = (Vec::<DeviceView>::new(), 0);
    while left > 0
        && let Some(line) = next_line(&mut reader)?
    {
        left -= 1;
        if output.json {
            let device: &RawValue = understand(&line)?;
            output.line(device.get())?;
            continue;
        }
        page.push(understand(&line)?);
        page_bytes += line.len();
        if page.len() == PAGE || page_bytes >= PAGE_MAX_BYTES {
            table.page(&page).iter().try_for_each(|line| output.line(line))?;
            page.clear();
            page_bytes = 0;
        }
    }
    if !output.json {
        table.page(&page).iter().try_for_each(|line| output.line(line))?;
    }
    Ok(ExitOutcome::Done)
}

/// The next line without its end; `None` at the end of the answer.
fn next_line(reader: &mut impl BufRead) -> Result<Option<String>, ClientError> {
    let mut line = Vec::new();
    reader.take(LINE_MAX_BYTES).read_until(b'\n', &mut line).map_err(ClientError::Broken)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.pop_if(|last| *last == b'\n').is_none() {
        return Err(ClientError::Broken(io::ErrorKind::UnexpectedEof.into()));
    }
    line.pop_if(|last| *last == b'\r');
    String::from_utf8(line).map(Some).map_err(|_| ClientError::NotUnderstood)
}

/// What a text says, if it is an answer of this service.
fn understand<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, ClientError> {
    serde_json::from_str(text).map_err(|_| ClientError::NotUnderstood)
}
