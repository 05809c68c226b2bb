//! What the end of a subscription means, and what is tried next.

use std::time::Duration;

use super::super::rival::ConnectionEnd;
use super::end::SESSION_TAKEN_OVER;
use super::*;
use mqtt::settings::MqttVersion;

const TOPICS: &str = "iot-2/type/+/id/+/mon";

fn closed() -> LinkError {
    LinkError::Closed { idle: Duration::from_secs(1) }
}

fn refused(code: u8) -> LiveEnd {
    LiveEnd::Refused(SubackRefusal { version: MqttVersion::V5, code, properties: Box::default() })
}

#[test]
fn a_connection_that_ends_where_a_suback_is_due_may_be_a_refusal() {
    assert!(matches!(before_the_suback(closed()), LiveEnd::ClosedInstead(_)));
    assert!(matches!(before_the_suback(LinkError::NoSuback), LiveEnd::Lost(_)), "that end is ours");
}

#[test]
fn each_end_has_a_state_and_shutdown_has_none() {
    assert_eq!(state_after(&LiveEnd::Shutdown, None, TOPICS), None);
    let Some(BrokerHealth::SubscriptionRefused(why)) = state_after(&refused(0x87), None, TOPICS) else {
        panic!("a SUBACK that refuses is a refusal")
    };
    assert!(why.contains(TOPICS) && why.contains("0x87"), "{why}");
    let instead = state_after(&LiveEnd::ClosedInstead(closed()), None, TOPICS);
    assert!(matches!(instead, Some(BrokerHealth::SubscriptionRefused(_))), "{instead:?}");
    let lost = state_after(&LiveEnd::Lost(closed()), Some("an idle timeout on the way".to_owned()), TOPICS);
    let Some(BrokerHealth::Lost(why)) = lost else { panic!("a closed connection is lost") };
    assert!(why.contains("closed the connection") && why.ends_with("; an idle timeout on the way"), "{why}");
}

#[test]
fn only_a_close_or_a_takeover_speaks_of_a_rival() {
    let lived = Duration::from_secs(7);
    let taken = || LinkError::Disconnected { code: SESSION_TAKEN_OVER, properties: Box::default() };
    assert_eq!(connection_end(&LiveEnd::Lost(taken()), lived), ConnectionEnd::TakenOver);
    assert_eq!(connection_end(&LiveEnd::ClosedInstead(taken()), lived), ConnectionEnd::TakenOver);
    assert_eq!(connection_end(&LiveEnd::Lost(closed()), lived), ConnectionEnd::Closed { after: lived });
    for other in
        [LiveEnd::Shutdown, refused(0x80), LiveEnd::Lost(LinkError::NoPong), LiveEnd::ClosedInstead(closed())]
    {
        assert_eq!(connection_end(&other, lived), ConnectionEnd::Other, "{other:?}");
    }
}
