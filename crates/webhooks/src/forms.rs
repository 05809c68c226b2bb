//! Bodies for services that people read: a sentence for Slack, Teams and ntfy, an incident for PagerDuty, an alert for
//! Alertmanager (pure).

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::settings::Format;

/// Devices that a sentence names; more are counted.
const NAMED_MAX: usize = 10;

/// How long Alertmanager takes an alert to fire without hearing of it again: four times the pause between two messages.
const FIRES_FOR_MILLIS: i64 = 4 * 60_000;

/// What is said, before it has a form.
pub struct WebhookContent<'a> {
    pub event_type: &'a str,
    pub id: &'a str,
    pub at_millis: i64,
    /// Where it comes from, as a URI.
    pub source: &'a str,
    /// PagerDuty's name of the service that is notified.
    pub routing_key: &'a str,
    pub data: &'a Value,
}

impl WebhookContent<'_> {
    /// The body in that form; `None`: the form is no service's.
    pub fn body(&self, format: Format) -> Option<Vec<u8>> {
        let body = match format {
            Format::Standard | Format::CloudEvents => return None,
            Format::Ntfy => return Some(self.text().into_bytes()),
            Format::Slack => json!({ "text": escaped(&self.text()) }),
            Format::Teams => self.card(),
            Format::PagerDuty => self.incident(),
            Format::Alertmanager => self.alert(),
        };
        Some(body.to_string().into_bytes())
    }

    fn is_resolved(&self) -> bool {
        self.event_type == "alert.resolved"
    }

    fn word(&self, key: &str) -> &str {
        self.data[key].as_str().unwrap_or_default()
    }

    fn number(&self, key: &str) -> u64 {
        self.data[key].as_u64().unwrap_or(0)
    }

    /// The same for a person, with where there is more about it.
    fn text(&self) -> String {
        let more = self.list().map(|list| format!(" {list}"));
        self.sentence() + &more.unwrap_or_default()
    }

    /// What has happened, in a line.
    fn sentence(&self) -> String {
        let (rule, group) = (self.word("rule"), self.word("group"));
        if rule.is_empty() {
            return format!("devstatus: {}", self.event_type);
        }
        let state = if self.is_resolved() { "resolved" } else { "firing" };
        let mut text = format!("[{state}] {rule}");
        if !group.is_empty() {
            let _ = write!(text, ", {group}");
        }
        let list = if self.is_resolved() { "resolved" } else { "firing" };
        let further = if self.is_resolved() { 0 } else { self.number("further_devices") };
        let names: Vec<String> =
            self.data[list].as_array().into_iter().flatten().filter_map(device).collect();
        if !names.is_empty() {
            // An alert about the group, which has no name, stands for the further devices.
            let total =
                self.number(&format!("{list}_total")).saturating_sub(u64::from(further > 0)) + further;
            let named = names.len().min(NAMED_MAX);
            let _ = write!(text, ": {}", names[..named].join(", "));
            let more = total.saturating_sub(named as u64);
            if more > 0 {
                let _ = write!(text, " and {more} more");
            }
        } else if further > 0 {
            let _ = write!(text, ": {further} devices");
        }
        if self.data["repeated"] == json!(true) {
            text.push_str(" (still)");
        }
        text
    }

    /// The URL of the list of all alerts of the group; `None`: it is not known under which one people reach devstatus.
    fn list(&self) -> Option<&str> {
        Some(self.word("list")).filter(|list| list.starts_with("http"))
    }

    fn time(&self, at_millis: i64) -> String {
        format!("{:.3}", Timestamp::from_millisecond(at_millis).unwrap_or_default())
    }

    fn card(&self) -> Value {
        let colour = if self.is_resolved() { "good" } else { "attention" };
        let line = json!({ "type": "TextBlock", "text": self.text(), "wrap": true, "color": colour });
        json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.4",
                    "body": [line],
                },
            }],
        })
    }

    fn incident(&self) -> Value {
        let key = if self.word("key").is_empty() { self.id } else { self.word("key") };
        let link = self.list().map(|href| json!({ "href": href, "text": "all alerts" }));
        let links: Vec<Value> = link.into_iter().collect();
        json!({
            "links": links,
            "routing_key": self.routing_key,
            "event_action": if self.is_resolved() { "resolve" } else { "trigger" },
            "dedup_key": key,
            "payload": {
                "summary": self.sentence(),
                "source": self.source,
                "severity": if self.event_type == "webhook.test" { "info" } else { "error" },
                "timestamp": self.time(self.at_millis),
                "component": self.word("group"),
                "class": self.word("kind"),
                "custom_details": self.data,
            },
        })
    }

    fn alert(&self) -> Value {
        let name = if self.word("rule").is_empty() { self.event_type } else { self.word("rule") };
        let lasts = if self.is_resolved() { 0 } else { FIRES_FOR_MILLIS };
        json!([{
            "labels": {
                "alertname": name,
                "group": self.word("group"),
                "kind": self.word("kind"),
                "source": self.source,
            },
            "annotations": { "summary": self.sentence() },
            "generatorURL": self.list().unwrap_or_default(),
            "startsAt": self.time(self.at_millis),
            "endsAt": self.time(self.at_millis.saturating_add(lasts)),
        }])
    }
}

fn device(alert: &Value) -> Option<String> {
    let device = &alert["device"];
    Some(format!("{}/{}", device["type"].as_str()?, device["id"].as_str()?))
}

/// Without what Slack takes for a mention or a link.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(format: Format, event_type: &str, data: &Value) -> String {
        let said = WebhookContent {
            event_type,
            id: "evt_1",
            at_millis: 1_500,
            source: "urn:devstatus:org",
            routing_key: "R0",
            data,
        };
        String::from_utf8(said.body(format).unwrap()).unwrap()
    }

    fn data(repeated: bool) -> Value {
        let alert =
            |id: usize| json!({ "device": { "type": "pump", "id": format!("<{id}>") }, "since": "T" });
        let firing: Vec<_> = (0..12).map(alert).collect();
        json!({ "rule": "offline", "kind": "offline_for", "group": "pump", "key": "00ab", "repeated": repeated,
                "firing": firing, "firing_total": 40, "resolved": [], "resolved_total": 0 })
    }

    #[test]
    fn a_sentence_names_some_devices_and_counts_all() {
        let text = body(Format::Ntfy, "alert.firing", &data(true));
        assert!(text.starts_with("[firing] offline, pump: pump/<0>, pump/<1>, "), "{text}");
        assert!(text.ends_with("pump/<9> and 30 more (still)"), "{text}");
        let slack: Value = serde_json::from_str(&body(Format::Slack, "alert.firing", &data(false))).unwrap();
        assert!(slack["text"].as_str().unwrap().contains("pump/&lt;0&gt;"), "{slack}");
        let service = json!({ "rule": "unobserved", "group": "", "resolved": [{ "device": null }], "resolved_total": 1 });
        assert_eq!(body(Format::Ntfy, "alert.resolved", &service), "[resolved] unobserved");
        assert_eq!(body(Format::Ntfy, "webhook.test", &json!({})), "devstatus: webhook.test");
        let card: Value = serde_json::from_str(&body(Format::Teams, "alert.firing", &data(false))).unwrap();
        assert_eq!(card["attachments"][0]["content"]["body"][0]["type"], json!("TextBlock"));
    }

    #[test]
    fn a_message_names_the_list_and_counts_devices_that_have_no_alert_of_their_own() {
        let mut data = data(false);
        data["further_devices"] = json!(7);
        data["list"] = json!("https://devstatus.example/api/v1/alerts?rule=offline&group=pump");
        let text = body(Format::Ntfy, "alert.firing", &data);
        assert!(
            text.ends_with(
                "pump/<9> and 36 more https://devstatus.example/api/v1/alerts?rule=offline&group=pump"
            ),
            "{text}"
        );
        data["firing"] = json!([{ "device": null, "since": "T" }]);
        assert!(
            body(Format::Ntfy, "alert.firing", &data)
                .starts_with("[firing] offline, pump: 7 devices https://")
        );
        let alert: Value = serde_json::from_str(&body(Format::Alertmanager, "alert.firing", &data)).unwrap();
        assert_eq!(alert[0]["generatorURL"], data["list"]);
        let incident: Value = serde_json::from_str(&body(Format::PagerDuty, "alert.firing", &data)).unwrap();
        assert_eq!(incident["links"][0]["href"], data["list"]);
        data["list"] = json!("/api/v1/alerts?rule=offline&group=pump");
        assert_eq!(body(Format::Ntfy, "alert.firing", &data), "[firing] offline, pump: 7 devices");
    }

    #[test]
    fn an_incident_is_opened_and_closed_by_the_key_of_its_group() {
        let incident = |event_type| -> Value {
            serde_json::from_str(&body(Format::PagerDuty, event_type, &data(false))).unwrap()
        };
        let (opened, closed) = (incident("alert.firing"), incident("alert.resolved"));
        assert_eq!(
            (&opened["event_action"], &closed["event_action"]),
            (&json!("trigger"), &json!("resolve"))
        );
        assert_eq!((&opened["dedup_key"], &closed["dedup_key"]), (&json!("00ab"), &json!("00ab")));
        assert_eq!((&opened["routing_key"], &opened["payload"]["severity"]), (&json!("R0"), &json!("error")));
    }

    #[test]
    fn an_alert_for_alertmanager_says_until_when_it_fires() {
        let alert = |event_type| -> Value {
            serde_json::from_str(&body(Format::Alertmanager, event_type, &data(false))).unwrap()
        };
        let (firing, resolved) = (alert("alert.firing"), alert("alert.resolved"));
        assert_eq!(firing[0]["labels"], resolved[0]["labels"]);
        assert_eq!(firing[0]["endsAt"], json!("1970-01-01T00:04:01.500Z"));
        assert_eq!(resolved[0]["endsAt"], resolved[0]["startsAt"]);
    }
}
