//! `farrier node power`.

use clap::{Args, ValueEnum};
use farrier::wire::{BootDevice, NodePower, PowerAction, PowerRequest};
use reqwest::Method;

use super::client::Client;
use super::error::Failure;
use super::output::{Output, or_dash, table, table_text};

#[derive(Debug, Args)]
pub(crate) struct PowerArgs {
    /// The UUID or the name of the node
    node: String,
    /// What to do
    action: Action,
    /// What to boot from the next time
    #[arg(long, value_name = "DEVICE")]
    boot_device: Option<Device>,
    /// Boot from it from now on, and not just the next time
    #[arg(long, requires = "boot_device")]
    persistent: bool,
    /// Do it even though a job is busy with the node
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Action {
    /// Switch it on
    On,
    /// Switch it off, at once
    Off,
    /// Shut its operating system down, and switch it off where that does not happen
    SoftOff,
    /// Switch it off and on
    Cycle,
    /// Say whether it is on
    Status,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Device {
    /// Its first disk
    Disk,
    /// The network
    Pxe,
    /// A CD or DVD
    Cd,
}

pub(crate) async fn run(args: PowerArgs, client: &Client, output: &mut Output) -> Result<(), Failure> {
    let path = ["nodes", &args.node, "power"];
    let power: NodePower = match args.request()? {
        None => client.get_from_machine(&path).await?,
        Some(request) => client.send_to_machine(Method::POST, &path, &request).await?,
    };
    output.show(&power, power_text)?;
    Ok(())
}

impl PowerArgs {
    /// What to ask for; nothing where it is just to be told.
    fn request(&self) -> Result<Option<PowerRequest>, Failure> {
        let action = match self.action {
            Action::On => PowerAction::On,
            Action::Off => PowerAction::Off,
            Action::SoftOff => PowerAction::SoftOff,
            Action::Cycle => PowerAction::Cycle,
            Action::Status if self.boot_device.is_some() || self.force => {
                return Err(Failure::flag(
                    "farrier node power",
                    "status",
                    "it changes nothing; leave the flags out",
                ));
            }
            Action::Status => return Ok(None),
        };
        let boot_device = self.boot_device.map(|device| match device {
            Device::Disk => BootDevice::Disk,
            Device::Pxe => BootDevice::Pxe,
            Device::Cd => BootDevice::Cd,
        });
        Ok(Some(PowerRequest { action, boot_device, persistent: self.persistent, force: self.force }))
    }
}

fn power_text(power: &NodePower) -> String {
    let mut rows = table(&["FIELD", "VALUE"]);
    rows.add_row(["state", power.state.as_str()]);
    rows.add_row(["driver", &power.driver]);
    rows.add_row(["boot_device", &or_dash(power.boot_device.as_ref())]);
    table_text(&rows)
}
