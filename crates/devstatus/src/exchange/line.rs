//! One device as one line of JSON, and back: `{"type":…,"id":…,"status":…,"since":…,"heard_at":…,"statements":[…]}`.
//!
//! The statements are the belief: applied to nothing, they give the same one. `status` and `since` follow from them; they are
//! written for whoever reads the line, and not read back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use presence::payload::Payload;
use presence::{Belief, Claim, DeviceName, Moment, Statement, Status, UnixSeconds};
use store::StoredDevice;

/// More statements than any belief holds.
const STATEMENTS_MAX: usize = 64;
/// The text of one message; sixteen times what the platform's buffer holds.
const MESSAGE_MAX_BYTES: usize = 64 * 1024;

#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(rename = "type")]
    device_type: String,
    id: String,
    #[serde(skip_deserializing)]
    status: Option<&'static str>,
    #[serde(skip_deserializing)]
    since: Option<Timestamp>,
    /// When the latest message arrived that taught something about it.
    heard_at: Timestamp,
    statements: Vec<Told>,
}

/// One statement; an unknown moment is `null`.
#[derive(Serialize, Deserialize)]
struct Told {
    claim: Word,
    session: Option<Timestamp>,
    time: Option<Timestamp>,
    close_code: u16,
    /// The message, byte for byte.
    message: String,
}

/// The claims that a belief can hold.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Request,
    Connect,
    Takeover,
    Refusal,
    Disconnect,
}

/// The word for a status.
pub fn word(status: Status) -> &'static str {
    match status {
        Status::Connected => "connected",
        Status::Disconnected => "disconnected",
    }
}

/// A moment as it stands in a line, with all its digits; `None` if it is unknown.
pub fn timestamp(moment: Moment) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from(moment.nanos()?)).ok()
}

/// A time of our own clock.
pub fn at(time: UnixSeconds) -> Timestamp {
    Timestamp::from_second(i64::from(time.0)).unwrap_or_default()
}

/// The line without its line feed; `None` if a message is no text.
pub fn write(device: &StoredDevice) -> Option<String> {
    let verdict = device.belief.verdict();
    let line = Line {
        device_type: device.name.device_type.to_string(),
        id: device.name.id.to_string(),
        status: verdict.map(|verdict| word(verdict.status)),
        since: verdict.and_then(|verdict| timestamp(verdict.statement.time)),
        heard_at: at(device.heard_at),
        statements: device.belief.clone().into_statements().map(told).collect::<Option<_>>()?,
    };
    serde_json::to_string(&line).ok()
}

/// Reads a line back, or says what is wrong with it.
pub fn read(line: &[u8]) -> Result<StoredDevice, String> {
    let Line { device_type, id, heard_at, statements, .. } =
        serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let sound = |name: &str| !name.is_empty() && !name.contains(['/', '+', '#', '\0']);
    if !sound(&device_type) || !sound(&id) {
        return Err("no topic can name such a type and id".to_owned());
    }
    if statements.is_empty() || statements.len() > STATEMENTS_MAX {
        return Err(format!("1 to {STATEMENTS_MAX} statements are expected"));
    }
    let mut belief = Belief::default();
    for told in statements {
        if told.message.len() > MESSAGE_MAX_BYTES {
            return Err(format!("a message may have at most {MESSAGE_MAX_BYTES} bytes"));
        }
        belief.apply(statement(&told));
    }
    let heard_at = UnixSeconds(u32::try_from(heard_at.as_second()).unwrap_or(0));
    let name = DeviceName { device_type: device_type.into(), id: id.into() };
    Ok(StoredDevice { name, belief, heard_at })
}

fn told(statement: Statement) -> Option<Told> {
    let claim = match statement.claim {
        Claim::Request => Word::Request,
        Claim::Connect => Word::Connect,
        Claim::Takeover => Word::Takeover,
        Claim::Refusal => Word::Refusal,
        Claim::Disconnect => Word::Disconnect,
        // No belief holds one.
        Claim::FailedLogin => return None,
    };
    let message = String::from_utf8(statement.payload.unpack()).ok()?;
    let (session, time) = (timestamp(statement.session), timestamp(statement.time));
    Some(Told { claim, session, time, close_code: statement.close_code, message })
}

fn statement(told: &Told) -> Statement {
    let claim = match told.claim {
        Word::Request => Claim::Request,
        Word::Connect => Claim::Connect,
        Word::Takeover => Claim::Takeover,
        Word::Refusal => Claim::Refusal,
        Word::Disconnect => Claim::Disconnect,
    };
    let moment = |time: Option<Timestamp>| {
        time.map_or(Moment::UNKNOWN, |time| Moment::from_nanos(time.as_nanosecond()))
    };
    let payload = Payload::pack(told.message.as_bytes());
    let (session, time) = (moment(told.session), moment(told.time));
    Statement { claim, session, time, close_code: told.close_code, payload }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use presence::strategy;

    /// A message that can stand in a line.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        any::<String>().prop_map(String::into_bytes)
    }

    proptest! {
        #[test]
        fn every_belief_comes_back_whole(
            statements in prop::collection::vec(strategy::statement(text()), 1..8),
            id in "[^/+#\u{0}]{1,8}",
            heard_at: u32,
        ) {
            let mut belief = Belief::default();
            for statement in statements {
                belief.apply(statement);
            }
            let name = DeviceName { device_type: "t".into(), id: id.into() };
            let device = StoredDevice { name, belief, heard_at: UnixSeconds(heard_at) };
            let line = write(&device).unwrap();
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(read(line.as_bytes()), Ok(device));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&bytes);
        }
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        let line = r#"{"type":"t","id":"1","heard_at":"2026-11-23T17:00:00Z","statements":[{"claim":"connect","session":null,"time":null,"close_code":0,"message":"{}"}]}"#;
        assert!(read(line.as_bytes()).is_ok());
        for (was, is, why) in [
            (r#""id":"1""#, r#""id":"a/b""#, "topic"),
            (r#""id":"1""#, r#""id":"""#, "topic"),
            (r#""id":"1","#, "", "id"),
            ("connect", "failed_login", "failed_login"),
            ("2026-11-23T17", "yesterday", "year"),
        ] {
            let refused = read(line.replace(was, is).as_bytes());
            assert!(refused.as_ref().is_err_and(|told| told.contains(why)), "{is}: {refused:?}");
        }
        let none = format!("{}[]}}", &line[..line.find('[').unwrap()]);
        assert!(read(none.as_bytes()).is_err_and(|why| why.contains("statements")));
    }
}
