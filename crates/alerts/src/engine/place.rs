//! Which device an alert is about, where it is, and the group that it belongs to.

use std::net::IpAddr;
use std::sync::Arc;

use presence::DeviceName;

use crate::clock::WallMillis;
use crate::instances::InstanceAbout;
use crate::rule::GroupBy;

/// Which device an alert is about, and where it is.
pub(super) struct Place<'a> {
    pub device: &'a Arc<DeviceName>,
    pub source: Option<&'a str>,
    pub address: Option<IpAddr>,
    pub since: WallMillis,
}

impl Place<'_> {
    pub fn about(&self, group_by: GroupBy) -> InstanceAbout {
        let group = match group_by {
            GroupBy::Rule => "".into(),
            GroupBy::Type => self.device.device_type.clone(),
            GroupBy::Source => self.source.unwrap_or_default().into(),
            GroupBy::AddressBlock => self.address.map(block).unwrap_or_default().into(),
            GroupBy::Device => format!("{}/{}", self.device.device_type, self.device.id).into(),
        };
        InstanceAbout { group, source: self.source.map(Arc::from), since: self.since }
    }
}

/// The block of addresses that is likely one site.
fn block(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{}/64", std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}
