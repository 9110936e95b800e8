//! Root device hints, in Ironic's key names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a disk must be like. Every hint given must hold. Text may begin with an operator of Ironic's:
/// `s==`, `s!=`, `s<`, `s<=`, `s>`, `s>=`, `<in>`, `<all-in>`, `<or>` for text; `=` (at least), `==`, `!=`, `<`, `<=`, `>`,
/// `>=`, `<range-in>` for numbers. Without one, text must be equal (in any case) and a number must be equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RootDeviceHints {
    /// Size in GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<HintValue>,
    /// Model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Vendor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// Serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// World Wide Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    /// World Wide Name with the vendor extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn_with_extension: Option<String>,
    /// Vendor extension of the World Wide Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn_vendor_extension: Option<String>,
    /// A path that stays the same over reboots, such as a link in `/dev/disk/by-id`. Kernel names such as `/dev/sda` are refused:
    /// they change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// True for a disk that turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotational: Option<bool>,
    /// SCSI address: host, channel, target, lun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hctl: Option<String>,
    /// The link of the disk in `/dev/disk/by-path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_path: Option<String>,
    /// Transport: `nvme`, `sata`, `sas`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tran: Option<String>,
}

/// A number, or text that may begin with an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HintValue {
    /// A number to be equal to.
    Number(u64),
    /// Text, with an operator or without.
    Text(String),
}
