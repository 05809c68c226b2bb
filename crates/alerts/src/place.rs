//! Where a device is, and the group that an alert about it belongs to.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use presence::DeviceName;

use crate::clock::WallMillis;
use crate::instances::InstanceAbout;
use crate::rule::GroupBy;

/// Which device an alert is about, and where it is.
pub(crate) struct DevicePlace<'a> {
    pub device: &'a Arc<DeviceName>,
    pub source: Option<&'a Arc<str>>,
    pub block: AddressBlock,
    pub since: WallMillis,
}

/// The addresses that are likely one site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressBlock {
    Unknown,
    /// A /24.
    V4([u8; 3]),
    /// A /64.
    V6([u16; 4]),
}

impl DevicePlace<'_> {
    pub fn about(&self, group_by: GroupBy) -> InstanceAbout {
        let group = match group_by {
            GroupBy::Rule => "".into(),
            GroupBy::Type => self.device.device_type.clone(),
            GroupBy::Source => self.source.cloned().unwrap_or_default(),
            GroupBy::AddressBlock => self.block.text().into(),
            GroupBy::Device => format!("{}/{}", self.device.device_type, self.device.id).into(),
        };
        InstanceAbout { group, source: self.source.cloned(), since: self.since }
    }
}

impl AddressBlock {
    pub fn of(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            None => AddressBlock::Unknown,
            Some(IpAddr::V4(address)) => {
                let [a, b, c, _] = address.octets();
                AddressBlock::V4([a, b, c])
            }
            Some(IpAddr::V6(address)) => {
                let [a, b, c, d, ..] = address.segments();
                AddressBlock::V6([a, b, c, d])
            }
        }
    }

    fn text(self) -> String {
        match self {
            AddressBlock::Unknown => String::new(),
            AddressBlock::V4([a, b, c]) => format!("{a}.{b}.{c}.0/24"),
            AddressBlock::V6([a, b, c, d]) => format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)),
        }
    }
}
