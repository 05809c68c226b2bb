//! Goes over the members of a JSON object, in one pass and without copying. It takes a fraction of the time that serde does, and
//! leaves to serde what is rare: it either is sure of every byte or says that it is not.

/// Nested parts of an unknown member; of deeper ones nothing is said.
const DEPTH_MAX: u32 = 16;

/// The value of a member.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    pub json: &'a str,
    /// It is a text, and nothing in it is escaped.
    is_plain_text: bool,
}

impl<'a> Value<'a> {
    /// The text, if it is one in which nothing is escaped.
    pub fn plain_text(self) -> Option<&'a str> {
        if self.is_plain_text { self.json.get(1..self.json.len() - 1) } else { None }
    }
}

/// Hands out the name and the value of each member, in their order; `None`: this is no JSON object, or a name in it has escapes,
/// or it is nested too deeply. What was handed out until then counts for nothing.
pub fn for_each<'a>(json: &'a str, mut take: impl FnMut(&'a str, Value<'a>)) -> Option<()> {
    let mut scanner = Scanner { json: json.as_bytes(), at: 0 };
    scanner.spaces();
    scanner.expect(b'{')?;
    scanner.spaces();
    if scanner.expect(b'}').is_none() {
        loop {
            let name_at = scanner.at + 1;
            if scanner.string()? == Escapes::Some {
                return None;
            }
            let name = json.get(name_at..scanner.at - 1)?;
            scanner.colon()?;
            let value_at = scanner.at;
            let is_plain_text = match scanner.peek()? {
                b'"' => scanner.string()? == Escapes::None,
                _ => {
                    scanner.value(DEPTH_MAX)?;
                    false
                }
            };
            take(name, Value { json: json.get(value_at..scanner.at)?, is_plain_text });
            if scanner.is_last(b'}')? {
                break;
            }
        }
    }
    scanner.spaces();
    (scanner.at == json.len()).then_some(())
}

struct Scanner<'a> {
    json: &'a [u8],
    at: usize,
}

/// Whether a text has escapes.
#[derive(PartialEq, Eq)]
enum Escapes {
    None,
    Some,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.json.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn spaces(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// What stands between a name and its value.
    fn colon(&mut self) -> Option<()> {
        self.spaces();
        self.expect(b':')?;
        self.spaces();
        Some(())
    }

    /// Passes over what stands behind a value: the end of the object or array, or the comma before the next one.
    fn is_last(&mut self, end: u8) -> Option<bool> {
        self.spaces();
        if self.expect(end).is_some() {
            return Some(true);
        }
        self.expect(b',')?;
        self.spaces();
        Some(false)
    }

    fn value(&mut self, depth: u32) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            b'{' => self.nested(b'}', depth.checked_sub(1)?),
            b'[' => self.nested(b']', depth.checked_sub(1)?),
            _ => None,
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.json[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    fn nested(&mut self, end: u8, depth: u32) -> Option<()> {
        self.at += 1;
        self.spaces();
        if self.expect(end).is_some() {
            return Some(());
        }
        loop {
            if end == b'}' {
                self.string()?;
                self.colon()?;
            }
            self.value(depth)?;
            if self.is_last(end)? {
                return Some(());
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        let _sign = self.expect(b'-');
        if self.expect(b'0').is_none() {
            self.digits()?;
        }
        if self.expect(b'.').is_some() {
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    #[inline]
    fn string(&mut self) -> Option<Escapes> {
        self.expect(b'"')?;
        let mut escapes = Escapes::None;
        loop {
            self.at += plain_len(&self.json[self.at..]);
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(escapes);
                }
                b'\\' => {
                    escapes = Escapes::Some;
                    self.escape()?;
                }
                _control => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        let digits = match self.json.get(self.at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 0,
            b'u' => 4,
            _ => return None,
        };
        self.at += 2;
        let code = self.json.get(self.at..self.at + digits)?;
        code.iter().all(u8::is_ascii_hexdigit).then(|| self.at += digits)
    }
}

/// How many bytes come before the end of a text, an escape or a control character. Eight are looked at in one go.
fn plain_len(text: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut len = 0;
    while let Some(eight) = text[len..].first_chunk::<8>() {
        let eight = u64::from_le_bytes(*eight);
        // The lowest bit that is set is exact: what is borrowed spoils only bytes behind it.
        let below = |limit: u64, bytes: u64| bytes.wrapping_sub(ONES * limit) & !bytes;
        let [quotes, escapes] = [b'"', b'\\'].map(|sign| below(1, eight ^ (ONES * u64::from(sign))));
        let found = (quotes | escapes | below(0x20, eight)) & (ONES << 7);
        if found != 0 {
            return len + found.trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    let rest = text[len..].iter().take_while(|byte| !matches!(**byte, b'"' | b'\\' | ..b' '));
    len + rest.count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    fn members(json: &str) -> Option<Vec<(&str, &str)>> {
        let mut members = Vec::new();
        for_each(json, |name, value| {
            let text = value.json.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
            assert_eq!(value.plain_text(), text.filter(|text| !text.contains('\\')));
            members.push((name, value.json))
        })?;
        Some(members)
    }

    #[test]
    fn members_come_in_their_order_with_their_values_as_they_are_written() {
        let json =
            " {\"a\" : \"x\\n\\u00e9\" ,\"\":-1.5e+3,\"b\":[ 1, {\"c\\\"\":{}} ],\"a\":null, \"d\": true } ";
        let expected = [
            ("a", "\"x\\n\\u00e9\""),
            ("", "-1.5e+3"),
            ("b", "[ 1, {\"c\\\"\":{}} ]"),
            ("a", "null"),
            ("d", "true"),
        ];
        assert_eq!(members(json).unwrap(), expected);
        assert_eq!(members("{}"), Some(Vec::new()));
        let deep = |depth| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(members(&deep(DEPTH_MAX as usize)).is_some());
        assert!(members(&deep(DEPTH_MAX as usize + 1)).is_none());
        assert!(members(r#"{"\u0061":1}"#).is_none());
    }

    #[test]
    fn what_is_no_json_has_no_members() {
        for json in [
            "",
            " ",
            "{",
            "}",
            "[]",
            "1",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "{\"a\":1 \"b\":2}",
            "{a:1}",
            "{} x",
            "{\"a\":01}",
            "{\"a\":-}",
            "{\"a\":1.}",
            "{\"a\":.5}",
            "{\"a\":1e}",
            "{\"a\":+1}",
            "{\"a\":tru}",
            "{\"a\":[1,]}",
            "{\"a\":[1}}",
            "{\"a\":{\"b\"}}",
            "{\"a\":\"\t\"}",
            "{\"a\":\"x}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u12g4\"}",
            "{\"a\":\"\\u12",
            "{\"a\":\"\\",
        ] {
            assert_eq!(members(json), None, "{json}");
        }
    }

    /// JSON and what nearly is.
    fn texts() -> impl Strategy<Value = String> {
        let word = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\"a\"",
            "\"b\":",
            "\\",
            "\\u00e9",
            "1",
            "-0.5e3",
            "0",
            "true",
            "null",
            " ",
            "\t",
            "é",
            "0123456",
            "long enough",
            "\u{1}",
        ]);
        let scattered = prop::collection::vec(word, 0..24).prop_map(|words| words.concat());
        let value = prop_oneof![
            "[0-9]{1,3}",
            "\"[ -~é]{0,20}\"",
            "\"(\\\\[\"nu\\\\]|[a-z]){0,12}\"",
            Just("[1,{\"x\":[]}]".to_owned()),
            Just("null".to_owned())
        ];
        let member = ("[A-Za-z]{0,10}", "[ \n]{0,2}", value)
            .prop_map(|(name, space, value)| format!("{space}\"{name}\"{space}:{space}{value}{space}"));
        let object =
            prop::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(",")));
        prop_oneof![scattered, object]
    }

    proptest! {
        #[test]
        fn what_it_is_sure_of_serde_reads_alike(json in texts()) {
            let by_serde = serde_json::from_str::<BTreeMap<String, &RawValue>>(&json);
            if let Some(members) = members(&json) {
                let ours: BTreeMap<_, _> = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                let theirs: BTreeMap<_, _> = by_serde.unwrap().into_iter().map(|(name, value)| (name, value.get())).collect();
                prop_assert_eq!(ours, theirs);
            } else if let Ok(members) = by_serde {
                prop_assert!(json.contains('\\'), "{} members were not found in {}", members.len(), json);
            }
        }

        #[test]
        fn the_end_of_what_is_plain_is_found_at_once(text in "[a-z\"\\\\\u{0}-\u{21}é\u{7f}]{0,40}") {
            let expected = text.bytes().position(|byte| byte < b' ' || byte == b'"' || byte == b'\\');
            prop_assert_eq!(plain_len(text.as_bytes()), expected.unwrap_or(text.len()));
        }
    }
}
