//! Which topic a device has. Types and ids may hold any text, `/`, `+` and `#` included, so they are percent-encoded, as in the
//! paths of the API.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use presence::{Device, DeviceName};

/// What stays as it is in a level: letters, digits, and what RFC 3986 calls unreserved.
const LEVEL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The topics below one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    prefix: String,
}

impl Topics {
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// What the broker retains of a device.
    pub fn device(&self, Device { device_type, id }: Device<'_>) -> String {
        let [device_type, id] = [device_type, id].map(|level| utf8_percent_encode(level, LEVEL));
        format!("{}/{device_type}/{id}", self.prefix)
    }

    /// The device whose topic this is; `None` if it is the topic of none.
    pub fn device_of(&self, topic: &str) -> Option<DeviceName> {
        let levels = topic.strip_prefix(&self.prefix)?.strip_prefix('/')?;
        let (device_type, id) = levels.split_once('/')?;
        let decode = |level| percent_decode_str(level).decode_utf8().ok();
        let (device_type, id): (Cow<'_, str>, Cow<'_, str>) = (decode(device_type)?, decode(id)?);
        let device = Device { device_type: &device_type, id: &id };
        // Each device has one topic, however else its name can be encoded.
        (self.device(device) == topic).then(|| DeviceName::of(device))
    }

    /// The fleet at a glance.
    pub fn summary(&self) -> String {
        format!("{}/summary", self.prefix)
    }

    /// Whether what is retained of the devices is kept up to date.
    pub fn service(&self) -> String {
        format!("{}/service", self.prefix)
    }

    /// A filter for the topics of all devices.
    pub fn all_devices(&self) -> String {
        format!("{}/+/+", self.prefix)
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_topic_has_the_name_percent_encoded() {
        let topics = Topics::new("site/devstatus");
        for (device_type, id, topic) in [
            ("pump", "p-1.a_b~c", "site/devstatus/pump/p-1.a_b~c"),
            ("a/b", "+", "site/devstatus/a%2Fb/%2B"),
            ("#", "é %\0$SYS", "site/devstatus/%23/%C3%A9%20%25%00%24SYS"),
            ("service", "summary", "site/devstatus/service/summary"),
        ] {
            let device = Device { device_type, id };
            assert_eq!(topics.device(device), topic);
            assert_eq!(topics.device_of(topic), Some(DeviceName::of(device)));
        }
        for topic in [
            "site/devstatus/service",
            "site/devstatus/summary",
            "site/devstatus/a/b/c",
            "site/devstatus/a%2fb/c",
            "site/devstatus/%70ump/p",
            "site/devstatus/%FF/p",
            "site/devstatus2/pump/p",
            "site/devstatus/pump/ü",
        ] {
            assert_eq!(topics.device_of(topic), None, "{topic}");
        }
    }

    proptest! {
        #[test]
        fn every_name_has_a_topic_of_its_own(device_type in ".{1,20}", id in "\\PC{1,20}|[/+#%\0$]{1,8}") {
            let topics = Topics::new("p");
            let device = Device { device_type: &device_type, id: &id };
            let topic = topics.device(device);
            prop_assert_eq!(topic.split('/').count(), 3);
            prop_assert!(topic.bytes().all(|byte| byte.is_ascii_graphic() && !b"+#".contains(&byte)));
            prop_assert_eq!(topics.device_of(&topic), Some(DeviceName::of(device)));
        }
    }
}
