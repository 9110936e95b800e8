use proptest::prelude::*;
use serde_json::json;

use super::*;
use farrier::wire::Coded as _;

fn read(info: Value) -> Result<DriverInfo, BadDriverInfo> {
    DriverInfo::read(info.as_object().unwrap())
}

/// The keys at fault, and the whole message.
fn faults(info: Value) -> (Vec<String>, String) {
    let error = read(info.clone()).expect_err(&info.to_string());
    (error.bad().iter().map(|bad| bad.key.clone()).collect(), error.to_string())
}

fn redfish(info: Value) -> RedfishInfo {
    match read(info).unwrap().power {
        Some(PowerDriver::Redfish(info)) => *info,
        other => panic!("{other:?}"),
    }
}

fn ipmi(info: Value) -> IpmiInfo {
    match read(info).unwrap().power {
        Some(PowerDriver::Ipmi(info)) => *info,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_one_says_nothing_and_the_keys_of_others_are_kept_out_of_it() {
    assert_eq!(read(json!({})).unwrap(), DriverInfo::default());
    let others = json!({"deploy_kernel": "http://h/k", "rack_unit": 7, "contact": ["a", "b"]});
    assert_eq!(read(others).unwrap(), DriverInfo::default());
}

#[test]
fn the_driver_follows_from_the_address_or_is_named() {
    let driver = |info| read(info).unwrap().power.map(|power| power.name());
    assert_eq!(driver(json!({"redfish_address": "h"})), Some("redfish"));
    assert_eq!(driver(json!({"ipmi_address": "h"})), Some("ipmitool"));
    assert_eq!(driver(json!({"ipmi_address": "h", "power_interface": "ipmi"})), Some("ipmitool"));
    assert_eq!(driver(json!({"ipmi_address": "h", "power_interface": "agent"})), Some("agent"));
    assert_eq!(driver(json!({"power_interface": "noop"})), Some("noop"));
    let both = json!({"ipmi_address": "h", "redfish_address": "h", "power_interface": "redfish"});
    assert_eq!(driver(both), Some("redfish"));

    assert_eq!(faults(json!({"ipmi_address": "h", "redfish_address": "h"})).0, ["power_interface"]);
    assert_eq!(faults(json!({"power_interface": "redfish"})).0, ["redfish_address"]);
    assert_eq!(faults(json!({"power_interface": "ipmitool"})).0, ["ipmi_address"]);
    assert!(faults(json!({"power_interface": "snmp"})).1.contains("found \"snmp\""));
}

#[test]
fn redfish_is_read_with_its_defaults() {
    let least = redfish(json!({"redfish_address": "bmc7.example.net"}));
    assert_eq!(least.address.to_string(), "https://bmc7.example.net/");
    assert_eq!((least.verify_ca, least.auth_type), (VerifyCa::System, AuthType::Auto));
    assert_eq!((least.credentials, least.system_id), (None, None));
    let whole = redfish(json!({
        "redfish_address": "http://10.0.0.7:8000", "redfish_system_id": "/redfish/v1/Systems/1", "redfish_username": "root",
        "redfish_password": 1234, "redfish_verify_ca": "/etc/bmc.pem", "redfish_auth_type": "session",
    }));
    assert_eq!(whole.address.to_string(), "http://10.0.0.7:8000/");
    assert_eq!(whole.credentials.unwrap().password.expose(), "1234");
    assert_eq!(
        (whole.verify_ca, whole.auth_type),
        (VerifyCa::File("/etc/bmc.pem".into()), AuthType::Session)
    );
    for (value, verify) in
        [(json!(false), VerifyCa::Off), (json!("False"), VerifyCa::Off), (json!("yes"), VerifyCa::System)]
    {
        assert_eq!(redfish(json!({"redfish_address": "h", "redfish_verify_ca": value})).verify_ca, verify);
    }
}

#[test]
fn ipmi_is_read_with_its_defaults() {
    let least = ipmi(json!({"ipmi_address": "10.0.0.7"}));
    assert_eq!((least.port, least.username.as_str(), least.cipher_suite), (623, "", None));
    assert_eq!((least.protocol_version, least.disable_boot_timeout), (ProtocolVersion::V2_0, true));
    assert_eq!(least.privilege_level.as_str(), "ADMINISTRATOR");
    let whole = ipmi(json!({
        "ipmi_address": "fd00::7", "ipmi_port": "6230", "ipmi_username": "admin", "ipmi_password": "secret", "ipmi_priv_level": "operator",
        "ipmi_protocol_version": 2.0, "ipmi_cipher_suite": 3, "ipmi_hex_kg_key": format!("6162{}", "00".repeat(18)),
    }));
    assert_eq!((whole.port, whole.cipher_suite), (6230, Some(CipherSuite::Three)));
    assert_eq!(whole.kg_key.unwrap().expose(), b"ab");
}

#[test]
fn every_bad_key_is_named_at_once_with_its_reason() {
    let (keys, message) = faults(json!({
        "redfish_address": "ftp://h", "redfish_verify_ca": "bmc.pem", "redfish_auth_type": "digest", "redfish_system_id": "a/../b",
        "redfish_username": "u", "ipmi_port": 70000, "ipmi_cipher_suite": 4, "ipmi_priv_level": "ROOT", "ipmi_protocol_version": "3",
        "ipmi_hex_kg_key": "abc", "ipmi_address": "-oProxy", "ipmi_password": "x".repeat(21), "power_interface": ["redfish"],
        "image_http_proxy": "socks5://p", "image_no_proxy": "a b", "image_download_source": "ftp", "disable_power_off": "maybe",
        "deploy_forces_oob_reboot": 2, "redfish_adress": "h",
    }));
    for key in [
        "redfish_address",
        "redfish_verify_ca",
        "redfish_auth_type",
        "redfish_system_id",
        "redfish_password",
        "ipmi_port",
        "ipmi_cipher_suite",
        "ipmi_priv_level",
        "ipmi_protocol_version",
        "ipmi_hex_kg_key",
        "ipmi_address",
        "ipmi_password",
        "power_interface",
        "image_http_proxy",
        "image_no_proxy",
        "image_download_source",
        "disable_power_off",
        "deploy_forces_oob_reboot",
        "redfish_adress",
    ] {
        assert!(keys.iter().any(|found| found == key), "{key} is not named: {message}");
        assert!(message.contains(&format!("`{key}`: ")), "{key}: {message}");
    }
    assert!(message.contains("redfish_address, redfish_auth_type"), "the known ones are named: {message}");
}

#[test]
fn a_slip_of_the_pen_is_told_from_a_key_of_others() {
    for slip in ["disable_poweroff", "Disable_Power_Off", "deploy_force_oob_reboot", "power_inteface"] {
        assert_eq!(faults(json!({slip: true})).0, [slip]);
    }
    for prefixed in ["redfish_adress", "ipmi_bridging", "image_htpp_proxy", "IPMI_ADDRESS"] {
        assert_eq!(faults(json!({prefixed: "x"})).0, [prefixed]);
    }
    read(json!({"deploy_forces": true, "power": 1})).unwrap();
}

#[test]
fn truth_has_the_spellings_of_the_reference() {
    let forced =
        |value| read(json!({"deploy_forces_oob_reboot": value})).map(|info| info.deploy_forces_oob_reboot);
    for yes in [
        json!(true),
        json!(1),
        json!("True"),
        json!("true"),
        json!("YES"),
        json!("on"),
        json!("1"),
        json!(" t "),
        json!("y"),
    ] {
        assert_eq!(forced(yes.clone()), Ok(true), "{yes}");
    }
    for no in [
        json!(false),
        json!(0),
        json!("False"),
        json!("no"),
        json!("off"),
        json!("0"),
        json!("f"),
        json!("n"),
        json!(""),
    ] {
        assert_eq!(forced(no.clone()), Ok(false), "{no}");
    }
    for bad in [json!("ja"), json!(2), json!([true]), json!({})] {
        assert!(forced(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn an_empty_proxy_is_none_and_an_absent_one_is_left_to_the_layer_below() {
    let below: ProxyUrl = "http://below:3128".parse().unwrap();
    let over = |info| read(info).unwrap().image.http_proxy.or(Some(below.clone())).map(|url| url.to_string());
    assert_eq!(over(json!({})).as_deref(), Some("http://below:3128/"));
    assert_eq!(over(json!({"image_http_proxy": ""})), None);
    assert_eq!(over(json!({"image_http_proxy": "rack:3128"})).as_deref(), Some("http://rack:3128/"));
}

#[test]
fn no_secret_is_shown() {
    let secret = "hunter2";
    let good = read(json!({
        "redfish_address": "h", "redfish_username": "u", "redfish_password": secret,
        "image_http_proxy": "http://u:hunter2@proxy", "power_interface": "redfish",
    }))
    .unwrap();
    assert!(!format!("{good:?}").contains(secret));
    for bad in [
        json!({"redfish_address": "https://u:hunter2@h"}),
        json!({"redfish_address": "https://u:hunter2@h:x"}),
        json!({"redfish_password": {"is": "hunter2"}}),
        json!({"ipmi_password": "hunter2 and so on and on"}),
        json!({"ipmi_hex_kg_key": "hunter2"}),
        json!({"image_https_proxy": "socks5://u:hunter2@proxy"}),
        json!({"image_https_proxy": "http://u:hunter2@proxy:x"}),
    ] {
        let error = read(bad).unwrap_err();
        let report = error.report();
        assert!(!format!("{error:?} {report:?}").contains(secret), "{error:?}");
        assert_eq!(report.field.unwrap(), format!("driver_info.{}", error.bad()[0].key));
    }
    // As a number it would lose what it was written as.
    assert_eq!(faults(json!({"ipmi_password": 1e5})).0, ["ipmi_password"]);
}

proptest! {
    #[test]
    fn never_panics(key in "(redfish|ipmi|image|power)_[a-z_]{0,12}|redfish_address|ipmi_address|image_no_proxy", value in "\\PC{0,24}") {
        let _ = read(json!({ key: value }));
    }
}
