//! Alerts, silences and windows: how they are asked for, and as lines (pure).

use serde::Deserialize;
use system::period;
use url::form_urlencoded::Serializer;

use super::service::Request;
use super::table::{Cell, Paint, TableColumns};
use super::view::DeviceName;
use crate::config::{
    Acknowledgement, AlertGroup, AlertQuestion, AlertSelection, NewSilence, SilenceQuestion,
};

#[derive(Debug, Deserialize)]
pub struct AlertsView {
    evaluation: String,
    total: u64,
    alerts: Vec<AlertView>,
}

#[derive(Debug, Deserialize)]
struct AlertView {
    rule: String,
    device: Option<DeviceName>,
    group: String,
    state: String,
    since: String,
    suppressed_by: Option<String>,
    acknowledged_until: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct SilencesView {
    silences: Vec<SilenceView>,
    windows: Vec<WindowView>,
}

#[derive(Debug, Deserialize)]
struct SilenceView {
    id: Option<String>,
    types: Vec<String>,
    ids: Vec<String>,
    id_prefixes: Vec<String>,
    sources: Vec<String>,
    rules: Vec<String>,
    from: String,
    until: String,
    active: bool,
    author: String,
    comment: String,
}

#[derive(Debug, Deserialize)]
struct WindowView {
    name: String,
    schedule: String,
    open: bool,
}

/// What a silence that was made is called.
#[derive(Debug, Deserialize)]
pub struct MadeSilence {
    pub id: String,
}

/// The request for a question about alerts.
pub fn alert_request(question: &AlertQuestion) -> Request {
    const ACKNOWLEDGEMENT: &str = "/api/v1/alerts/acknowledgement";
    match question {
        AlertQuestion::List(AlertSelection { rules, firing }) => {
            let state: &[String] = if *firing { &["firing".to_owned()] } else { &[] };
            Request::Get(format!("/api/v1/alerts?{}", query(&[("rule", rules), ("state", state)])))
        }
        AlertQuestion::Ack(Acknowledgement { group, length }) => {
            let length = query(&[("for", &[period::text(*length)])]);
            Request::Post(format!("{ACKNOWLEDGEMENT}?{}&{length}", group_query(group)))
        }
        AlertQuestion::Unack(group) => Request::Delete(format!("{ACKNOWLEDGEMENT}?{}", group_query(group))),
    }
}

/// The request for a question about silences.
pub fn silence_request(question: &SilenceQuestion) -> Request {
    match question {
        SilenceQuestion::List => Request::Get("/api/v1/silences".to_owned()),
        SilenceQuestion::Add(silence) => {
            Request::Post(format!("/api/v1/silences?{}", silence_query(silence)))
        }
        SilenceQuestion::End(id) => {
            Request::Delete(format!("/api/v1/silences/{}", super::service::segment(&id.silence_id)))
        }
    }
}

fn query(values: &[(&str, &[String])]) -> String {
    let mut query = Serializer::new(String::new());
    for (name, values) in values {
        query.extend_pairs(values.iter().map(|value| (name, value)));
    }
    query.finish()
}

fn group_query(group: &AlertGroup) -> String {
    query(&[
        ("rule", std::slice::from_ref(&group.rule_name)),
        ("group", std::slice::from_ref(&group.alert_group)),
    ])
}

fn silence_query(silence: &NewSilence) -> String {
    query(&[
        ("for", &[period::text(silence.length)]),
        ("rule", &silence.rules),
        ("type", &silence.types),
        ("id", &silence.ids),
        ("id_prefix", &silence.id_prefixes),
        ("source", &silence.sources),
        ("author", silence.author.as_slice()),
        ("comment", silence.comment.as_slice()),
    ])
}

fn plain(text: &str) -> Cell {
    Cell::new(text, Paint::Plain)
}

fn header<const N: usize>(names: [&str; N]) -> Vec<Cell> {
    names.into_iter().map(|name| Cell::new(name, Paint::Faint)).collect()
}

/// A line for each alert.
pub fn alerts(view: &AlertsView, colour: bool) -> Vec<String> {
    let mut rows =
        vec![header(["STATE", "RULE", "GROUP", "DEVICE", "SINCE", "HELD BACK BY", "ACKNOWLEDGED UNTIL"])];
    rows.extend(view.alerts.iter().map(|alert| {
        let paint = if alert.state == "firing" { Paint::Bad } else { Paint::Faint };
        let device = alert.device.as_ref().map(|device| format!("{}/{}", device.device_type, device.id));
        vec![
            Cell::new(&alert.state, paint),
            Cell::new(&alert.rule, Paint::Strong),
            plain(&alert.group),
            plain(device.as_deref().unwrap_or_default()),
            plain(&alert.since),
            plain(alert.suppressed_by.as_deref().unwrap_or_default()),
            plain(alert.acknowledged_until.as_deref().unwrap_or_default()),
        ]
    }));
    let mut lines = TableColumns::new(&[], colour).lines(&rows);
    if view.total > view.alerts.len() as u64 {
        lines.push(format!("{} of {} are shown", view.alerts.len(), view.total));
    }
    match view.evaluation.as_str() {
        "off" => lines.push("no rules are evaluated: the settings have none".to_owned()),
        "elsewhere" => {
            lines.push("another instance evaluates the rules: what it has announced is shown".to_owned())
        }
        "starting" => lines.push("the devices are being read: what was announced before is shown".to_owned()),
        _ => {}
    }
    lines
}

/// A line for each silence, and one for each window.
pub fn silences(view: &SilencesView, colour: bool) -> Vec<String> {
    let state = |is_active: bool, word: &str| {
        Cell::new(if is_active { word } else { "" }, if is_active { Paint::Bad } else { Paint::Plain })
    };
    let mut rows = vec![header(["SILENCE", "NOW", "FROM", "UNTIL", "ABOUT", "AUTHOR", "COMMENT"])];
    rows.extend(view.silences.iter().map(|silence| {
        vec![
            Cell::new(silence.id.as_deref().unwrap_or("settings"), Paint::Strong),
            state(silence.active, "active"),
            plain(&silence.from),
            plain(&silence.until),
            plain(&about(silence)),
            plain(&silence.author),
            plain(&silence.comment),
        ]
    }));
    let mut lines = TableColumns::new(&[], colour).lines(&rows);
    if !view.windows.is_empty() {
        lines.push(String::new());
        let mut rows = vec![header(["WINDOW", "NOW", "WHEN"])];
        rows.extend(view.windows.iter().map(|window| {
            vec![Cell::new(&window.name, Paint::Strong), state(window.open, "open"), plain(&window.schedule)]
        }));
        lines.extend(TableColumns::new(&[], colour).lines(&rows));
    }
    lines
}

fn about(silence: &SilenceView) -> String {
    let parts = [
        ("rule", &silence.rules),
        ("type", &silence.types),
        ("id", &silence.ids),
        ("id_prefix", &silence.id_prefixes),
        ("source", &silence.sources),
    ];
    let parts = parts.into_iter().filter(|(_, values)| !values.is_empty());
    let about: Vec<_> = parts.map(|(name, values)| format!("{name}={}", values.join(","))).collect();
    if about.is_empty() { "all".to_owned() } else { about.join(" ") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn alerts_and_silences_are_lines() {
        let text = r#"{"evaluation":"here","total":3,"alerts":[{"rule":"offline","kind":"offline_for",
            "device":{"type":"pump","id":"p-1"},"group":"pump","state":"firing","since":"T","suppressed_by":null,
            "acknowledged_until":null}]}"#;
        let lines = alerts(&serde_json::from_str(text).unwrap(), false);
        assert!(lines[1].starts_with("firing  offline  pump   pump/p-1  T"), "{lines:?}");
        assert_eq!(lines[2], "1 of 3 are shown");
        let text = r#"{"silences":[{"id":null,"types":["pump"],"ids":[],"id_prefixes":[],"sources":[],"rules":["a","b"],
            "from":"T","until":"U","active":true,"author":"ops","comment":"why"}],
            "windows":[{"name":"updates","schedule":"sun 02:00","open":false}]}"#;
        let lines = silences(&serde_json::from_str(text).unwrap(), false);
        assert!(lines[1].contains("settings") && lines[1].contains("rule=a,b type=pump"), "{lines:?}");
        assert_eq!(lines.len(), 5);
    }

    #[test]
    fn a_question_is_a_request_in_the_words_of_the_api() {
        let group = AlertGroup { rule_name: "offline".to_owned(), alert_group: "pump/a b".to_owned() };
        let length = Duration::from_secs(7_200);
        let question = AlertQuestion::Ack(Acknowledgement { group, length });
        let path = "/api/v1/alerts/acknowledgement?rule=offline&group=pump%2Fa+b&for=2h";
        assert_eq!(alert_request(&question), Request::Post(path.to_owned()));
        let silence = NewSilence {
            length: Duration::from_secs(90),
            rules: vec!["offline".to_owned()],
            types: vec!["pump".to_owned()],
            ids: Vec::new(),
            id_prefixes: Vec::new(),
            sources: Vec::new(),
            author: None,
            comment: Some("why".to_owned()),
        };
        let path = "/api/v1/silences?for=90s&rule=offline&type=pump&comment=why";
        assert_eq!(silence_request(&SilenceQuestion::Add(silence)), Request::Post(path.to_owned()));
    }
}
