//! Which server of a cluster has which slots. Pure: what is asked of whom is not known here.

use redis::Value;

use super::buckets::HashSlot;
use crate::settings::Address;

/// The masters of a cluster, or the one server that has everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// By the first slot.
    ranges: Vec<Range>,
    /// Replicas, which may be asked for the topology.
    others: Vec<Address>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    first: u16,
    last: u16,
    master: Address,
}

impl Topology {
    pub fn single(address: Address) -> Self {
        let all = Range { first: 0, last: u16::MAX, master: address };
        Self { ranges: vec![all], others: Vec::new() }
    }

    /// The answer to CLUSTER SLOTS; `None` if it makes no sense, or names nobody.
    pub fn parse(answer: Value, asked: &Address) -> Option<Self> {
        let Value::Array(parts) = answer else { return None };
        let mut topology = Self { ranges: Vec::new(), others: Vec::new() };
        for part in parts {
            let Value::Array(part) = part else { return None };
            let (head, nodes) = part.split_first_chunk::<2>()?;
            let [Value::Int(first), Value::Int(last)] = head else { return None };
            let mut nodes = nodes.iter().map(|node| address(node, asked));
            let master = nodes.next()??;
            topology.others.extend(nodes.flatten());
            let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
            topology.ranges.push(Range { first, last, master });
        }
        topology.ranges.sort_by_key(|range| range.first);
        (!topology.ranges.is_empty()).then_some(topology)
    }

    /// `None`: nobody serves the slot at present.
    pub fn master_of(&self, slot: HashSlot) -> Option<&Address> {
        let at = self.ranges.partition_point(|range| range.last < slot.0);
        self.ranges.get(at).filter(|range| range.first <= slot.0).map(|range| &range.master)
    }

    /// Every server, masters first; some more than once.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.ranges.iter().map(|range| &range.master).chain(&self.others)
    }
}

/// Host and port; a node that does not know its own host is the one that was asked.
fn address(node: &Value, asked: &Address) -> Option<Address> {
    let Value::Array(node) = node else { return None };
    let host = match node.first()? {
        Value::BulkString(host) => String::from_utf8(host.clone()).ok()?,
        Value::Nil => String::new(),
        _ => return None,
    };
    let host = if host.is_empty() || host == "?" { asked.host.clone() } else { host };
    let Value::Int(port) = node.get(1)? else { return None };
    Some(Address { host, port: u16::try_from(*port).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> Address {
        Address { host: host.to_owned(), port }
    }

    fn node(host: Value, port: i64) -> Value {
        Value::Array(vec![host, Value::Int(port), Value::BulkString(b"id".to_vec())])
    }

    #[test]
    fn slots_are_found_and_those_without_a_server_are_not() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let range = |first, last, nodes: Vec<Value>| {
            Value::Array([vec![Value::Int(first), Value::Int(last)], nodes].concat())
        };
        let answer = Value::Array(vec![
            range(100, 200, vec![node(text("b"), 2), node(text("c"), 3)]),
            range(0, 50, vec![node(text(""), 1)]),
        ]);
        let topology = Topology::parse(answer, &at("asked", 9)).unwrap();
        for (slot, master) in [
            (0, Some(at("asked", 1))),
            (50, Some(at("asked", 1))),
            (51, None),
            (100, Some(at("b", 2))),
            (200, Some(at("b", 2))),
            (201, None),
        ] {
            assert_eq!(topology.master_of(HashSlot(slot)), master.as_ref(), "{slot}");
        }
        assert!(topology.addresses().any(|address| *address == at("c", 3)));
        assert_eq!(Topology::parse(Value::Array(vec![]), &at("asked", 9)), None);
        assert_eq!(Topology::parse(Value::Okay, &at("asked", 9)), None);
    }
}
