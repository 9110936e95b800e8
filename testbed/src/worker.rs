//! A worker of Farrier as a child process: its log, its end, its signals.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::Signal;

use crate::process::Process;
use crate::wait::wait_for;

/// How many of the last lines of a log an error shows.
const LINES_SHOWN: usize = 12;

/// A worker that can be started, stopped, killed and started again. All its runs write to one log. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    name: String,
    log: PathBuf,
    process: Option<Process>,
}

impl Worker {
    /// A worker that does not run yet. Its log is `<dir>/<name>.log`.
    pub(crate) fn new(name: &str, dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self { name: name.to_owned(), log: dir.join(format!("{name}.log")), process: None })
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    pub(crate) fn start(&mut self, command: &Command) -> anyhow::Result<()> {
        ensure!(self.process.is_none(), "{} runs already", self.name);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot open {}", self.log.display()))?;
        self.process = Some(Process::spawn_to(command, &log)?);
        Ok(())
    }

    /// Fails when it has ended by itself: with the end of its log.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        if let Some(process) = &mut self.process
            && let Some(status) = process.ended()?
        {
            bail!("{} has ended with {status}; {}", self.name, self.end_of_log());
        }
        Ok(())
    }

    /// Asks it to end, as an operator would, and waits until it has.
    pub(crate) async fn stop(&mut self, bound: Duration) -> anyhow::Result<ExitStatus> {
        self.running()?.signal(Signal::SIGTERM)?;
        self.ended(bound).await
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self, bound: Duration) -> anyhow::Result<ExitStatus> {
        let what = format!("{} ends", self.name);
        let process = self.process.as_mut().with_context(|| format!("{} does not run", self.name))?;
        let status = wait_for(&what, bound, async || Ok(process.ended()?)).await?;
        self.process = None;
        Ok(status)
    }

    /// Kills it, as if the machine had lost power.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(self.running()?.signal(signal)?)
    }

    /// The last lines of its log, for errors.
    pub(crate) fn end_of_log(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
        format!("the end of {}:\n{last}", self.log.display())
    }

    fn running(&self) -> anyhow::Result<&Process> {
        self.process.as_ref().with_context(|| format!("{} does not run", self.name))
    }
}

/// The peak and the present resident memory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// `VmHWM`: the most that it has ever held, in bytes.
    pub peak_rss_bytes: u64,
    /// `VmRSS`: what it holds now, in bytes.
    pub rss_bytes: u64,
}

/// Reads the memory of a process from `/proc/<pid>/status`.
///
/// # Errors
/// When there is no such process.
pub fn memory_of(pid: u32) -> anyhow::Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let bytes = |key: &str| -> anyhow::Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|rest| rest.trim().strip_suffix("kB"));
        Ok(1024 * kib.with_context(|| format!("{path} has no {key}"))?.trim().parse::<u64>()?)
    };
    Ok(Memory { peak_rss_bytes: bytes("VmHWM:")?, rss_bytes: bytes("VmRSS:")? })
}

/// The processor time that a process has used, user and system together, from `/proc/<pid>/stat`.
///
/// # Errors
/// When there is no such process.
pub fn cpu_time_of(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The name of the program, in parentheses, may hold spaces; utime and stime are the 12th and 13th fields after it.
    let (_, fields) = stat.rsplit_once(") ").with_context(|| format!("{path} has no program name"))?;
    let ticks: Vec<u64> = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect::<Result<_, _>>()
        .context("not a number")?;
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.context("no clock tick")?;
    let per_second = u64::try_from(per_second)?;
    Ok(Duration::from_millis(ticks.iter().sum::<u64>() * 1000 / per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_process_uses() {
        let memory = memory_of(std::process::id()).unwrap();
        assert!(memory.rss_bytes > 0 && memory.peak_rss_bytes >= memory.rss_bytes, "{memory:?}");
        assert!(cpu_time_of(std::process::id()).unwrap() < Duration::from_secs(3600));
        assert!(memory_of(u32::MAX).is_err());
    }

    #[tokio::test]
    async fn is_stopped_killed_and_started_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut worker = Worker::new("sleeper", dir.path()).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo awake; exec sleep 600"]);
        worker.start(&command).unwrap();
        assert!(worker.start(&command).is_err());
        worker.check().unwrap();
        assert!(!worker.stop(Duration::from_secs(10)).await.unwrap().success());
        assert!(worker.pid().is_none());
        worker.start(&command).unwrap();
        worker.kill();
        assert!(worker.signal(Signal::SIGTERM).is_err());
    }

    #[tokio::test]
    async fn says_how_it_ended_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let mut worker = Worker::new("broken", dir.path()).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no broker >&2; exit 3"]);
        worker.start(&command).unwrap();
        let bound = Duration::from_secs(10);
        let error = wait_for("the end", bound, async || Ok(worker.check().err())).await.unwrap();
        let error = format!("{error:#}");
        assert!(error.contains("exit status: 3") && error.contains("no broker"), "{error}");
    }
}
