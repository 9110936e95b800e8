//! Redfish, as far as the power of one system goes (DMTF DSP0266 and DSP0268).
//!
//! There is a crate that speaks all of Redfish, nv-redfish. It is not used: of the hundreds of schemas that it compiles this needs
//! four, its client would bring a second reqwest, and does not bound what it reads.

mod client;
mod login;
mod model;
mod transport;

use std::sync::Arc;

use farrier::wire::{BootDevice, PowerState};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio_util::task::TaskTracker;

use super::bmc::{Persistence, PowerChange};
use super::error::Fault;
use super::settings::RedfishSettings;
use crate::driver_info::RedfishInfo;
use client::{Answer, Service};
use model::{Collection, System, boot_target};

/// The resource that a service begins with.
const ROOT: &str = "/redfish/v1/";
/// Where systems are, in every service that does not say otherwise.
const SYSTEMS: &str = "/redfish/v1/Systems";

/// A system of a Redfish service.
#[derive(Debug)]
pub struct Redfish {
    service: Service,
    system_id: Option<String>,
    /// The path of the system, once it is known.
    path: OnceCell<String>,
}

impl Redfish {
    /// For the system that a driver info names. `tasks` gets the ends of sessions.
    pub(super) fn new(info: RedfishInfo, settings: RedfishSettings, tasks: TaskTracker) -> Self {
        let system_id = info.system_id.clone();
        Self { service: Service::new(info, settings, tasks), system_id, path: OnceCell::new() }
    }

    pub(super) fn address(&self) -> &Arc<str> {
        self.service.shown()
    }

    pub(super) fn settings(&self) -> &RedfishSettings {
        self.service.settings()
    }

    pub(super) async fn state(&self) -> Result<PowerState, Fault> {
        let (system, _) = self.system().await?;
        if !system.tells_its_power() {
            return Err(Fault::BadAnswer("the system has no PowerState".to_owned()));
        }
        Ok(system.state())
    }

    pub(super) async fn set_power(&self, change: PowerChange) -> Result<(), Fault> {
        let (system, _) = self.system().await?;
        let Some(reset) = system.reset() else {
            return Err(Fault::Refused("the system has no action ComputerSystem.Reset".to_owned()));
        };
        let body = json!({"ResetType": reset.kind(change).map_err(Fault::Refused)?});
        self.service.ask(Method::POST, &reset.target, Some(&body), None).await?.success().map(drop)
    }

    pub(super) async fn boot_device(&self) -> Result<Option<String>, Fault> {
        Ok(self.system().await?.0.boot_device())
    }

    pub(super) async fn set_boot_device(
        &self,
        device: BootDevice,
        persistence: Persistence,
    ) -> Result<(), Fault> {
        let enabled = match persistence {
            Persistence::Once => "Once",
            Persistence::Persistent => "Continuous",
        };
        let boot = json!({
            "BootSourceOverrideTarget": boot_target(device),
            "BootSourceOverrideEnabled": enabled,
        });
        let (system, etag) = self.system().await?;
        match self.change_boot(&boot, etag.as_deref()).await {
            // Somebody has changed the system since it was read.
            Err(Fault::Conflict(_)) => {
                let (_, etag) = self.system().await?;
                self.change_boot(&boot, etag.as_deref()).await
            }
            // AMI's and ASRock's want the mode beside the rest, and others do not take it.
            Err(Fault::Refused(why)) => match system.boot_mode() {
                Some(mode) => {
                    let mut whole = boot;
                    whole["BootSourceOverrideMode"] = mode.into();
                    self.change_boot(&whole, etag.as_deref()).await
                }
                None => Err(Fault::Refused(why)),
            },
            done => done,
        }
    }

    async fn change_boot(&self, boot: &Value, etag: Option<&str>) -> Result<(), Fault> {
        let body = json!({"Boot": boot});
        self.service.ask(Method::PATCH, self.path().await?, Some(&body), etag).await?.success().map(drop)
    }

    /// The system as it is now, with the tag of this version of it.
    async fn system(&self) -> Result<(System, Option<String>), Fault> {
        let answer = self.get(self.path().await?).await?;
        let system: System = answer.json()?;
        let etag = answer.etag.or_else(|| system.etag.clone());
        Ok((system, etag))
    }

    async fn path(&self) -> Result<&str, Fault> {
        self.path.get_or_try_init(|| self.find()).await.map(String::as_str)
    }

    async fn find(&self) -> Result<String, Fault> {
        match &self.system_id {
            Some(path) if path.starts_with('/') => return Ok(path.clone()),
            Some(id) => return Ok(format!("{SYSTEMS}/{id}")),
            None => {}
        }
        let systems = self.service.root().await?.systems.as_ref().map_or(SYSTEMS, |link| &link.id);
        let mut members = self.get(systems).await?.json::<Collection>()?.members;
        match (members.pop(), members.len()) {
            (Some(only), 0) => Ok(only.id),
            (last, before) => Err(Fault::Refused(format!(
                "it has {} systems and the driver info does not say which one: set redfish_system_id{}",
                before + usize::from(last.is_some()),
                last.map(|last| format!(", as to {}", last.id)).unwrap_or_default()
            ))),
        }
    }

    async fn get(&self, path: &str) -> Result<Answer, Fault> {
        self.service.ask(Method::GET, path, None, None).await?.success()
    }
}
