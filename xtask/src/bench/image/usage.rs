//! What a script needs: time on the wall, time of processors, memory.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use farrier_testbed::process::Process;

/// How long a contender may take.
const ENDED_WITHIN: Duration = Duration::from_secs(180);
/// Short beside what is measured, and long beside what it costs to look.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(2);
/// Some tools are where only the PATH of root leads.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Ended by whatever fails, also at the beginning of a pipe.
const STRICT: &str = "set -euo pipefail\n";

/// What a script and its children needed.
#[derive(Clone, Debug)]
pub(super) struct Usage {
    pub(super) wall: Duration,
    /// User and system, of all processes, in seconds.
    pub(super) cpu: f64,
    /// The most that any one of the processes held, in bytes.
    pub(super) peak_rss: u64,
    /// What it printed, to either stream.
    pub(super) printed: String,
}

/// The operator has told the benchmark to stop.
#[derive(Debug, thiserror::Error)]
#[error("told to stop")]
pub(super) struct Stopped;

/// Runs a script in `dir`, which must be empty, with these variables beside those of this process.
pub(super) fn of_script(
    script: &str,
    variables: &[(&str, &OsStr)],
    dir: &Path,
    stop: &AtomicBool,
) -> anyhow::Result<Usage> {
    let beside = tempfile::tempdir().context("no temporary directory")?;
    let (log, figures) = (beside.path().join("log"), beside.path().join("figures"));
    let mut command = Command::new("/usr/bin/time");
    command.args(["--format", "%U %S %M", "--output"]).arg(&figures);
    command.args(["bash", "-c", &format!("{STRICT}{script}")]);
    command.current_dir(dir).env("PATH", PATH).env("TMPDIR", dir).envs(variables.iter().copied());

    let began = Instant::now();
    let mut process = Process::spawn_to(&command, &File::create(&log)?)?;
    let status = loop {
        if let Some(status) = process.ended()? {
            break status;
        }
        ensure!(began.elapsed() < ENDED_WITHIN, "it has not ended within {ENDED_WITHIN:?}");
        if stop.load(Ordering::Relaxed) {
            return Err(Stopped.into());
        }
        std::thread::park_timeout(LOOK_AGAIN_AFTER);
    };
    let wall = began.elapsed();
    let printed = fs::read_to_string(&log).context("cannot read what it printed")?;
    ensure!(status.success(), "it has failed ({status}): {}", last_line(&printed));
    let (cpu, peak_rss) = parse(&fs::read_to_string(&figures)?)?;
    Ok(Usage { wall, cpu, peak_rss, printed })
}

/// Processor seconds and bytes, of seconds of the user, seconds of the system, and KiB.
fn parse(figures: &str) -> anyhow::Result<(f64, u64)> {
    let mut fields = figures.split_whitespace();
    let mut field = || fields.next().with_context(|| format!("`time` said {figures:?}"));
    let cpu = field()?.parse::<f64>()? + field()?.parse::<f64>()?;
    Ok((cpu, field()?.parse::<u64>()? * 1024))
}

fn last_line(text: &str) -> &str {
    text.trim().lines().last().unwrap_or("it said nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> anyhow::Result<Usage> {
        let dir = tempfile::tempdir().unwrap();
        of_script(script, &[("WHO", OsStr::new("me"))], dir.path(), &AtomicBool::new(false))
    }

    #[test]
    fn children_count() {
        let usage = run("echo $WHO; pwd; head -c 100M /dev/zero | sha256sum >/dev/null").unwrap();
        assert!(usage.printed.starts_with("me\n/"), "{}", usage.printed);
        assert!(usage.cpu > 0.0 && usage.cpu < 60.0 && usage.peak_rss > 1 << 20, "{usage:?}");
    }

    #[test]
    fn a_failure_anywhere_is_one() {
        let error = run("false | cat; echo not here").unwrap_err().to_string();
        assert!(error.contains("it said nothing"), "{error}");
        let error = run("echo no disk; exit 3").unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no disk"), "{error}");
    }

    #[test]
    fn it_can_be_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let error = of_script("exec sleep 600", &[], dir.path(), &AtomicBool::new(true)).unwrap_err();
        assert!(error.to_string().contains("told to stop"), "{error}");
    }
}
