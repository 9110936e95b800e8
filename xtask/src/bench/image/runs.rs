//! Runs the contenders in turns: what else the machine does in the meantime hits all of them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context as _, bail};
use farrier_testbed::http::Nginx;
use farrier_testbed::ram_disk::RamDisk;

use super::contenders::Contender;
use super::images::Image;
use super::usage::{self, Usage};

/// A contender at one image, and what it needed in each run.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) image: Image,
    pub(super) contender: &'static Contender,
    pub(super) runs: Vec<Usage>,
    /// Why it does not count: it is absent, has failed, or has written something else.
    pub(super) out: Option<String>,
}

impl Entry {
    /// The median of all runs; none where it does not count.
    pub(super) fn wall(&self) -> Option<f64> {
        self.median(|usage| usage.wall.as_secs_f64())
    }

    pub(super) fn cpu(&self) -> Option<f64> {
        self.median(|usage| usage.cpu)
    }

    pub(super) fn peak_rss(&self) -> Option<u64> {
        self.runs.iter().map(|usage| usage.peak_rss).max()
    }

    fn median(&self, of: impl Fn(&Usage) -> f64) -> Option<f64> {
        if self.out.is_some() {
            return None;
        }
        let mut values: Vec<_> = self.runs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let (lower, upper) = (values.len().saturating_sub(1) / 2, values.len() / 2);
        Some((values.get(lower)? + values.get(upper)?) / 2.0)
    }
}

/// Where everything is that scripts are told of.
#[derive(Debug)]
pub(super) struct Stand<'a> {
    pub(super) farrier: PathBuf,
    pub(super) stage: PathBuf,
    /// Interpreter and driver, with a blank in between.
    pub(super) ipa: String,
    pub(super) nginx: Nginx,
    pub(super) disk: RamDisk,
    /// On a tmpfs.
    pub(super) scratch: &'a Path,
    pub(super) stop: &'a AtomicBool,
}

impl Stand<'_> {
    /// Lets every entry run so many times.
    pub(super) fn run_all(&mut self, entries: &mut [Entry], runs: usize) -> anyhow::Result<()> {
        for run in 1..=runs {
            for entry in entries.iter_mut().filter(|entry| entry.out.is_none()) {
                let what =
                    format!("run {run} of {runs}, {}, {}", entry.image.case.name(), entry.contender.name);
                match self.run(entry.contender, &entry.image) {
                    Ok(usage) => {
                        println!("{what}: {:.2} s", usage.wall.as_secs_f64());
                        entry.runs.push(usage);
                    }
                    Err(Fault::Contender(reason)) => {
                        println!("{what}: {reason}");
                        entry.out = Some(reason);
                    }
                    Err(Fault::Stand(error)) => return Err(error.context(what)),
                }
            }
        }
        Ok(())
    }

    fn run(&mut self, contender: &Contender, image: &Image) -> Result<Usage, Fault> {
        if contender.writes() {
            self.disk.dirty()?;
        }
        let dir = tempfile::tempdir_in(self.scratch).context("no directory for a contender")?;
        let (url, farrier, stage) = (self.nginx.url(image.name), &self.farrier, &self.stage);
        let (local, reference) = (file_url(&image.path), file_url(&image.reference));
        let bmap = image.bmap.clone().unwrap_or_default();
        let variables: &[(&str, &OsStr)] = &[
            ("FARRIER", farrier.as_ref()),
            ("STAGE", stage.as_ref()),
            ("IPA", self.ipa.as_ref()),
            ("URL", url.as_ref()),
            ("SHA256", image.sha256.as_ref()),
            ("DEVICE", self.disk.path().as_ref()),
            ("BMAP", bmap.as_ref()),
            ("IMAGE", local.as_ref()),
            ("REFERENCE", reference.as_ref()),
        ];
        let mut usage =
            usage::of_script(contender.script, variables, dir.path(), self.stop).map_err(|error| {
                if error.is::<usage::Stopped>() {
                    Fault::Stand(error)
                } else {
                    Fault::Contender(format!("{error:#}"))
                }
            })?;
        if contender.is_stage() {
            usage.wall = printed_seconds(&usage.printed)?;
        }
        if contender.writes()
            && let Some(at) = self.disk.differs_from(&image.reference)?
        {
            return Err(Fault::Contender(format!("WRONG BYTES from {at} on")));
        }
        Ok(usage)
    }
}

/// Why a run has come to nothing.
enum Fault {
    /// The contender is to blame, and the others go on.
    Contender(String),
    Stand(anyhow::Error),
}

impl From<anyhow::Error> for Fault {
    fn from(error: anyhow::Error) -> Self {
        Self::Stand(error)
    }
}

fn file_url(path: &Path) -> String {
    format!("file://{}", path.display())
}

fn printed_seconds(printed: &str) -> anyhow::Result<Duration> {
    match printed.trim().parse().map(Duration::try_from_secs_f64) {
        Ok(Ok(took)) => Ok(took),
        _ => bail!("expected the seconds that a stage took, found {printed:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::image::contenders::CONTENDERS;
    use crate::bench::image::images::Case;

    fn entry(walls: &[u64], out: Option<&str>) -> Entry {
        let usage = |&seconds: &u64| Usage {
            wall: Duration::from_secs(seconds),
            cpu: 0.5,
            peak_rss: seconds,
            printed: String::new(),
        };
        Entry {
            image: Image {
                case: Case::Dense,
                name: "dense.img",
                path: PathBuf::new(),
                sha256: String::new(),
                bytes: 0,
                reference: PathBuf::new(),
                bmap: None,
            },
            contender: &CONTENDERS[0],
            runs: walls.iter().map(usage).collect(),
            out: out.map(str::to_owned),
        }
    }

    #[test]
    fn medians_are_of_runs_that_count() {
        assert_eq!(entry(&[9, 1, 2], None).wall(), Some(2.0));
        assert_eq!(entry(&[9, 1, 2, 3], None).wall(), Some(2.5));
        assert_eq!(entry(&[], None).wall(), None);
        assert_eq!(entry(&[9, 1, 2], Some("WRONG BYTES")).wall(), None);
        assert_eq!(entry(&[9, 1, 2], None).peak_rss(), Some(9));
    }

    #[test]
    fn a_stage_prints_seconds_and_nothing_else() {
        assert_eq!(printed_seconds("0.25\n").unwrap(), Duration::from_millis(250));
        assert!(printed_seconds("-1").is_err() && printed_seconds("warning\n0.25").is_err());
    }
}
