//! A document with its message: a JSON object whose last field is an object, `{…,"_":{…}}`, at the end of which the message becomes
//! a field, `"m"` with a text or `"b"` with bytes in base64, and `"x":true` if it was longer. Messages were held in this form before
//! they were held beside documents, so both are equal.

/// How a document ends.
const END: &[u8] = b"}}";

/// Puts the message into the document; one that does not end as a document stays as it is.
pub fn put_message(document: &mut Vec<u8>, message: &[u8], is_cut: bool) {
    if !document.ends_with(END) {
        return;
    }
    document.truncate(document.len() - END.len());
    if document.last() != Some(&b'{') {
        document.push(b',');
    }
    match std::str::from_utf8(message) {
        Ok(text) => {
            document.extend_from_slice(b"\"m\":\"");
            put_escaped(document, text);
        }
        Err(_) => {
            document.extend_from_slice(b"\"b\":\"");
            put_base64(document, message);
        }
    }
    document.push(b'"');
    if is_cut {
        document.extend_from_slice(b",\"x\":true");
    }
    document.extend_from_slice(END);
}

/// The inside of a JSON text, in the same bytes as serde writes it.
fn put_escaped(json: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(*byte, ..b' ' | b'"' | b'\\')) {
        json.extend_from_slice(&rest[..at]);
        let byte = rest[at];
        let letter = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0c => b'f',
            b'\r' => b'r',
            _control => b'u',
        };
        json.extend([b'\\', letter]);
        if letter == b'u' {
            let digit = |number: u8| b"0123456789abcdef"[usize::from(number)];
            json.extend([b'0', b'0', digit(byte >> 4), digit(byte & 0xf)]);
        }
        rest = &rest[at + 1..];
    }
    json.extend_from_slice(rest);
}

/// Standard base64 with padding.
fn put_base64(text: &mut Vec<u8>, bytes: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in bytes.chunks(3) {
        let wide =
            group.iter().fold(0u32, |wide, byte| wide << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let six = wide >> (18 - 6 * place) & 0x3f;
            text.push(if place > group.len() { b'=' } else { ALPHABET[six as usize] });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with_message(document: &str, message: &[u8], is_cut: bool) -> String {
        let mut document = document.as_bytes().to_vec();
        put_message(&mut document, message, is_cut);
        String::from_utf8(document).unwrap()
    }

    #[test]
    fn the_message_is_the_last_field_as_text_or_base64() {
        for (document, expected) in [
            (r#"{"a":1,"_":{}}"#, r#"{"a":1,"_":{"m":"x"}}"#),
            (r#"{"a":1,"_":{"t":1}}"#, r#"{"a":1,"_":{"t":1,"m":"x"}}"#),
            (r#"{"a":1}"#, r#"{"a":1}"#),
            ("", ""),
        ] {
            assert_eq!(with_message(document, b"x", false), expected);
        }
        for (bytes, text) in [
            (&[0xff][..], "/w=="),
            (&[0xff, 0xfe], "//4="),
            (&[0xff, 0xfe, 0xfd], "//79"),
            (&[0xff, 0, 0, 0], "/wAAAA=="),
        ] {
            assert_eq!(with_message("{{}}", bytes, true), format!(r#"{{{{"b":"{text}","x":true}}}}"#));
        }
    }

    proptest! {
        #[test]
        fn a_text_is_escaped_as_serde_does(text in "[\u{0}-\u{30}a-z\\\\\u{7f}\u{e9}]{0,40}") {
            let expected = format!(r#"{{{{"m":{}}}}}"#, serde_json::to_string(&text).unwrap());
            prop_assert_eq!(with_message("{{}}", text.as_bytes(), false), expected);
        }
    }
}
