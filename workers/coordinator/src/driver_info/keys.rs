//! The keys that are known, and those that only look like them.

use super::reader::Reader;

/// The keys whose values are secrets.
pub const SECRET_KEYS: &[&str] = &["redfish_password", "ipmi_password", "ipmi_hex_kg_key"];

/// Keys that begin like this are ours alone.
const PREFIXES: &[(&str, &[&str])] = &[
    (
        "redfish_",
        &[
            "redfish_address",
            "redfish_auth_type",
            "redfish_password",
            "redfish_system_id",
            "redfish_username",
            "redfish_verify_ca",
        ],
    ),
    (
        "ipmi_",
        &[
            "ipmi_address",
            "ipmi_cipher_suite",
            "ipmi_disable_boot_timeout",
            "ipmi_hex_kg_key",
            "ipmi_password",
            "ipmi_port",
            "ipmi_priv_level",
            "ipmi_protocol_version",
            "ipmi_username",
        ],
    ),
    ("image_", &["image_download_source", "image_http_proxy", "image_https_proxy", "image_no_proxy"]),
];

/// Keys of ours among those of others.
const LONE_KEYS: &[&str] = &["deploy_forces_oob_reboot", "disable_power_off", "power_interface"];

/// How many letters a key may differ from one of [`LONE_KEYS`] to be taken for a slip of the pen.
const SLIP: usize = 2;

/// Notes the keys that look like ours and are none.
pub(super) fn find_misspelt(reader: &mut Reader<'_>) {
    for key in reader.keys() {
        let lower = key.to_ascii_lowercase();
        if let Some((prefix, known)) = PREFIXES.iter().find(|(prefix, _)| lower.starts_with(prefix)) {
            if !known.contains(&key) {
                reader.fault(
                    key,
                    format!("there is no such key; those that begin with {prefix} are {}", known.join(", ")),
                );
            }
        } else if let Some(meant) = LONE_KEYS.iter().find(|known| is_slip(&lower, key, known)) {
            reader.fault(key, format!("there is no such key; is {meant} meant?"));
        }
    }
}

fn is_slip(lower: &str, key: &str, known: &str) -> bool {
    key != known && strsim::damerau_levenshtein(lower, known) <= SLIP
}
