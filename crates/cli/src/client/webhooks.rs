//! The endpoints of webhooks and their deliveries as lines (pure).

use serde::Deserialize;

use super::table::{Cell, Paint, TableColumns};
use super::view::DeviceName;

#[derive(Debug, Deserialize)]
pub struct WebhooksView {
    webhooks: Vec<WebhookView>,
}

#[derive(Debug, Deserialize)]
struct WebhookView {
    name: String,
    address: String,
    mode: String,
    state: String,
    failing_since: Option<String>,
    dead_letters_total: u64,
    last_attempt: Option<AttemptView>,
}

#[derive(Debug, Deserialize)]
pub struct DeliveriesView {
    attempts: Vec<AttemptView>,
    dead_letters: Vec<DeadLetterView>,
}

#[derive(Debug, Deserialize)]
struct AttemptView {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    at: String,
    duration_ms: u64,
    failure: Option<String>,
}

#[derive(Debug, Deserialize)]
struct DeadLetterView {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    device: Option<DeviceName>,
    at: String,
    failure: String,
}

/// The outcome of an order.
#[derive(Debug, Deserialize)]
pub struct OutcomeView {
    pub done: bool,
    pub failure: Option<String>,
}

/// A secret that was made.
#[derive(Deserialize)]
pub struct SecretView {
    secret: String,
    previous_secret_until: Option<String>,
}

fn plain(text: &str) -> Cell {
    Cell::new(text, Paint::Plain)
}

fn faint(text: &str) -> Cell {
    Cell::new(text, Paint::Faint)
}

fn header<const N: usize>(names: [&str; N]) -> Vec<Cell> {
    names.into_iter().map(faint).collect()
}

/// A line for each endpoint.
pub fn endpoints(view: &WebhooksView, colour: bool) -> Vec<String> {
    let mut rows =
        vec![header(["NAME", "STATE", "MODE", "ADDRESS", "DEAD", "FAILING SINCE", "LAST FAILURE"])];
    rows.extend(view.webhooks.iter().map(|one| {
        let paint = if one.state == "delivering" { Paint::Good } else { Paint::Bad };
        let failure = one.last_attempt.as_ref().and_then(|attempt| attempt.failure.as_deref());
        vec![
            Cell::new(&one.name, Paint::Strong),
            Cell::new(&one.state, paint),
            plain(&one.mode),
            plain(&one.address),
            Cell::number(one.dead_letters_total),
            plain(one.failing_since.as_deref().unwrap_or_default()),
            plain(failure.unwrap_or_default()),
        ]
    }));
    TableColumns::new(&[], colour).lines(&rows)
}

/// A line for each attempt, and one for each dead letter.
pub fn deliveries(view: &DeliveriesView, colour: bool) -> Vec<String> {
    let mut rows = vec![header(["AT", "TYPE", "WEBHOOK-ID", "MS", "FAILURE"])];
    rows.extend(view.attempts.iter().map(|attempt| {
        vec![
            plain(&attempt.at),
            plain(&attempt.event_type),
            plain(&attempt.id),
            Cell::number(attempt.duration_ms),
            Cell::new(attempt.failure.as_deref().unwrap_or_default(), Paint::Bad),
        ]
    }));
    let mut lines = TableColumns::new(&[], colour).lines(&rows);
    if !view.dead_letters.is_empty() {
        lines.push(String::new());
        let mut rows = vec![header(["DEAD SINCE", "TYPE", "WEBHOOK-ID", "DEVICE", "FAILURE"])];
        rows.extend(view.dead_letters.iter().map(|letter| {
            let device = letter.device.as_ref().map(|device| format!("{}/{}", device.device_type, device.id));
            vec![
                plain(&letter.at),
                plain(&letter.event_type),
                plain(&letter.id),
                plain(&device.unwrap_or_default()),
                Cell::new(&letter.failure, Paint::Bad),
            ]
        }));
        lines.extend(TableColumns::new(&[], colour).lines(&rows));
    }
    lines
}

/// The secret, and how long the one before it counts.
pub fn secret(view: &SecretView) -> Vec<String> {
    let until = view.previous_secret_until.as_deref();
    let before = until.map_or("no longer counts".to_owned(), |until| format!("counts until {until}"));
    vec![
        format!("secret: {}", view.secret),
        String::new(),
        format!("Nothing else shows it. The secret before it {before}."),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_and_deliveries_are_lines() {
        let attempt = r#"{"id":"evt_1","type":"device.connected","at":"T","duration_ms":12,"status":422,
                          "failure":"it answers 422"}"#;
        let text = format!(
            r#"{{"webhooks":[{{"name":"ops","address":"https://h","mode":"every","settle_seconds":0,"state":"failing",
                "failing_since":"T","position":null,"dead_letters_total":1,"last_attempt":{attempt}}}]}}"#
        );
        let lines = endpoints(&serde_json::from_str(&text).unwrap(), false);
        assert_eq!(lines[1], "ops   failing  every  https://h     1  T              it answers 422");
        let text = format!(
            r#"{{"attempts":[{attempt}],"dead_letters":[{{"id":"evt_1","type":"device.connected",
                "device":{{"type":"pump","id":"p-1"}},"at":"T","failure":"it answers 422"}}]}}"#
        );
        let lines = deliveries(&serde_json::from_str(&text).unwrap(), false);
        assert_eq!(lines.len(), 5);
        assert!(lines[4].contains("evt_1") && lines[4].contains("pump/p-1"), "{lines:?}");
    }
}
