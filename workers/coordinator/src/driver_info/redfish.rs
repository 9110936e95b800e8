//! The keys of Redfish.

use std::path::PathBuf;

use farrier::wire::{HttpUrl, Secret};
use url::Url;

use super::reader::{Reader, shown, spelled_bool};

/// How to reach the Redfish service of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedfishInfo {
    /// `redfish_address`: scheme, host and port alone.
    pub address: HttpUrl,
    /// `redfish_system_id`: the path of the system, or the last part of it. Without it, the only system that there is.
    pub system_id: Option<String>,
    /// `redfish_username` and `redfish_password`.
    pub credentials: Option<Credentials>,
    /// `redfish_verify_ca`.
    pub verify_ca: VerifyCa,
    /// `redfish_auth_type`.
    pub auth_type: AuthType,
}

/// A login name with its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// By what the certificate of a service is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VerifyCa {
    /// The authorities that the system trusts.
    #[default]
    System,
    /// The authorities in this file, in PEM.
    File(PathBuf),
    /// Not at all.
    Off,
}

/// How a client says who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthType {
    /// By its name and password with every request.
    Basic,
    /// By a session.
    Session,
    /// By a session where the service has them, else as with `basic`.
    #[default]
    Auto,
}

/// Reads and checks every key of Redfish; none without an address that fits.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<RedfishInfo> {
    let address = reader.read("redfish_address", read_address);
    let system_id = reader.read("redfish_system_id", read_system_id);
    let username = reader.text("redfish_username");
    let password = reader.text("redfish_password");
    let credentials = match (username, password) {
        (Some(username), _) if username.contains([':', '\n']) => {
            reader.fault("redfish_username", "expected a name without colons and line ends");
            None
        }
        (Some(username), Some(password)) => Some(Credentials { username, password: Secret::new(password) }),
        (Some(_), None) => {
            reader.require("redfish_password", "there is a redfish_username");
            None
        }
        (None, Some(_)) => {
            reader.require("redfish_username", "there is a redfish_password");
            None
        }
        (None, None) => None,
    };
    let verify_ca = reader.read("redfish_verify_ca", read_verify_ca).unwrap_or_default();
    let auth_type = reader.read("redfish_auth_type", read_auth_type).unwrap_or_default();
    Some(RedfishInfo { address: address?, system_id, credentials, verify_ca, auth_type })
}

fn read_address(text: &str) -> Result<HttpUrl, String> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let expected =
        "expected a host, with http:// or https:// before it and a port behind it where they are needed";
    // What was found is not shown: it may hold credentials.
    let url = Url::parse(&whole).map_err(|error| format!("{expected}: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("{expected}; the credentials belong into redfish_username and redfish_password"));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{expected}, and nothing more; the path of the system is redfish_system_id"));
    }
    HttpUrl::new(url).map_err(|error| format!("{expected}: {error}"))
}

fn read_system_id(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '%' | '\\');
    let segments = text.strip_prefix('/').unwrap_or(text).split('/');
    let is_path = text.starts_with('/') || !text.contains('/');
    if is_path && text.chars().all(fits) && segments.clone().all(|part| !matches!(part, "" | "." | "..")) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "expected the path of a system as in /redfish/v1/Systems/1, or its last part, found {}",
        shown(text)
    ))
}

fn read_verify_ca(text: &str) -> Result<VerifyCa, String> {
    match spelled_bool(text) {
        Some(true) => Ok(VerifyCa::System),
        Some(false) => Ok(VerifyCa::Off),
        None if text.starts_with('/') => Ok(VerifyCa::File(text.into())),
        None => Err(format!(
            "expected true, false or the absolute path of a file with certificates on the coordinator, found {}",
            shown(text)
        )),
    }
}

fn read_auth_type(text: &str) -> Result<AuthType, String> {
    match text {
        "basic" => Ok(AuthType::Basic),
        "session" => Ok(AuthType::Session),
        "auto" => Ok(AuthType::Auto),
        other => Err(format!("expected basic, session or auto, found {}", shown(other))),
    }
}
