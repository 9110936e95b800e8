//! What `ipmitool` prints, and what it means.

use farrier::wire::PowerState;

use crate::power::error::Fault;

/// The most of what it prints that an error shows, in characters.
const LONGEST_SHOWN: usize = 300;

/// Reads the answer to `chassis power status`.
pub(super) fn power_state(printed: &str) -> Result<PowerState, Fault> {
    match printed.trim() {
        "Chassis Power is on" => Ok(PowerState::On),
        "Chassis Power is off" => Ok(PowerState::Off),
        other => Err(Fault::BadAnswer(format!("expected the power state, found {:?}", shown(other)))),
    }
}

/// Reads the answer to `chassis bootparam get 5`: the boot flags of IPMI 2.0, table 28-14.
pub(super) fn boot_device(printed: &str) -> Result<Option<String>, Fault> {
    let bad = || Fault::BadAnswer(format!("expected boot flags, found {:?}", shown(printed)));
    let data = printed.lines().find_map(|line| line.trim().strip_prefix("Boot parameter data:"));
    let data = hex::decode(data.ok_or_else(bad)?.trim()).map_err(|_| bad())?;
    let &[flags, device, ..] = data.as_slice() else { return Err(bad()) };
    // What counted once has been used up, or nothing was ever set.
    if flags & 0x80 == 0 {
        return Ok(None);
    }
    let name = match (device >> 2) & 0x0f {
        0 => return Ok(None),
        1 => "pxe",
        2 => "disk",
        3 => "disk in safe mode",
        4 => "diagnostic partition",
        5 => "cd",
        6 => "BIOS setup",
        7 => "remote removable medium",
        8 => "remote cd",
        11 => "remote disk",
        15 => "removable medium",
        _ => "unknown",
    };
    Ok(Some(name.to_owned()))
}

/// How `ipmitool` has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The same command may succeed in a moment.
    MayPass(Fault),
    /// The controller does not take the cipher suite.
    CipherSuite(String),
    /// It is over.
    Final(Fault),
}

/// Makes a failure of the line that tells it.
type Telling = fn(String) -> Failure;

/// What is found in the words of a failure, the first that fits counts: `ipmitool -v` 1.8.18 and 1.8.19. A session that could not be
/// established is always told in the same words, so the reason before them comes first.
const SIGNS: &[(&str, Telling)] = &[
    ("RAKP 2 HMAC is invalid", |said| Failure::Final(Fault::Unauthorized(said))),
    ("RAKP 4 message has invalid integrity check value", |said| Failure::Final(Fault::Unauthorized(said))),
    ("unauthorized name", |said| Failure::Final(Fault::Unauthorized(said))),
    ("unauthorized role", |said| Failure::Final(Fault::Unauthorized(said))),
    ("nsufficient privilege", |said| Failure::Final(Fault::Unauthorized(said))),
    ("Activate Session command failed", |said| Failure::Final(Fault::Unauthorized(said))),
    ("Authentication type", |said| Failure::Final(Fault::Unauthorized(said))),
    ("invalid authentication algorithm", Failure::CipherSuite),
    ("invalid integrity algorithm", Failure::CipherSuite),
    ("invalid confidentiality algorithm", Failure::CipherSuite),
    ("no cipher suite match", Failure::CipherSuite),
    ("Address lookup for", |said| Failure::Final(Fault::Unreachable(said))),
    // Those that Ironic tries again.
    ("insufficient resources for session", |said| Failure::MayPass(Fault::Failed(said))),
    ("Node busy", |said| Failure::MayPass(Fault::Failed(said))),
    ("Timeout", |said| Failure::MayPass(Fault::Failed(said))),
    ("Out of space", |said| Failure::MayPass(Fault::Failed(said))),
    ("BMC initialization in progress", |said| Failure::MayPass(Fault::Failed(said))),
    // A packet may have been lost, and a controller is gone for a while when it restarts.
    ("Unable to establish", |said| Failure::MayPass(Fault::Unreachable(said))),
    ("no response", |said| Failure::MayPass(Fault::Unreachable(said))),
    ("not supported in present state", |said| Failure::Final(Fault::Conflict(said))),
    ("Invalid command", |said| Failure::Final(Fault::Refused(said))),
    ("failed:", |said| Failure::Final(Fault::Refused(said))),
    ("rsp=0x", |said| Failure::Final(Fault::Refused(said))),
];

/// Reads what was printed as errors by a command that failed.
pub(super) fn failure(printed: &str) -> Failure {
    match SIGNS.iter().find(|(sign, _)| printed.contains(sign)) {
        Some((sign, failure)) => {
            let line = printed.lines().find(|line| line.contains(sign)).unwrap_or(printed);
            failure(shown(line))
        }
        None => Failure::Final(Fault::Failed(format!("ipmitool has failed: {:?}", shown(printed)))),
    }
}

/// The end of it, in one line: that is where the reason stands.
fn shown(text: &str) -> String {
    let line = text.trim().trim_start_matches(['>', ' ']);
    let skipped = line.chars().count().saturating_sub(LONGEST_SHOWN);
    line.chars().skip(skipped).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn power_states_are_read_and_nothing_else_is_one() {
        assert_eq!(power_state("Chassis Power is on\n"), Ok(PowerState::On));
        assert_eq!(power_state("Chassis Power is off\n"), Ok(PowerState::Off));
        for bad in ["", "Chassis Power is ", "on"] {
            assert!(matches!(power_state(bad), Err(Fault::BadAnswer(_))), "{bad}");
        }
    }

    #[test]
    fn a_boot_device_counts_while_its_flags_are_valid() {
        let device = |data: &str| {
            boot_device(&format!(
                "Boot parameter version: 1\nBoot parameter 5 is valid/unlocked\nBoot parameter data: {data}\n Boot Flags :\n"
            ))
        };
        assert_eq!(device("e008000000").unwrap().as_deref(), Some("disk"));
        assert_eq!(device("8004000000").unwrap().as_deref(), Some("pxe"));
        assert_eq!(device("8014000000").unwrap().as_deref(), Some("cd"));
        assert_eq!(device("8018000000").unwrap().as_deref(), Some("BIOS setup"));
        assert_eq!(device("0004000000").unwrap(), None, "it was used up");
        assert_eq!(device("8000000000").unwrap(), None);
        for bad in ["", "80", "8g"] {
            assert!(matches!(device(bad), Err(Fault::BadAnswer(_))), "{bad}");
        }
    }

    #[test]
    fn failures_are_told_apart_by_what_ipmitool_prints() {
        let session = "\nError: Unable to establish IPMI v2 / RMCP+ session\n";
        let read = |text: &str| failure(&format!("Loading IANA PEN Registry...\n{text}{session}"));
        let wrong = read("> RAKP 2 HMAC is invalid");
        assert_eq!(wrong, Failure::Final(Fault::Unauthorized("RAKP 2 HMAC is invalid".to_owned())));
        let nobody = read("RAKP 2 message indicates an error : unauthorized name");
        assert!(matches!(nobody, Failure::Final(Fault::Unauthorized(_))), "{nobody:?}");
        let suite = read("Error in open session response message : invalid authentication algorithm\n");
        assert!(matches!(suite, Failure::CipherSuite(_)), "{suite:?}");
        let silent = read("Get Auth Capabilities error");
        assert!(matches!(silent, Failure::MayPass(Fault::Unreachable(_))), "{silent:?}");
        let unknown = read("Address lookup for bmc.invalid failed\nCould not open socket!");
        assert!(matches!(unknown, Failure::Final(Fault::Unreachable(_))), "{unknown:?}");
        let busy = failure("Set Chassis Power Control to Up/On failed: Node busy\n");
        assert!(matches!(busy, Failure::MayPass(Fault::Failed(_))), "{busy:?}");
        let state =
            failure("Set Chassis Power Control to Up/On failed: Command not supported in present state\n");
        assert!(matches!(state, Failure::Final(Fault::Conflict(_))), "{state:?}");
        let refused =
            failure("Unable to send RAW command (channel=0x0 netfn=0x0 lun=0x0 cmd=0x8 rsp=0x80): Unknown\n");
        assert!(matches!(refused, Failure::Final(Fault::Refused(_))), "{refused:?}");
        assert!(matches!(failure("Segmentation fault"), Failure::Final(Fault::Failed(_))));
    }

    proptest! {
        #[test]
        fn never_panics(printed in "\\PC{0,40}(Boot parameter data: [0-9a-f]{0,12})?\\PC{0,40}") {
            let _ = (power_state(&printed), boot_device(&printed), failure(&printed));
        }
    }
}
