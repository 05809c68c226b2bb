//! Status messages as the platform publishes them, for the devices of the organisation that the tests use.

pub const ORG: &str = "org";
pub const APPLICATION: &str = "app";
pub const KEY: &str = "a-org-xyz";
/// Easy to find wherever it must not appear.
pub const TOKEN: &str = "sEcReT-9f3a-tOkEn";

/// The filter that all statuses match.
pub const FILTER: &str = "iot-2/type/+/id/+/mon";

/// A device, by the two names that its topic carries.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    pub kind: &'a str,
    pub id: &'a str,
}

impl<'a> Device<'a> {
    pub fn new(kind: &'a str, id: &'a str) -> Self {
        Self { kind, id }
    }

    pub fn topic(&self) -> String {
        format!("iot-2/type/{}/id/{}/mon", self.kind, self.id)
    }

    pub fn path(&self) -> String {
        format!("/{}/{}", self.kind, self.id)
    }

    pub fn client_id(&self) -> String {
        format!("d:{ORG}:{}:{}", self.kind, self.id)
    }

    /// A Connect at the second `at` of a week in which all tests take place.
    pub fn connect(&self, at: u32) -> String {
        let time = time(at);
        format!(
            r#"{{"Action":"Connect","Time":"{time}","ClientAddr":"198.51.100.7","ClientID":"{}","Port":8883,"Secure":true,"Protocol":"mqtt4","User":"use-token-auth","ConnectTime":"{time}","Durable":false,"CloseCode":0,"Reason":""}}"#,
            self.client_id()
        )
    }

    /// The Disconnect of the session that began at the second `since`, closed by the client.
    pub fn disconnect(&self, since: u32, at: u32) -> String {
        format!(
            r#"{{"Action":"Disconnect","Time":"{}","ClientAddr":"198.51.100.7","ClientID":"{}","Port":8883,"Secure":true,"Protocol":"mqtt4","ConnectTime":"{}","Durable":false,"CloseCode":91,"Reason":"The connection was closed by the client.","ReadBytes":75,"ReadMsg":1,"WriteBytes":8,"WriteMsg":0}}"#,
            time(at),
            self.client_id(),
            time(since)
        )
    }

    /// The answer for a device that is known to have no status.
    pub fn never_connected(&self) -> String {
        format!(r#"{{"Action":"Never Connected","ClientID":"{}"}}"#, self.client_id())
    }
}

/// Messages whose times are so many seconds before now, as the platform would write them; below zero they are ahead.
pub struct Ago {
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

impl Ago {
    pub fn seconds(&self, ago: i64) -> String {
        let moment = jiff::Timestamp::from_millisecond(self.now_ms - ago * 1_000);
        format!("{:.3}", moment.expect("a moment of our time"))
    }

    pub fn connect(&self, device: Device<'_>, ago: i64) -> String {
        device.connect(0).replace(&time(0), &self.seconds(ago))
    }

    /// The end of a session with a close code.
    pub fn disconnect(&self, device: Device<'_>, began: i64, ended: i64, code: u16) -> String {
        let message = device.disconnect(0, 1).replace("\"CloseCode\":91", &format!("\"CloseCode\":{code}"));
        let message = message.replace(&time(0), &self.seconds(began));
        message.replace(&time(1), &self.seconds(ended))
    }
}

/// The week begins at five in the afternoon of a Monday.
fn time(second: u32) -> String {
    const DAY: u32 = 24 * 3_600;
    assert!(second < 7 * DAY - 17 * 3_600, "all tests take place in one week");
    let second = second + 17 * 3_600;
    let (day, hour, minute) = (23 + second / DAY, second / 3_600 % 24, second / 60 % 60);
    format!("2026-11-{day}T{hour:02}:{minute:02}:{:02}.186Z", second % 60)
}
