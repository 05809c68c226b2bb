//! Laws over generated templates and topics: the trie finds what a plain comparison finds, and clashes are exactly the
//! topics that two profiles share.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::super::filter::{TopicFilter, covers};
use super::super::pointer::{Found, Pointers};
use super::super::template::{Affixes, Template};
use super::super::topic_levels::TopicLevels;
use super::super::{Message, Profile, Profiles, parse};
use super::BOILER;
use crate::Decoded;

/// Few texts, so that templates and topics often meet.
fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(["a", "b", "$a", ""].as_slice())
}

fn topic() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..6).prop_map(|levels| levels.join("/"))
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => level(), 1 => Just("+")];
    (prop::collection::vec(level, 1..4), any::<bool>())
        .prop_map(|(levels, open)| levels.join("/") + if open { "/#" } else { "" })
        .prop_filter("a filter has at least one character", |filter| !filter.is_empty())
}

/// A template that captures the id in one level or in several.
fn template(others: usize) -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => level(), 1 => Just("+")];
    let id = prop::sample::select(["{id}", "{id...}"].as_slice());
    (prop::collection::vec(level, 0..=others), id, 0_usize..4).prop_map(|(mut levels, id, at)| {
        levels.insert(at.min(levels.len()), id);
        levels.join("/")
    })
}

fn profile(others: usize) -> impl Strategy<Value = (String, Vec<String>, Vec<String>)> {
    let alive = prop::collection::vec(template(others), 0..2);
    (template(others), alive, prop::collection::vec(filter(), 0..3))
}

fn compiled(name: &str, (topic, alive, except): &(String, Vec<String>, Vec<String>)) -> Profile {
    let text = format!(
        "[[profile]]\nname = \"{name}\"\ntopic = \"{topic}\"\ntype = \"t\"\nconnected = [\"1\"]\nalive = {alive:?}\nexcept = {except:?}"
    );
    parse(&text).unwrap().pop().unwrap()
}

/// Whether a filter matches, level by level, without the code under test.
fn filter_matches(filter: &[&str], topic: &[&str]) -> bool {
    match (filter.split_first(), topic.split_first()) {
        (Some((&"#", _)), _) => true,
        (Some((first, filter)), Some((level, topic))) => {
            (*first == "+" || first == level) && filter_matches(filter, topic)
        }
        (None, None) => true,
        _ => false,
    }
}

/// The same of a template. A capture of several levels takes one or more.
fn template_matches(template: &[&str], topic: &[&str]) -> bool {
    match (template.split_first(), topic.split_first()) {
        (Some((&"{id...}", after)), Some((_, rest))) => {
            template_matches(after, rest) || template_matches(template, rest)
        }
        (Some((first, template)), Some((level, topic))) => {
            (*first == "+" || *first == "{id}" || first == level) && template_matches(template, topic)
        }
        (None, None) => true,
        _ => false,
    }
}

fn matches(pattern: &str, topic: &str, compare: fn(&[&str], &[&str]) -> bool) -> bool {
    let (pattern, topic): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), topic.split('/').collect());
    let is_wildcard = pattern[0].starts_with(['+', '#', '{']);
    !(is_wildcard && topic[0].starts_with('$')) && compare(&pattern, &topic)
}

fn takes((topic_template, alive, except): &(String, Vec<String>, Vec<String>), topic: &str) -> bool {
    let mut templates = std::iter::once(topic_template).chain(alive);
    templates.any(|template| matches(template, topic, template_matches))
        && !except.iter().any(|filter| matches(filter, topic, filter_matches))
}

static EVERY_PROFILE: LazyLock<Profiles> = LazyLock::new(|| {
    let mut profiles = parse(BOILER).unwrap();
    let builtins = crate::builtin::ALL.iter().filter(|builtin| builtin.name != "zigbee2mqtt1");
    profiles.extend(builtins.map(|builtin| builtin.profile().unwrap()));
    Profiles::new(profiles).unwrap()
});

/// All topics of up to five levels over the texts above and one that nothing names.
fn all_topics() -> Vec<String> {
    let texts = ["a", "b", "$a", "", "c"];
    let mut topics: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let mut last = topics.clone();
    for _ in 1..5 {
        last =
            last.iter().flat_map(|topic| texts.iter().map(move |text| format!("{topic}/{text}"))).collect();
        topics.extend(last.iter().cloned());
    }
    topics
}

proptest! {
    #[test]
    fn the_trie_finds_what_plain_comparison_finds(one in profile(3), other in profile(3), topics in prop::collection::vec(topic(), 20)) {
        if let Ok(profiles) = Profiles::new(vec![compiled("one", &one), compiled("other", &other)]) {
            for topic in &topics {
                let expected = match (takes(&one, topic), takes(&other, topic)) {
                    (true, false) => Some("one"),
                    (false, true) => Some("other"),
                    (false, false) => None,
                    (true, true) => panic!("{topic} belongs to both"),
                };
                prop_assert_eq!(profiles.find(topic).map(Profile::name), expected, "{}", topic);
                let is_subscribed = profiles.filters().iter().any(|filter| matches(filter, topic, filter_matches));
                prop_assert!(expected.is_none() || is_subscribed, "{} is not in {:?}", topic, profiles.filters());
            }
        }
    }

    #[test]
    fn a_template_captures_what_is_in_place_of_the_name(template in template(3), several in topic(), one in level(), other in level()) {
        let id = if template.contains("{id...}") { &several } else { one };
        let topic = template.replace('+', other).replace("{id...}", id).replace("{id}", id);
        let compiled = Template::parse(&template, Affixes::Refused, &mut Vec::new()).unwrap();
        prop_assert_eq!(compiled.captures(&TopicLevels::of(&topic))[0], Some(id));
    }

    #[test]
    fn filters_match_what_plain_comparison_matches(filter in filter(), inner in filter(), topic in topic()) {
        let parsed = TopicFilter::parse(&filter).unwrap();
        prop_assert_eq!(parsed.matches(&topic), matches(&filter, &topic, filter_matches));
        if covers(&filter, &inner) && matches(&inner, &topic, filter_matches) {
            prop_assert!(matches(&filter, &topic, filter_matches));
        }
    }
}

proptest! {
    // Each case tries 3,905 topics. With two levels beside the capture and three in a filter, five levels are enough to find a
    // topic that is shared: two from each template, and one that no filter reaches.
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn profiles_clash_if_and_only_if_they_share_a_topic(one in profile(2), other in profile(2)) {
        let shared = all_topics().into_iter().find(|topic| takes(&one, topic) && takes(&other, topic));
        let clash = Profiles::new(vec![compiled("one", &one), compiled("other", &other)]);
        prop_assert!(shared.is_none() || clash.is_err(), "both take {:?}", shared);
        prop_assert!(shared.is_some() || clash.is_ok(), "{}", clash.unwrap_err());
    }
}

proptest! {
    #[test]
    fn no_bytes_are_too_much(topic in any::<String>(), id in "[a-z/ \u{7f}]{0,6}", payload in prop::collection::vec(any::<u8>(), 0..60)) {
        let levels = ["plant/n/boiler/ID/link", "zwave/ID/status", "owntracks/ID/x", "$SYS/brokers/n/clients/ID/connected", "ID/connected"];
        for topic in levels.iter().map(|text| text.replace("ID", &id)).chain([topic]) {
            for is_retained in [false, true] {
                let decoded = EVERY_PROFILE.decode(Message { topic: &topic, payload: &payload, is_retained });
                if let Decoded::Event(event) = decoded {
                    prop_assert!(crate::name::is_valid_name(&event.device.id) && crate::name::is_valid_name(&event.device.device_type));
                }
            }
        }
    }

    #[test]
    fn pointers_find_what_a_document_has(json in json(4), first in pointer(), second in pointer()) {
        let mut pointers = Pointers::default();
        let slots = [pointers.add(&first).unwrap(), pointers.add(&second).unwrap()];
        let text = json.to_string();
        let found = pointers.read(text.as_bytes()).unwrap();
        for (slot, pointer) in slots.into_iter().zip([first, second]) {
            let expected = match json.pointer(&pointer) {
                None | Some(serde_json::Value::Null) => Found::Missing,
                Some(serde_json::Value::Bool(value)) => Found::Bool(*value),
                Some(serde_json::Value::Number(value)) => Found::Integer(value.as_i64().unwrap()),
                Some(serde_json::Value::String(text)) => Found::Text(text.clone().into()),
                Some(serde_json::Value::Array(_) | serde_json::Value::Object(_)) => Found::Compound,
            };
            prop_assert_eq!(&found[slot], &expected, "{} in {}", pointer, text);
        }
    }
}

fn pointer() -> impl Strategy<Value = String> {
    let token = prop::sample::select(["a", "b~1", "0", "1"].as_slice());
    prop::collection::vec(token, 0..4)
        .prop_map(|tokens| tokens.iter().map(|token| format!("/{token}")).collect())
}

fn json(depth: u32) -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "[a\"\\\\é]{0,3}".prop_map(Into::into),
    ];
    leaf.prop_recursive(depth, 24, 4, |inner| {
        let name = prop::sample::select(["a", "b/", "0", "c"].as_slice()).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
            prop::collection::hash_map(name, inner, 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}
