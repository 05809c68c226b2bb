//! JSON as careless writers produce it, mended where only one meaning is possible: a byte order mark in front, NUL padding
//! behind, raw control characters within texts, and the numbers that JSON has no words for.

/// The mended text; `None` if there is nothing to mend.
pub fn repair(text: &str) -> Option<String> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let body = body.trim_end_matches(|last: char| last == '\0' || last.is_ascii_whitespace());
    let mut mended = String::with_capacity(body.len());
    let mut rest = body;
    while let Some(start) = rest.find('"') {
        let (outside, text) = rest.split_at(start);
        replace_words(outside, &mut mended);
        let end = end_of_text(text)?;
        escape_controls(&text[..end], &mut mended);
        rest = &text[end..];
    }
    replace_words(rest, &mut mended);
    (mended != text).then_some(mended)
}

/// Where a text in quotes ends, behind its closing quote; `None` if it does not, or if a control character follows a
/// backslash: what that was to mean cannot be told.
fn end_of_text(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            0..0x20 if is_escaped => return None,
            b'"' if !is_escaped => return Some(at + 1),
            b'\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    None
}

fn escape_controls(text: &str, mended: &mut String) {
    for character in text.chars() {
        match character {
            '\0'..' ' => mended.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => mended.push(character),
        }
    }
}

/// As JavaScript, Python and C write what is no number.
const NOT_A_NUMBER: [&str; 4] = ["NaN", "nan", "Infinity", "inf"];

/// Replaces the words for what is no number by `null`, which counts as missing.
fn replace_words(outside: &str, mended: &mut String) {
    for (number, part) in outside.split_inclusive([',', ':', '[', ']', '{', '}']).enumerate() {
        let word = part.trim_end_matches([',', ']', '}']).trim_ascii();
        let is_word = NOT_A_NUMBER.contains(&word.strip_prefix('-').unwrap_or(word));
        // What is at the beginning of a message, or directly behind a text, is no value of a field.
        if is_word && number > 0 {
            mended.push_str(&part.replacen(word, "null", 1));
        } else {
            mended.push_str(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::repair;

    #[test]
    fn repair_changes_only_unambiguous_json() {
        for (text, mended) in [
            ("\u{feff}{}", Some("{}")),
            ("{}\0\0", Some("{}")),
            ("\u{feff}{}\0\r\n\0", Some("{}")),
            ("{\"a\":\"x\ty\nz\"}", Some(r#"{"a":"x\u0009y\u000az"}"#)),
            (r#"{"a":NaN,"b":[-Infinity, inf],"c":-nan}"#, Some(r#"{"a":null,"b":[null, null],"c":null}"#)),
            (r#"{"NaN":"NaN,NaN","a" : NaN }"#, Some(r#"{"NaN":"NaN,NaN","a" : null }"#)),
            (r#"{"a":"\"NaN\\"}"#, None),
            (r#"{"a":NaNs}"#, None),
            (r#"{"a":"x"NaN}"#, None),
            ("NaN", None),
            ("{\"a\":\"x\\\ty\"}", None),
            ("{\"a\":\"x", None),
            ("{}", None),
        ] {
            assert_eq!(repair(text).as_deref(), mended, "{text}");
        }
    }
}
