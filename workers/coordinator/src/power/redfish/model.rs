//! What is read of a Redfish service: DMTF DSP0268, each resource with the few properties that are needed.

use farrier::wire::{BootDevice, PowerState};
use serde::Deserialize;

use crate::power::bmc::PowerChange;

/// A reference to another resource.
#[derive(Debug, Deserialize)]
pub(super) struct Link {
    #[serde(rename = "@odata.id")]
    pub(super) id: String,
}

/// `ServiceRoot`: the one resource that is read without credentials.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Root {
    pub(super) systems: Option<Link>,
    session_service: Option<Link>,
    links: Option<RootLinks>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RootLinks {
    sessions: Option<Link>,
}

impl Root {
    /// Where sessions are made; none where there are none.
    pub(super) fn sessions(&self) -> Option<String> {
        if let Some(sessions) = self.links.as_ref().and_then(|links| links.sessions.as_ref()) {
            return Some(sessions.id.clone());
        }
        let service = self.session_service.as_ref()?;
        Some(format!("{}/Sessions", service.id.trim_end_matches('/')))
    }
}

/// A collection of resources.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Collection {
    pub(super) members: Vec<Link>,
}

/// `ComputerSystem`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct System {
    power_state: Option<String>,
    boot: Option<Boot>,
    actions: Option<Actions>,
    #[serde(rename = "@odata.etag")]
    pub(super) etag: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Boot {
    boot_source_override_target: Option<String>,
    boot_source_override_enabled: Option<String>,
    boot_source_override_mode: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Actions {
    #[serde(rename = "#ComputerSystem.Reset")]
    reset: Option<Reset>,
}

/// The action that changes the power.
#[derive(Debug, Deserialize)]
pub(super) struct Reset {
    pub(super) target: String,
    #[serde(rename = "ResetType@Redfish.AllowableValues")]
    allowable: Option<Vec<String>>,
}

impl System {
    pub(super) fn state(&self) -> PowerState {
        match self.power_state.as_deref() {
            Some("On") => PowerState::On,
            Some("Off") => PowerState::Off,
            Some("PoweringOn") => PowerState::PoweringOn,
            Some("PoweringOff") => PowerState::PoweringOff,
            _ => PowerState::Unknown,
        }
    }

    /// Whether it says anything of its power: what does not is no system.
    pub(super) fn tells_its_power(&self) -> bool {
        self.power_state.is_some()
    }

    pub(super) fn reset(&self) -> Option<&Reset> {
        self.actions.as_ref()?.reset.as_ref()
    }

    /// What it boots from before all else, in our words or in its own.
    pub(super) fn boot_device(&self) -> Option<String> {
        let boot = self.boot.as_ref()?;
        if boot.boot_source_override_enabled.as_deref() == Some("Disabled") {
            return None;
        }
        let target = boot.boot_source_override_target.as_deref().filter(|target| *target != "None")?;
        let known = [BootDevice::Disk, BootDevice::Pxe, BootDevice::Cd]
            .into_iter()
            .find(|device| boot_target(*device) == target);
        Some(known.map_or_else(|| target.to_owned(), |device| device.as_str().to_owned()))
    }

    /// How it boots, in its own word.
    pub(super) fn boot_mode(&self) -> Option<&str> {
        self.boot.as_ref()?.boot_source_override_mode.as_deref()
    }
}

impl Reset {
    /// The word for a change that the system takes.
    ///
    /// # Errors
    /// Those that it takes, where it takes none for this.
    pub(super) fn kind(&self, change: PowerChange) -> Result<&'static str, String> {
        let words: &[&str] = match change {
            PowerChange::On => &["On", "ForceOn"],
            PowerChange::ForceOff => &["ForceOff"],
            PowerChange::SoftOff => &["GracefulShutdown"],
            PowerChange::ForceRestart => &["ForceRestart"],
        };
        let Some(allowable) = &self.allowable else { return Ok(words[0]) };
        let taken = words.iter().find(|word| allowable.iter().any(|allowed| allowed == *word));
        taken.copied().ok_or_else(|| {
            format!("it does not know the reset type {}; it knows {}", words[0], allowable.join(", "))
        })
    }
}

/// The word for a boot device.
pub(super) fn boot_target(device: BootDevice) -> &'static str {
    match device {
        BootDevice::Disk => "Hdd",
        BootDevice::Pxe => "Pxe",
        BootDevice::Cd => "Cd",
    }
}

/// An error, as DSP0266 8.6 has it.
#[derive(Debug, Deserialize)]
pub(super) struct ErrorAnswer {
    error: ErrorBody,
}

#[derive(Debug, Deserialize)]
struct ErrorBody {
    message: Option<String>,
    #[serde(rename = "@Message.ExtendedInfo", default)]
    extended: Vec<ExtendedInfo>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ExtendedInfo {
    message: Option<String>,
}

impl ErrorAnswer {
    /// What it says to people.
    pub(super) fn message(self) -> Option<String> {
        self.error.extended.into_iter().find_map(|info| info.message).or(self.error.message)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn system(value: Value) -> System {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn states_are_read_and_what_is_not_known_is_unknown() {
        for (word, state) in [
            (json!("On"), PowerState::On),
            (json!("PoweringOff"), PowerState::PoweringOff),
            (json!("Paused"), PowerState::Unknown),
            (json!(null), PowerState::Unknown),
        ] {
            assert_eq!(system(json!({"PowerState": word})).state(), state);
        }
        assert!(!system(json!({})).tells_its_power());
    }

    #[test]
    fn a_boot_device_is_told_in_our_words_while_it_counts() {
        let boot = |target: &str, enabled: &str| {
            let boot = json!({"BootSourceOverrideTarget": target, "BootSourceOverrideEnabled": enabled});
            system(json!({"Boot": boot})).boot_device()
        };
        assert_eq!(boot("Hdd", "Continuous").as_deref(), Some("disk"));
        assert_eq!(boot("Pxe", "Once").as_deref(), Some("pxe"));
        assert_eq!(boot("BiosSetup", "Once").as_deref(), Some("BiosSetup"));
        assert_eq!((boot("Pxe", "Disabled"), boot("None", "Once")), (None, None));
    }

    #[test]
    fn a_reset_type_is_one_that_the_system_takes() {
        let reset = |allowable: Value| -> Reset {
            serde_json::from_value(json!({"target": "/t", "ResetType@Redfish.AllowableValues": allowable}))
                .unwrap()
        };
        assert_eq!(reset(json!(null)).kind(PowerChange::On), Ok("On"));
        assert_eq!(reset(json!(["ForceOff", "ForceOn"])).kind(PowerChange::On), Ok("ForceOn"));
        let refused = reset(json!(["On", "ForceOff"])).kind(PowerChange::SoftOff).unwrap_err();
        assert!(refused.contains("GracefulShutdown") && refused.contains("On, ForceOff"), "{refused}");
    }

    #[test]
    fn sessions_are_found_by_either_link() {
        let root = |value: Value| serde_json::from_value::<Root>(value).unwrap().sessions();
        assert_eq!(root(json!({})), None);
        let service = json!({"SessionService": {"@odata.id": "/redfish/v1/SessionService/"}});
        assert_eq!(root(service).as_deref(), Some("/redfish/v1/SessionService/Sessions"));
        let link = json!({"Links": {"Sessions": {"@odata.id": "/s"}}});
        assert_eq!(root(link).as_deref(), Some("/s"));
    }
}
