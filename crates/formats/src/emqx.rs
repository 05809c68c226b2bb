//! EMQX: clients by its `$SYS` events, which are a profile, each below the node that it is connected to, and the nodes that run.

use crate::profile::{Message, Profiles};
use crate::{BrokerEvent, Decoded, DeviceName};

/// What to subscribe to.
pub const FILTERS: &[&str] = &["$SYS/brokers/+/clients/#", NODES];

/// The nodes that run, joined by commas; retained.
const NODES: &str = "$SYS/brokers";

/// The type of the nodes in the parents of clients. No device is made for a node, so it hides nobody.
pub const NODE_TYPE: &str = "emqx-node";

/// Decodes one message; events are decoded by the profile.
pub fn decode<'a>(events: &'a Profiles, message: Message<'a>) -> Decoded<'a> {
    if !message.topic.starts_with(NODES) {
        return Decoded::NoMatch;
    }
    if message.topic == NODES {
        return match std::str::from_utf8(message.payload) {
            Ok(nodes) if !nodes.trim().is_empty() => Decoded::Broker(BrokerEvent::Nodes(nodes.into())),
            Ok(_) => Decoded::Ignored("no_nodes"),
            Err(_) => Decoded::Undecodable("not_utf8"),
        };
    }
    let decoded = events.decode(message);
    let Decoded::Event(mut event) = decoded else { return decoded };
    let node = message.topic.split('/').nth(2).filter(|node| crate::name::is_valid_name(node));
    event.parent = node.map(|node| DeviceName { device_type: NODE_TYPE.into(), id: node.into() });
    Decoded::Event(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;

    #[test]
    fn a_client_is_below_its_node_and_nodes_are_read() {
        let events = Profiles::new(vec![builtin::find("emqx").unwrap().profile().unwrap()]).unwrap();
        let read = |topic, payload: &'static str| {
            decode(&events, Message { topic, payload: payload.as_bytes(), is_retained: false })
        };
        let topic = "$SYS/brokers/emqx@10.0.0.4/clients/a/b/connected";
        let Decoded::Event(event) = read(topic, r#"{"clientid":"a/b","connected_at":1767225600123}"#) else {
            panic!("an event was expected")
        };
        let parent = event.parent.unwrap();
        assert_eq!(
            (&*event.device.id, &*parent.device_type, &*parent.id),
            ("a/b", NODE_TYPE, "emqx@10.0.0.4")
        );
        let nodes = Decoded::Broker(BrokerEvent::Nodes("a@1,b@2".into()));
        assert_eq!(read("$SYS/brokers", "a@1,b@2"), nodes);
        assert_eq!(read("$SYS/brokers", ""), Decoded::Ignored("no_nodes"));
    }
}
