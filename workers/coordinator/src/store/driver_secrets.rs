//! Secrets in the driver info of nodes: sealed one by one in the column, opened for whoever uses them, masked for whoever looks.

use farrier::wire::ProxyUrl;
use serde_json::{Map, Value};
use url::Url;

use super::StoreError;
use super::rows::from_json;
use crate::driver_info::SECRET_KEYS;
use crate::vault::{Place, Vault, is_sealed};

/// Keys whose values are proxies: URLs that need no scheme.
const PROXY_KEYS: &[&str] = &["image_http_proxy", "image_https_proxy"];

/// What is shown in the place of a secret, as Ironic shows it.
pub const MASK: &str = "******";

/// Seals the secrets among what was given for a node.
pub(super) fn seal(
    vault: &Vault,
    node: &str,
    given: Map<String, Value>,
) -> Result<Map<String, Value>, StoreError> {
    given
        .into_iter()
        .map(|(key, value)| seal_one(vault, node, &key, value).map(|value| (key, value)))
        .collect()
}

fn seal_one(vault: &Vault, node: &str, key: &str, value: Value) -> Result<Value, StoreError> {
    let field = || format!("driver_info.{key}");
    // Whoever sends back what was shown would lose the secret. What looks sealed was never given out, and is a mistake too.
    let is_stand_in = |text: &str| is_sealed(text) || (text == MASK && may_hold_secrets(key));
    if value.as_str().is_some_and(is_stand_in) {
        return Err(StoreError::StandIn { field: field() });
    }
    if value.is_null() || masked(key, &value).is_none() {
        return Ok(value);
    }
    // As JSON, so that a number comes back as a number.
    let sealed = vault.seal(place(node, &field()), &value.to_string());
    sealed.map(Value::String).map_err(|why| StoreError::SecretKeyMissing { field: field(), why })
}

/// Opens what stands in the column of a node.
pub(super) fn open(
    vault: &Vault,
    node: &str,
    stored: Map<String, Value>,
) -> Result<Map<String, Value>, StoreError> {
    stored
        .into_iter()
        .map(|(key, value)| open_one(vault, node, &key, value).map(|value| (key, value)))
        .collect()
}

fn open_one(vault: &Vault, node: &str, key: &str, value: Value) -> Result<Value, StoreError> {
    let Some(sealed) = value.as_str().filter(|text| is_sealed(text)) else { return Ok(value) };
    let field = format!("driver_info.{key}");
    let opened = vault
        .open(place(node, &field), sealed)
        .map_err(|why| StoreError::SecretUnreadable { what: format!("`{field}` of node {node}"), why })?;
    from_json(&opened)
}

/// What may be shown of what stands in the column of a node.
pub(super) fn shown(vault: &Vault, node: &str, stored: Map<String, Value>) -> Map<String, Value> {
    let show = |(key, value): (String, Value)| {
        if is_secret(&key) {
            return (key, MASK.into());
        }
        let was_sealed = value.as_str().is_some_and(is_sealed);
        let shown = match open_one(vault, node, &key, value) {
            Ok(opened) => {
                masked(&key, &opened).unwrap_or_else(|| if was_sealed { MASK.into() } else { opened })
            }
            Err(_) => MASK.into(),
        };
        (key, shown)
    };
    stored.into_iter().map(show).collect()
}

/// What is sealed already, and under another key than new secrets are, or is a secret and not sealed: sealed anew. The number of
/// those that cannot be opened, and stay as they are, comes with it.
pub(super) fn reseal(
    vault: &Vault,
    node: &str,
    stored: Map<String, Value>,
) -> Result<(Map<String, Value>, usize), StoreError> {
    let mut unreadable = 0;
    let mut anew = Map::new();
    for (key, value) in stored {
        let is_current = value.as_str().is_some_and(|text| is_sealed(text) && vault.is_current(text));
        let value = match open_one(vault, node, &key, value.clone()) {
            Ok(opened) if !is_current => seal_one(vault, node, &key, opened)?,
            Ok(_) => value,
            Err(StoreError::SecretUnreadable { .. }) => {
                unreadable += 1;
                value
            }
            Err(error) => return Err(error),
        };
        anew.insert(key, value);
    }
    Ok((anew, unreadable))
}

fn place<'a>(node: &'a str, field: &'a str) -> Place<'a> {
    Place { table: "nodes", column: field, row: node }
}

/// Like Ironic, which takes `*_password` of any driver for a secret.
fn is_secret(key: &str) -> bool {
    SECRET_KEYS.contains(&key) || key.ends_with("_password")
}

fn may_hold_secrets(key: &str) -> bool {
    is_secret(key) || PROXY_KEYS.contains(&key)
}

/// What is shown in the place of a value; nothing where it holds no secret.
fn masked(key: &str, value: &Value) -> Option<Value> {
    if is_secret(key) {
        return Some(MASK.into());
    }
    let text = value.as_str()?;
    let shown = if PROXY_KEYS.contains(&key) { proxy_masked(text) } else { url_masked(text) };
    shown.map(Value::String)
}

/// A proxy without the credentials in it, where there are some.
fn proxy_masked(text: &str) -> Option<String> {
    match text.parse::<ProxyUrl>() {
        Ok(proxy) => has_credentials(proxy.expose()).then(|| proxy.redacted().into()),
        // Whatever it is, what stands before an @ is nobody's business.
        Err(_) => text.contains('@').then(|| MASK.to_owned()),
    }
}

/// Another URL without the password in it, where there is one.
fn url_masked(text: &str) -> Option<String> {
    let mut url = Url::parse(text).ok().filter(|url| url.password().is_some())?;
    // Both fail only for URLs that cannot have credentials.
    let _ = (url.set_username(""), url.set_password(None));
    Some(url.into())
}

fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::vault::keys::SecretKey;

    fn vault(keys: &[u8]) -> Vault {
        Vault::new(keys.iter().map(|byte| SecretKey::new(&[*byte; 32])).collect())
    }

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn given() -> Map<String, Value> {
        map(json!({
            "redfish_address": "https://bmc", "redfish_password": "hunter2", "ipmi_password": 1234,
            "snmp_password": "hunter3", "image_http_proxy": "user:hunter4@proxy:3128", "image_https_proxy": "https://proxy",
            "console_url": "ssh://admin:hunter5@console/", "power_timeout": 5, "notes": "a@b"
        }))
    }

    #[test]
    fn secrets_are_sealed_opened_and_masked() {
        let vault = vault(&[1]);
        let sealed = seal(&vault, "n1", given()).unwrap();
        let stored = serde_json::to_string(&sealed).unwrap();
        assert!(!stored.contains("hunter") && !stored.contains("1234"), "{stored}");
        assert_eq!(sealed["image_https_proxy"], "https://proxy", "what is no secret stays as it is");
        assert_eq!(open(&vault, "n1", sealed.clone()).unwrap(), given());
        let expected = map(json!({
            "redfish_address": "https://bmc", "redfish_password": MASK, "ipmi_password": MASK, "snmp_password": MASK,
            "image_http_proxy": "http://proxy:3128/", "image_https_proxy": "https://proxy",
            "console_url": "ssh://console/", "power_timeout": 5, "notes": "a@b"
        }));
        assert_eq!(shown(&vault, "n1", sealed), expected);
        assert_eq!(shown(&vault, "n1", given()), expected, "plain secrets of before are masked too");
    }

    #[test]
    fn without_the_key_what_is_sealed_is_masked_and_named() {
        let sealed = seal(&vault(&[1]), "n1", given()).unwrap();
        let shown = shown(&vault(&[2]), "n1", sealed.clone());
        assert_eq!((&shown["image_http_proxy"], &shown["power_timeout"]), (&json!(MASK), &json!(5)));
        let error = open(&vault(&[2]), "n1", sealed).unwrap_err().to_string();
        assert!(error.contains("of node n1"), "{error}");
    }

    #[test]
    fn secrets_are_refused_without_a_key_and_so_is_what_stands_for_them() {
        let refused = |vault: &Vault, key: &str, value: Value| {
            seal(vault, "n1", map(json!({key: value}))).unwrap_err().to_string()
        };
        for (key, value) in given().iter().filter(|(key, value)| masked(key, value).is_some()) {
            let error = refused(&Vault::default(), key, value.clone());
            assert!(error.contains(&format!("driver_info.{key}")) && !error.contains("hunter"), "{error}");
        }
        for key in ["redfish_password", "image_http_proxy"] {
            assert!(refused(&vault(&[1]), key, MASK.into()).contains(key));
        }
        let sealed = vault(&[1]).seal(place("n1", "driver_info.x"), "1").unwrap();
        assert!(refused(&vault(&[1]), "x", sealed.into()).contains("driver_info.x"));
        let free = map(json!({"notes": MASK, "image_http_proxy": "proxy", "redfish_password": null}));
        assert_eq!(seal(&Vault::default(), "n1", free.clone()).unwrap(), free);
    }

    #[test]
    fn what_is_resealed_opens_with_the_new_key_alone() {
        let old = seal(&vault(&[1]), "n1", given()).unwrap();
        let (anew, unreadable) = reseal(&vault(&[2, 1]), "n1", old.clone()).unwrap();
        assert_eq!((open(&vault(&[2]), "n1", anew.clone()).unwrap(), unreadable), (given(), 0));
        assert_eq!(reseal(&vault(&[2]), "n1", anew.clone()).unwrap(), (anew, 0), "nothing is left to do");
        assert_eq!(
            reseal(&vault(&[3]), "n1", old.clone()).unwrap(),
            (old, 5),
            "what cannot be opened is kept"
        );
        let (from_plain, _) = reseal(&vault(&[1]), "n1", given()).unwrap();
        assert!(!serde_json::to_string(&from_plain).unwrap().contains("hunter"));
    }
}
