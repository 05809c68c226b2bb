//! What the platform's close codes mean, in words. The numbers are those of its message format; which of them changes what
//! is believed of a device is decided in `iot_platform`.

use crate::Cause;

/// The meaning of a close code in one clause; `None` for a number that the platform does not give.
pub fn meaning(code: u16) -> Option<&'static str> {
    Some(match code {
        // 10 is what an application gets for 0.
        0 | 10 => "ended normally",
        91 => "closed by the client, or its TCP connection was lost",
        92 => "closed by the server, or the network failed",
        93 => "the server was shut down",
        94 => "closed by an administrator",
        95 => "failed while a message was being sent",
        96 => "the client did not acknowledge a message",
        100 => "system error",
        160 => "timed out: the client was silent for longer than its keep-alive",
        161 => "a ping was not answered",
        163 => "the TLS handshake failed",
        180 => "not authorised",
        193 => "the session expired",
        287 => "a message was too large",
        288 => "the client id was used again: another connection took over",
        104 | 105 | 166 | 167 | 168 | 173 | 271..=299 => "protocol or capacity error",
        _ => return None,
    })
}

/// The kind of cause that a close code stands for; `None` for a number that the platform does not give.
pub fn cause(code: u16) -> Option<Cause> {
    Some(match code {
        0 | 10 | 193 => Cause::Ended,
        // Either side, or the network: the platform does not say which.
        91 | 92 => Cause::Connection,
        93 | 94 | 100 => Cause::Server,
        160 | 161 => Cause::Timeout,
        163 => Cause::Tls,
        180 => Cause::Refused,
        288 => Cause::Takeover,
        _ => meaning(code).map(|_| Cause::Protocol)?,
    })
}

/// The word for the kind of cause.
pub fn cause_class(code: u16) -> &'static str {
    cause(code).map_or(Cause::UNKNOWN, Cause::word)
}

#[cfg(test)]
mod tests {
    use super::{cause_class, meaning};

    #[test]
    fn every_code_with_a_meaning_has_a_class_and_others_are_unknown() {
        for code in 0..=u16::MAX {
            assert_eq!(meaning(code).is_some(), cause_class(code) != "unknown", "{code}");
        }
        let classes = [0, 91, 94, 160, 163, 180, 288, 287, 95, 1].map(cause_class);
        let expected = [
            "ended",
            "connection",
            "server",
            "timeout",
            "tls",
            "refused",
            "takeover",
            "protocol",
            "protocol",
        ];
        assert_eq!((&classes[..9], classes[9]), (&expected[..], "unknown"));
    }

    #[test]
    fn every_code_of_the_captured_messages_has_a_meaning_and_other_numbers_have_none() {
        let mut seen = 0;
        for line in include_str!("../../../../tests/data/captured.jsonl").lines() {
            let message: serde_json::Value = serde_json::from_str(line).unwrap();
            let payload = message["payload"].as_str().unwrap();
            let Ok(payload) = serde_json::from_str::<serde_json::Value>(payload) else { continue };
            let Some(code) = payload["CloseCode"].as_u64() else { continue };
            assert!(meaning(code as u16).is_some(), "{code}: {}", payload["Reason"]);
            seen += 1;
        }
        assert!(seen > 50, "{seen}");
        assert_eq!([1, 90, 97, 270, 300, u16::MAX].map(meaning), [None; 6]);
    }

    #[test]
    fn codes_in_a_range_and_named_codes_have_the_meaning_of_their_name() {
        assert!(meaning(288).is_some_and(|meaning| meaning.contains("took over")));
        assert!(meaning(287).is_some_and(|meaning| meaning.contains("too large")));
        assert_eq!(meaning(286), meaning(104));
    }
}
