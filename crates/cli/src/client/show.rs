//! Answers as lines for a person (pure).

use super::table::{Cell, Paint, TableColumns};
use super::view::{ChangeView, DeviceView, SummaryView};

/// Wide enough for most names, so that a table whose rows come one by one does not move.
const CHANGE_WIDTHS: [usize; 6] = [12, 16, 12, 12, 24, 15];
const DATED_AHEAD: &str =
    "yes: more than a day ahead of the service's clock, so one of the two clocks is wrong";
const STALE: &str = "yes: the link to the broker was lost, and this has not been confirmed since";

/// A list of devices, page by page, with a heading.
pub struct DeviceTable {
    columns: TableColumns,
    has_heading: bool,
}

impl DeviceTable {
    pub fn new(colour: bool) -> Self {
        Self { columns: TableColumns::new(&[], colour), has_heading: false }
    }

    pub fn page(&mut self, devices: &[DeviceView]) -> Vec<String> {
        let mut rows = Vec::with_capacity(devices.len() + 1);
        if !std::mem::replace(&mut self.has_heading, true) {
            rows.push(heading(&["TYPE", "ID", "STATUS", "SINCE", "ADDRESS", "WHY"]));
        }
        rows.extend(devices.iter().map(|device| {
            let mut row = names(device);
            row.push(status(&device.status));
            row.extend(details(device));
            row
        }));
        self.columns.lines(&rows)
    }
}

/// Changes, one by one.
pub struct ChangeTable {
    columns: TableColumns,
}

impl ChangeTable {
    pub fn new(colour: bool) -> Self {
        Self { columns: TableColumns::new(&CHANGE_WIDTHS, colour) }
    }

    pub fn heading(&mut self) -> Vec<String> {
        self.columns.lines(&[heading(&["TYPE", "ID", "WAS", "STATUS", "SINCE", "ADDRESS", "WHY"])])
    }

    pub fn change(&mut self, change: &ChangeView) -> Vec<String> {
        let mut row = names(&change.device);
        row.push(Cell::new(change.previous_status.as_deref().unwrap_or_default(), Paint::Faint));
        row.push(status(&change.device.status));
        row.extend(details(&change.device));
        self.columns.lines(&[row])
    }
}

fn names(device: &DeviceView) -> Vec<Cell> {
    vec![Cell::new(&device.device_type, Paint::Plain), Cell::new(&device.id, Paint::Strong)]
}

/// Since when, from where, and why not.
fn details(device: &DeviceView) -> [Cell; 3] {
    let optional = |text: &Option<String>| Cell::new(text.as_deref().unwrap_or_default(), Paint::Plain);
    [optional(&device.since), optional(&device.address), Cell::new(&why(device), Paint::Plain)]
}

/// The close code and what it means, or else the platform's words.
fn why(device: &DeviceView) -> String {
    let words = device.cause.as_deref().or(device.reason.as_deref()).unwrap_or_default();
    match device.close_code {
        Some(code) => format!("{code} {words}").trim_end().to_owned(),
        None => words.to_owned(),
    }
}

fn status(status: &str) -> Cell {
    let paint = match status {
        "connected" => Paint::Good,
        "disconnected" => Paint::Bad,
        _ => Paint::Faint,
    };
    Cell::new(&status.replace('_', " "), paint)
}

fn heading(names: &[&str]) -> Vec<Cell> {
    names.iter().map(|name| Cell::new(name, Paint::Faint)).collect()
}

/// A name and what follows it.
fn field(name: &str, value: Cell) -> Vec<Cell> {
    vec![Cell::new(name, Paint::Faint), value]
}

/// Everything that is known of one device.
pub fn device(device: &DeviceView, colour: bool) -> Vec<String> {
    let text = |value: &str| Cell::new(value, Paint::Plain);
    let mut rows = vec![
        field("device", Cell::new(&format!("{} {}", device.device_type, device.id), Paint::Strong)),
        field("status", status(&device.status)),
    ];
    let session = device.session.as_ref().and_then(|session| {
        let secure = session.secure.map(|secure| if secure { "with TLS" } else { "without TLS" });
        let parts = [session.connect_time.as_deref(), session.protocol.as_deref(), secure];
        joined(&parts)
    });
    let last_event = device.last_event.as_ref().and_then(|event| {
        let code = event.close_code.map(|code| format!("close code {code}"));
        joined(&[Some(&event.event), event.time.as_deref(), code.as_deref()])
    });
    let optional = [
        ("expectation", device.expectation.clone()),
        ("since", device.since.clone()),
        ("address", device.address.clone()),
        ("close code", device.close_code.map(|code| code.to_string())),
        ("reason", device.reason.clone()),
        ("cause", device.cause.clone()),
        ("cause class", device.cause_class.clone()),
        ("session", session),
        ("last event", last_event),
        ("provenance", device.provenance.clone()),
        ("confirmed at", device.confirmed_at.clone()),
        ("client id", device.client_id.clone()),
        ("source", device.source.clone()),
    ];
    rows.extend(optional.iter().filter_map(|(name, value)| Some(field(name, text(value.as_deref()?)))));
    if device.dated_ahead {
        rows.push(field("dated ahead", Cell::new(DATED_AHEAD, Paint::Bad)));
    }
    if device.stale {
        rows.push(field("stale", Cell::new(STALE, Paint::Bad)));
    }
    TableColumns::new(&[], colour).lines(&rows)
}

fn joined(parts: &[Option<&str>]) -> Option<String> {
    let parts: Vec<&str> = parts.iter().copied().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The totals, and what they rest on.
pub fn summary(summary: &SummaryView, colour: bool) -> Vec<String> {
    let state = |word: &str| {
        let is_good = matches!(word, "complete" | "unproven" | "subscribed" | "good");
        Cell::new(word, if is_good { Paint::Good } else { Paint::Bad })
    };
    let total = |name, number: u64, paint| field(name, Cell::new(&number.to_string(), paint).at_the_right());
    let totals = [
        total("devices", summary.total, Paint::Strong),
        total("connected", summary.connected, Paint::Good),
        total("disconnected", summary.disconnected, Paint::Bad),
        total("connects per minute", summary.per_minute.connects, Paint::Plain),
        total("disconnects per minute", summary.per_minute.disconnects, Paint::Plain),
    ];
    let mut lines = TableColumns::new(&[], colour).lines(&totals);
    let mut states = vec![
        field("population", state(&summary.population)),
        field("broker", state(&summary.broker)),
        field("store", state(&summary.store)),
    ];
    if summary.stale {
        states.push(field("stale", Cell::new(STALE, Paint::Bad)));
    }
    lines.extend(section(&states, colour));
    if !summary.top_close_codes.is_empty() {
        let mut rows = vec![numbered(&["CLOSE CODE", "DEVICES"], Some("WHY"))];
        rows.extend(summary.top_close_codes.iter().map(|code| {
            let cause = Cell::new(code.cause.as_deref().unwrap_or_default(), Paint::Plain);
            vec![Cell::number(code.close_code.into()), Cell::number(code.devices), cause]
        }));
        lines.extend(section(&rows, colour));
    }
    // Of the platform's devices the close codes say more.
    let with_codes: u64 = summary.top_close_codes.iter().map(|code| code.devices).sum();
    if with_codes < summary.disconnected && !summary.causes.is_empty() {
        let mut rows = vec![heading(&["CAUSE"])];
        rows[0].extend(numbered(&["DEVICES"], None));
        rows.extend(
            summary
                .causes
                .iter()
                .map(|cause| vec![Cell::new(&cause.cause_class, Paint::Plain), Cell::number(cause.devices)]),
        );
        lines.extend(section(&rows, colour));
    }
    if summary.sources.len() > 1 {
        let sources = summary.sources.iter();
        let rows = sources.map(|one| (&*one.source, [one.total, one.connected, one.disconnected]));
        lines.extend(group_totals("SOURCE", rows, colour));
    }
    if !summary.types.is_empty() {
        let types = summary.types.iter();
        let rows = types.map(|one| (&*one.device_type, [one.total, one.connected, one.disconnected]));
        lines.extend(group_totals("TYPE", rows, colour));
    }
    let more = summary.types_total.saturating_sub(summary.types.len());
    if more > 0 {
        lines.push(format!("and {more} more types"));
    }
    lines
}

/// Devices, connected and disconnected, of each group.
fn group_totals<'a>(
    heading_of_name: &str,
    groups: impl Iterator<Item = (&'a str, [u64; 3])>,
    colour: bool,
) -> Vec<String> {
    let mut rows = vec![heading(&[heading_of_name])];
    rows[0].extend(numbered(&["DEVICES", "CONNECTED", "DISCONNECTED"], None));
    rows.extend(groups.map(|(name, numbers)| {
        let name = Cell::new(name, Paint::Plain);
        [name].into_iter().chain(numbers.map(Cell::number)).collect()
    }));
    section(&rows, colour)
}

/// A heading of numbers, and of a text behind them.
fn numbered(names: &[&str], text: Option<&str>) -> Vec<Cell> {
    let numbers = heading(names).into_iter().map(Cell::at_the_right);
    numbers.chain(text.map(|text| Cell::new(text, Paint::Faint))).collect()
}

fn section(rows: &[Vec<Cell>], colour: bool) -> Vec<String> {
    let mut lines = vec![String::new()];
    lines.extend(TableColumns::new(&[], colour).lines(rows));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFF: &str = r#"{"type":"pump","id":"p-1","status":"disconnected","since":"2026-11-23T17:00:02.186Z","address":"198.51.100.7","close_code":91,"reason":"closed","cause":"The device has ended its session","stale":false}"#;
    const NEVER: &str = r#"{"type":"elevator","id":"e","status":"never_connected"}"#;

    fn view(text: &str) -> DeviceView {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_list_is_aligned_and_has_one_heading() {
        let mut table = DeviceTable::new(false);
        let lines = table.page(&[view(OFF), view(NEVER)]);
        assert_eq!(
            lines,
            [
                "TYPE      ID   STATUS           SINCE                     ADDRESS       WHY",
                "pump      p-1  disconnected     2026-11-23T17:00:02.186Z  198.51.100.7  91 The device has ended its session",
                "elevator  e    never connected  -                         -             -",
            ]
        );
        assert_eq!(table.page(&[view(NEVER)]), [lines[2].clone()]);
    }

    #[test]
    fn a_device_shows_what_is_known_and_nothing_else() {
        let lines = device(&view(NEVER), false);
        assert_eq!(lines, ["device  elevator e", "status  never connected"]);
        let lines = device(&view(OFF), true);
        assert!(lines[1].contains("\u{1b}[31mdisconnected\u{1b}[0m"), "{lines:?}");
        assert!(lines.iter().any(|line| line.ends_with("91")));
    }
}
