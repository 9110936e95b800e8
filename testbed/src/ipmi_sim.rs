//! A real IPMI controller: `ipmi_sim` of OpenIPMI, over a machine whose power is a file.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::process::Process;
use crate::wait::wait_for;

const READY_WITHIN: Duration = Duration::from_secs(30);
/// How often another port is tried when somebody took the one that was free.
const PORTS_TRIED: u32 = 5;
/// What the chassis of the machine does.
const CHASSIS: &str = include_str!("chassis.sh");

/// The user of every controller.
pub const USER: &str = "admin";

/// A controller on a random UDP port of the loopback, with all its files in a directory of its own. It takes cipher suite 3, and
/// tells nothing of boot flags but the device. It is killed when this is dropped, with whatever its hooks have started, and when
/// this process dies.
#[derive(Debug)]
pub struct IpmiSim {
    process: Process,
    port: u16,
    dir: PathBuf,
}

impl IpmiSim {
    /// Starts one over a machine that is off, for [`USER`] with this password. Returns once it answers.
    ///
    /// # Errors
    /// When `ipmi_sim` is not installed or does not answer: with its log.
    pub async fn start(dir: &Path, password: &str) -> anyhow::Result<Self> {
        fs::create_dir_all(dir.join("state")).with_context(|| format!("cannot make {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let mut last = None;
        for _ in 0..PORTS_TRIED {
            let mut sim = start_on(free_port()?, &dir, password)?;
            match sim.answers().await {
                Ok(()) => return Ok(sim),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no port was tried")?)
    }

    /// The UDP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the machine runs.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn is_on(&self) -> anyhow::Result<bool> {
        Ok(self.read("power")?.trim() == "1")
    }

    /// Switches the machine, as itself or a person does: no hook is run.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn set_on(&self, on: bool) -> anyhow::Result<()> {
        self.write("power", if on { "1\n" } else { "0\n" })
    }

    /// What the machine boots from, in the words of `ipmi_sim`: `none`, `pxe`, `default` for its disk, `cdrom`, `bios`.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn boot_device(&self) -> anyhow::Result<String> {
        Ok(self.read("boot")?.trim().to_owned())
    }

    /// What was asked of the chassis so far, one request a line, such as `set power 1`.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn calls(&self) -> anyhow::Result<Vec<String>> {
        Ok(self.read("calls")?.lines().map(str::to_owned).collect())
    }

    /// From now on the controller says that it has switched the power, and does not.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn lie(&self) -> anyhow::Result<()> {
        self.write("lies", "")
    }

    /// From now on the operating system does not hear that it shall shut down.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn be_deaf(&self) -> anyhow::Result<()> {
        self.write("deaf", "")
    }

    /// From now on it takes so many seconds to tell the power.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn be_slow(&self, seconds: u32) -> anyhow::Result<()> {
        self.write("slow", &seconds.to_string())
    }

    /// The program that is started, without arguments, when the machine is switched on. It is not waited for, is in the process group
    /// of the simulator, and what it prints as errors goes to `hooks.log`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn on_power_on(&self, program: &Path) -> anyhow::Result<()> {
        self.write("on_power_on", &program.display().to_string())
    }

    /// Likewise when it is switched off.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn on_power_off(&self, program: &Path) -> anyhow::Result<()> {
        self.write("on_power_off", &program.display().to_string())
    }

    fn read(&self, name: &str) -> anyhow::Result<String> {
        let path = self.dir.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    async fn answers(&mut self) -> anyhow::Result<()> {
        let log = self.dir.join("ipmi_sim.log");
        let mut ask = tokio::process::Command::new("ipmitool");
        ask.args(["-I", "lanplus", "-H", "127.0.0.1", "-C", "3", "-N", "1", "-R", "1", "-U", USER]);
        ask.args(["-p", &self.port.to_string(), "-f"]).arg(self.dir.join("password"));
        ask.args(["chassis", "power", "status"]).kill_on_drop(true);
        let mut ended = None;
        let answered = wait_for("the IPMI controller answers", READY_WITHIN, async || {
            ended = self.process.ended()?;
            if ended.is_some() {
                return Ok(Some(()));
            }
            Ok(ask.output().await?.status.success().then_some(()))
        });
        let answered = answered.await;
        let told = || fs::read_to_string(&log).unwrap_or_default();
        ensure!(ended.is_none(), "ipmi_sim has ended; is openipmi installed? {}", told());
        answered.with_context(told)
    }
}

fn start_on(port: u16, dir: &Path, password: &str) -> anyhow::Result<IpmiSim> {
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let shown = dir.display();
    let lan = format!(
        "name \"node\"\nset_working_mc 0x20\nstartlan 1\n  addr 127.0.0.1 {port}\n  priv_limit admin\n{AUTHENTICATION}endlan\n\
         chassis_control \"{shown}/chassis.sh {shown} 0x20\"\n\
         user 1 true \"\" \"\" user 10 none md2 md5 straight\n\
         user 2 true \"{USER}\" \"{password}\" admin 10 none md2 md5 straight\n"
    );
    write("lan.conf", &lan)?;
    write("sim.emu", CONTROLLER)?;
    write("chassis.sh", CHASSIS)?;
    fs::set_permissions(dir.join("chassis.sh"), fs::Permissions::from_mode(0o755))?;
    write("power", "0\n")?;
    write("boot", "none\n")?;
    write("calls", "")?;
    write("password", password)?;
    let mut command = Command::new("ipmi_sim");
    command.arg("-c").arg(dir.join("lan.conf")).arg("-f").arg(dir.join("sim.emu"));
    command.arg("-s").arg(dir.join("state")).arg("-n");
    let process = Process::spawn_to(&command, &File::create(dir.join("ipmi_sim.log"))?)?;
    Ok(IpmiSim { process, port, dir: dir.to_owned() })
}

const AUTHENTICATION: &str = "  allowed_auths_callback none md2 md5 straight\n  allowed_auths_user none md2 md5 straight\n  \
                              allowed_auths_operator none md2 md5 straight\n  allowed_auths_admin none md2 md5 straight\n  guid \
                              a123456789abcdefa123456789abcdef\n";

const CONTROLLER: &str = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nsel_enable 0x20 1000 \
                          0x0a\nmc_enable 0x20\n";

/// A UDP port of the loopback that was free just now.
fn free_port() -> anyhow::Result<u16> {
    let socket = UdpSocket::bind("127.0.0.1:0").context("cannot bind a port of the loopback")?;
    Ok(socket.local_addr()?.port())
}
