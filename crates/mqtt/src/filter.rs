//! Topic filters: `+` stands for one level, `#` at the end for any number of them, and neither at the beginning for a level with
//! `$`. Pure.

/// Whether there is a topic that both filters match. A topic without wildcards is a filter that matches itself.
pub fn overlap(one: &str, other: &str) -> bool {
    let (mut one_levels, mut other_levels) = (one.split('/'), other.split('/'));
    let mut is_first = true;
    loop {
        let (one, other) = (one_levels.next(), other_levels.next());
        let wildcard_takes = |level: Option<&str>| !(is_first && level.is_some_and(|it| it.starts_with('$')));
        match (one, other) {
            (Some("#"), level) | (level, Some("#")) => return wildcard_takes(level),
            (Some("+"), level @ Some(_)) | (level @ Some(_), Some("+")) if wildcard_takes(level) => {}
            (Some(one), Some(other)) if one == other => {}
            (None, None) => return true,
            (Some(_) | None, Some(_) | None) => return false,
        }
        is_first = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn filters_overlap_if_some_topic_matches_both() {
        for (one, other) in [
            ("#", "a/b"),
            ("#", "#"),
            ("a/#", "a"),
            ("a/+/c", "+/b/#"),
            ("+/+", "a/b"),
            ("a//b", "a/+/b"),
            ("$SYS/#", "$SYS/broker"),
            ("a/$b", "a/+"),
        ] {
            assert!(overlap(one, other) && overlap(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("a/+", "a"),
            ("a/b", "a/b/c"),
            ("+/x", "a/+/c"),
            ("#", "$SYS/broker"),
            ("+/broker", "$SYS/broker"),
            ("a/+/c", "a/b/d"),
        ] {
            assert!(!overlap(one, other) && !overlap(other, one), "{one} {other}");
        }
    }

    /// As the standard says it, level by level.
    fn matches(filter: &str, topic: &str) -> bool {
        fn from(filter: &[&str], topic: &[&str]) -> bool {
            match (filter, topic) {
                (["#"], _) => true,
                (["+", filter @ ..], [_, topic @ ..]) => from(filter, topic),
                ([level, filter @ ..], [text, topic @ ..]) => level == text && from(filter, topic),
                ([], topic) => topic.is_empty(),
                ([_, ..], []) => false,
            }
        }
        let (filter, topic): (Vec<_>, Vec<_>) = (filter.split('/').collect(), topic.split('/').collect());
        !(topic[0].starts_with('$') && matches!(filter[0], "+" | "#")) && from(&filter, &topic)
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop::sample::select(vec!["a", "b", "+", "$s", ""]);
        (prop::collection::vec(level, 1..4), any::<bool>()).prop_map(|(mut levels, is_open)| {
            levels.extend(is_open.then_some("#"));
            levels.join("/")
        })
    }

    proptest! {
        #[test]
        fn it_is_so_for_all_short_topics(one in filter(), other in filter()) {
            let levels = ["a", "b", "$s", "", "c"];
            let mut topics: Vec<String> = levels.map(str::to_owned).to_vec();
            let mut last = topics.clone();
            for _ in 0..3 {
                let longer = |topic: &String| levels.map(|level| format!("{topic}/{level}"));
                last = last.iter().flat_map(longer).collect();
                topics.extend(last.iter().cloned());
            }
            let shared = topics.iter().any(|topic| matches(&one, topic) && matches(&other, topic));
            prop_assert_eq!(overlap(&one, &other), shared);
        }
    }
}
