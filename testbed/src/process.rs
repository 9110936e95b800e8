//! Child processes that never outlive us.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::Context as _;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// A child process with the group that it leads. Killed when this is dropped, and by the kernel when this process dies,
/// however it dies.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Pid,
}

impl Process {
    /// Starts `command` in a process group of its own, with no input and its output thrown away. Whoever calls, and on whichever
    /// thread, may end before the child does. Of the command, its program, arguments, environment and directory count.
    ///
    /// # Errors
    /// When it cannot be started. That its program is missing shows only in how it ends: `setpriv` then exits with 127.
    pub fn spawn(command: &Command) -> anyhow::Result<Self> {
        Self::start(command, None)
    }

    /// The same, with what it prints, to either stream, in `log`.
    ///
    /// # Errors
    /// As [`Process::spawn`].
    pub fn spawn_to(command: &Command, log: &File) -> anyhow::Result<Self> {
        Self::start(command, Some(log))
    }

    fn start(command: &Command, log: Option<&File>) -> anyhow::Result<Self> {
        let name = command.get_program().to_owned();
        let mut wrapped = Command::new("setpriv");
        wrapped.args(["--pdeathsig", "KILL", "--"]).arg(&name).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(key, value),
                None => wrapped.env_remove(key),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            wrapped.current_dir(dir);
        }
        wrapped.stdin(Stdio::null());
        match log {
            Some(log) => wrapped.stdout(log.try_clone()?).stderr(log.try_clone()?),
            None => wrapped.stdout(Stdio::null()).stderr(Stdio::null()),
        };
        wrapped.process_group(0);
        let child = spawn_for_life(wrapped)
            .with_context(|| format!("cannot start {} by setpriv, of util-linux", name.display()))?;
        let group = Pid::from_raw(i32::try_from(child.id()).context("a process id is an i32")?);
        Ok(Self { child, group })
    }

    /// The id of the process, and of its group.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the kernel will not say.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Sends a signal to the process and its group.
    ///
    /// # Errors
    /// When there is none left of the group.
    pub fn signal(&self, signal: Signal) -> nix::Result<()> {
        killpg(self.group, signal)
    }

    /// Kills the group and waits for the process.
    pub fn kill(&mut self) {
        // Fails only where nobody of the group is left.
        let _ = killpg(self.group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

type Answer = Sender<io::Result<Child>>;

/// Starts children on a thread that lives as long as the process: the kernel sends the death signal of a child when the
/// *thread* that started it ends, and those of tests and runtimes come and go.
fn spawn_for_life(command: Command) -> io::Result<Child> {
    static SPAWNER: LazyLock<Mutex<Sender<(Command, Answer)>>> = LazyLock::new(|| {
        let (sender, receiver) = mpsc::channel::<(Command, Answer)>();
        std::thread::spawn(move || {
            for (mut command, answer) in receiver {
                // Nobody is left to tell where the one who asked has gone.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let gone = |_| io::Error::other("the thread that starts children has ended");
    let (answer, answered) = mpsc::channel();
    SPAWNER
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, answer))
        .map_err(|_| io::Error::other("the thread that starts children has ended"))?;
    answered.recv().map_err(gone)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it_and_dies_with_its_handle() {
        let mut command = Command::new("sleep");
        command.arg("600");
        let mut sleeping = std::thread::spawn(move || Process::spawn(&command).unwrap()).join().unwrap();
        assert!(sleeping.ended().unwrap().is_none());
        let proc = std::path::PathBuf::from(format!("/proc/{}", sleeping.pid()));
        assert!(proc.exists());
        drop(sleeping);
        assert!(!proc.exists());
    }
}
