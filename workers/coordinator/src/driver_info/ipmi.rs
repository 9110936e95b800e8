//! The keys of IPMI.

use farrier::wire::Secret;

use super::reader::{Reader, shown};

/// The port that IPMI has by default.
const DEFAULT_PORT: u16 = 623;
/// The longest password of IPMI 2.0 and of 1.5, in bytes.
const LONGEST_PASSWORD: usize = 20;
const LONGEST_PASSWORD_1_5: usize = 16;
/// The length of a Kg key, in bytes.
const KG_KEY_BYTES: usize = 20;

/// How to reach a node over IPMI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpmiInfo {
    /// `ipmi_address`: a name or an address.
    pub address: String,
    /// `ipmi_port`.
    pub port: u16,
    /// `ipmi_username`; empty is the anonymous one.
    pub username: String,
    /// `ipmi_password`.
    pub password: Secret,
    /// `ipmi_priv_level`.
    pub privilege_level: PrivilegeLevel,
    /// `ipmi_protocol_version`.
    pub protocol_version: ProtocolVersion,
    /// `ipmi_cipher_suite`; without it 17 is tried, and 3 where that is refused.
    pub cipher_suite: Option<CipherSuite>,
    /// `ipmi_hex_kg_key`.
    pub kg_key: Option<KgKey>,
    /// `ipmi_disable_boot_timeout`: a boot device that was set holds for longer than a minute.
    pub disable_boot_timeout: bool,
}

/// What a session may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrivilegeLevel {
    /// Set up calls back.
    Callback,
    /// Read.
    User,
    /// All that does not change the controller itself.
    Operator,
    /// All.
    #[default]
    Administrator,
}

impl PrivilegeLevel {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Callback => "CALLBACK",
            Self::User => "USER",
            Self::Operator => "OPERATOR",
            Self::Administrator => "ADMINISTRATOR",
        }
    }
}

/// The version of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProtocolVersion {
    /// 1.5, without encryption.
    V1_5,
    /// 2.0.
    #[default]
    V2_0,
}

/// By what a session is authenticated, checked and encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CipherSuite {
    /// HMAC-SHA1 with AES-CBC-128.
    Three,
    /// HMAC-SHA256 with AES-CBC-128.
    Seventeen,
}

impl CipherSuite {
    /// The number of it.
    #[must_use]
    pub fn number(self) -> &'static str {
        match self {
            Self::Three => "3",
            Self::Seventeen => "17",
        }
    }
}

/// The key of a controller, beside the password of a user.
#[derive(Clone, PartialEq, Eq)]
pub struct KgKey(Vec<u8>);

impl KgKey {
    /// The bytes of it, without the zeros that fill it up.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for KgKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Reads and checks every key of IPMI; none without an address that fits.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<IpmiInfo> {
    let address = reader.read("ipmi_address", read_address);
    let protocol_version = reader.read("ipmi_protocol_version", read_version).unwrap_or_default();
    let cipher_suite = reader.read("ipmi_cipher_suite", read_cipher_suite);
    let kg_key = reader.read("ipmi_hex_kg_key", read_kg_key);
    if protocol_version == ProtocolVersion::V1_5 {
        for key in ["ipmi_cipher_suite", "ipmi_hex_kg_key"] {
            if reader.is_given(key) {
                reader.fault(key, "only IPMI 2.0 has it, and ipmi_protocol_version is 1.5");
            }
        }
    }
    Some(IpmiInfo {
        port: reader.read("ipmi_port", read_port).unwrap_or(DEFAULT_PORT),
        username: read_username(reader),
        password: read_password(reader, protocol_version),
        privilege_level: reader.read("ipmi_priv_level", read_privilege_level).unwrap_or_default(),
        disable_boot_timeout: reader.flag("ipmi_disable_boot_timeout").unwrap_or(true),
        protocol_version,
        cipher_suite,
        kg_key,
        address: address?,
    })
}

/// It becomes an argument of `ipmitool`: what begins with a dash would be taken for a flag.
fn read_address(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if text.chars().all(fits) && !text.starts_with('-') && text.len() <= 255 {
        return Ok(text.to_owned());
    }
    Err(format!("expected a name or an address, found {}", shown(text)))
}

fn read_port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port @ 1..) => Ok(port),
        _ => Err(format!("expected 1 to 65535, found {}", shown(text))),
    }
}

fn read_version(text: &str) -> Result<ProtocolVersion, String> {
    match text {
        "2.0" => Ok(ProtocolVersion::V2_0),
        "1.5" => Ok(ProtocolVersion::V1_5),
        other => Err(format!("expected 2.0 or 1.5, found {}", shown(other))),
    }
}

fn read_cipher_suite(text: &str) -> Result<CipherSuite, String> {
    match text {
        "3" => Ok(CipherSuite::Three),
        "17" => Ok(CipherSuite::Seventeen),
        other => Err(format!("expected 3 or 17, found {}", shown(other))),
    }
}

fn read_privilege_level(text: &str) -> Result<PrivilegeLevel, String> {
    use PrivilegeLevel::{Administrator, Callback, Operator, User};
    [Administrator, Operator, User, Callback]
        .into_iter()
        .find(|level| level.as_str().eq_ignore_ascii_case(text))
        .ok_or_else(|| format!("expected ADMINISTRATOR, OPERATOR, USER or CALLBACK, found {}", shown(text)))
}

fn read_username(reader: &mut Reader<'_>) -> String {
    let username = reader.text("ipmi_username").unwrap_or_default();
    if username.starts_with('-') || username.chars().any(char::is_control) || username.len() > 16 {
        reader.fault(
            "ipmi_username",
            "expected at most 16 bytes that do not begin with a dash, without control characters",
        );
    }
    username
}

fn read_password(reader: &mut Reader<'_>, version: ProtocolVersion) -> Secret {
    let password = reader.text("ipmi_password").unwrap_or_default();
    let longest = match version {
        ProtocolVersion::V1_5 => LONGEST_PASSWORD_1_5,
        ProtocolVersion::V2_0 => LONGEST_PASSWORD,
    };
    if password.len() > longest || password.contains(['\n', '\r', '\0']) {
        reader.fault("ipmi_password", format!("expected at most {longest} bytes in one line"));
    }
    Secret::new(password)
}

/// `ipmitool` takes a key that is not on its command line as a text, in which no zero can stand.
fn read_kg_key(text: &str) -> Result<KgKey, String> {
    let expected = "expected 40 hexadecimal digits";
    let mut key = hex::decode(text).map_err(|_| expected.to_owned())?;
    if key.len() != KG_KEY_BYTES {
        return Err(format!("{expected}, found {}", text.len()));
    }
    key.truncate(key.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    if key.is_empty() || key.contains(&0) {
        return Err(
            "a key that is all zeros, or has a zero byte before its end, cannot be given to ipmitool"
                .to_owned(),
        );
    }
    Ok(KgKey(key))
}
