//! The power of the machine that the agent stands on.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use farrier::disk::{Access, WholeMachine};
use nix::errno::Errno;
use nix::sys::reboot::{RebootMode, reboot};
use tokio::process::Command;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// What is done to the power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    /// It is switched off.
    Off,
    /// The machine is restarted.
    Reboot,
}

impl Power {
    /// The word for it, which is the argument of `--power-command`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Reboot => "reboot",
        }
    }
}

/// How the power of this machine is switched.
#[derive(Clone, Debug)]
pub(crate) enum Machine {
    /// By the kernel, at once. An agent on a system that is anything else than a RAM disk of Farrier's cannot have this: nobody else
    /// has a [`WholeMachine`].
    Kernel(WholeMachine),
    /// By a program of the operator's.
    Command(PathBuf),
    /// Not from here.
    None,
}

/// How long switching may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Until the program of the operator's has ended.
    command: Duration,
    /// From then on until the machine is gone, and this agent with it.
    gone: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { command: Duration::from_secs(60), gone: Duration::from_secs(60) }
    }
}

/// Why this agent is still there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StillHere {
    /// It cannot power the machine.
    #[error(
        "this agent cannot power its machine: it is no RAM disk of Farrier's that has the machine for itself and runs as root, and --power-command is not set"
    )]
    CannotPower,
    /// The program cannot be run.
    #[error("the power command {path} cannot be run")]
    NotRun {
        /// The program.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The program failed.
    #[error("the power command {path} {power} failed: {status}; expected exit status 0", power = .power.as_str())]
    Failed {
        /// The program.
        path: PathBuf,
        /// Its argument.
        power: Power,
        /// How it ended.
        status: ExitStatus,
    },
    /// The program does not end.
    #[error("the power command {path} {power} has not ended within {} s and was killed", .waited.as_secs(), power = .power.as_str())]
    Slow {
        /// The program.
        path: PathBuf,
        /// Its argument.
        power: Power,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The kernel refused.
    #[error("the kernel does not switch the power")]
    Kernel(#[source] Errno),
    /// It was switched, and nothing came of it.
    #[error("the machine was told to power {power}, and {} s later it still runs", .waited.as_secs(), power = .power.as_str())]
    NoEffect {
        /// What it was told.
        power: Power,
        /// How long it was waited for.
        waited: Duration,
    },
}

impl Machine {
    /// By the program if one is named, else by the kernel where this process has the whole machine and may do it.
    pub(crate) fn of(command: Option<PathBuf>, access: &Access) -> Self {
        match (command, access.whole_machine()) {
            (Some(path), _) => Self::Command(path),
            (None, Some(whole)) if nix::unistd::geteuid().is_root() => Self::Kernel(whole),
            (None, _) => Self::None,
        }
    }

    /// Whether there is a way.
    pub(crate) fn can_power(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Switches the power. When that has an effect, this does not return.
    pub(crate) async fn switch(&self, power: Power, patience: Patience) -> StillHere {
        let switched = match self {
            Self::Kernel(whole) => by_kernel(*whole, power).await,
            Self::Command(path) => by_command(path, power, patience.command).await,
            Self::None => Err(StillHere::CannotPower),
        };
        match switched {
            Ok(()) => {
                sleep(patience.gone).await;
                StillHere::NoEffect { power, waited: patience.gone }
            }
            Err(error) => error,
        }
    }
}

/// The only place that asks the kernel.
async fn by_kernel(_: WholeMachine, power: Power) -> Result<(), StillHere> {
    let mode = match power {
        Power::Off => RebootMode::RB_POWER_OFF,
        Power::Reboot => RebootMode::RB_AUTOBOOT,
    };
    let switching = spawn_blocking(move || {
        // The kernel does not.
        nix::unistd::sync();
        #[expect(clippy::disallowed_methods, reason = "whoever calls this has the machine for itself")]
        reboot(mode)
    });
    match switching.await {
        Ok(Ok(never)) => match never {},
        Ok(Err(errno)) => Err(StillHere::Kernel(errno)),
        // The runtime is shutting down: the agent ends.
        Err(_) => Ok(()),
    }
}

async fn by_command(path: &Path, power: Power, patience: Duration) -> Result<(), StillHere> {
    let not_run = |source| StillHere::NotRun { path: path.to_owned(), source };
    let mut child = Command::new(path)
        .arg(power.as_str())
        // The password of the broker is none of its business.
        .env_remove("FARRIER_BROKER")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(not_run)?;
    match timeout(patience, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(StillHere::Failed { path: path.to_owned(), power, status }),
        Ok(Err(source)) => Err(not_run(source)),
        Err(_) => Err(StillHere::Slow { path: path.to_owned(), power, waited: patience }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;

    const PATIENCE: Patience = Patience { command: Duration::from_secs(20), gone: Duration::from_millis(10) };

    /// A power command that does this.
    fn command(script: &str) -> (TempDir, Machine) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("power");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let machine = Machine::of(Some(path), &Access::detect(Vec::new()).unwrap());
        (dir, machine)
    }

    #[test]
    fn outside_a_ram_disk_nothing_is_powered_without_a_command() {
        if Access::in_ramdisk() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        fs::write(&disk, [0; 512]).unwrap();
        for disks in [Vec::new(), vec![disk]] {
            let machine = Machine::of(None, &Access::detect(disks).unwrap());
            assert!(matches!(machine, Machine::None) && !machine.can_power(), "{machine:?}");
        }
    }

    #[tokio::test]
    async fn a_machine_without_a_way_stays_on() {
        for power in [Power::Off, Power::Reboot] {
            let error = Machine::None.switch(power, PATIENCE).await.to_string();
            assert!(error.contains("--power-command"), "{error}");
        }
    }

    #[tokio::test]
    async fn the_command_is_told_what_to_do_and_no_password() {
        for (power, word) in [(Power::Off, "off"), (Power::Reboot, "reboot")] {
            let (dir, machine) =
                command("echo \"$1 $# ${FARRIER_BROKER-none}\" > \"$(dirname \"$0\")/said\"");
            assert!(machine.can_power());
            let still_here = machine.switch(power, PATIENCE).await;
            assert!(matches!(still_here, StillHere::NoEffect { .. }), "{still_here}");
            assert_eq!(fs::read_to_string(dir.path().join("said")).unwrap(), format!("{word} 1 none\n"));
        }
    }

    #[tokio::test]
    async fn a_command_that_fails_or_hangs_is_told_of() {
        let (_dir, failing) = command("exit 3");
        let error = failing.switch(Power::Off, PATIENCE).await.to_string();
        assert!(error.contains("off failed") && error.contains('3'), "{error}");

        let impatient = Patience { command: Duration::from_millis(50), ..PATIENCE };
        let (_dir, hanging) = command("exec sleep 600");
        let still_here = hanging.switch(Power::Reboot, impatient).await;
        assert!(matches!(still_here, StillHere::Slow { .. }), "{still_here}");

        let absent = Machine::Command("/nonexistent/power".into());
        let still_here = absent.switch(Power::Off, PATIENCE).await;
        assert!(matches!(still_here, StillHere::NotRun { .. }), "{still_here}");
    }
}
