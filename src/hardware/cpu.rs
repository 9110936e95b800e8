//! Processors, from `/proc/cpuinfo` and sysfs.

use std::collections::BTreeSet;
use std::path::Path;

use super::{HardwareError, read};
use crate::sysfs;
use crate::wire::inventory::Cpu;

const CPUINFO: &str = "/proc/cpuinfo";
const CPUS: &str = "/sys/devices/system/cpu";

/// The processors that are online.
pub(super) fn collect() -> Result<Cpu, HardwareError> {
    let path = Path::new(CPUINFO);
    let said = CpuInfo::parse(&read(path, "which processors there are")?);
    if said.count == 0 {
        return Err(HardwareError::Malformed {
            path: path.to_owned(),
            what: "which processors there are",
            expected: "a line `processor : 0`",
            found: "none".to_owned(),
        });
    }
    let topology = Topology::read(Path::new(CPUS));
    Ok(Cpu {
        model_name: said.model_name,
        frequency: topology.max_khz.map(|khz| format!("{}.{:03}", khz / 1000, khz % 1000)).or(said.mhz),
        count: said.count,
        architecture: architecture(),
        flags: said.flags,
        socket_count: topology.sockets.or(said.sockets),
    })
}

/// As `uname -m` says it.
fn architecture() -> String {
    nix::sys::utsname::uname().map_or_else(
        |_| std::env::consts::ARCH.to_owned(),
        |name| name.machine().to_string_lossy().into_owned(),
    )
}

/// What `/proc/cpuinfo` says. Its keys differ by architecture; those of x86, Arm, POWER and RISC-V are known here.
#[derive(Debug, Default, PartialEq, Eq)]
struct CpuInfo {
    model_name: Option<String>,
    mhz: Option<String>,
    count: u32,
    flags: Vec<String>,
    sockets: Option<u32>,
}

impl CpuInfo {
    fn parse(text: &str) -> Self {
        let mut said = Self::default();
        let mut sockets = BTreeSet::new();
        for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match key.trim() {
                "processor" => said.count = said.count.saturating_add(1),
                "physical id" => {
                    sockets.insert(value);
                }
                "model name" | "cpu" => first(&mut said.model_name, value),
                "cpu MHz" | "clock" => first(&mut said.mhz, value.trim_end_matches("MHz")),
                "flags" | "Features" if said.flags.is_empty() => {
                    said.flags = value.split_ascii_whitespace().map(str::to_owned).collect();
                }
                _ => {}
            }
        }
        said.sockets = some_count(&sockets);
        said
    }
}

/// What sysfs says of all processors together.
#[derive(Debug, PartialEq, Eq)]
struct Topology {
    max_khz: Option<u64>,
    sockets: Option<u32>,
}

impl Topology {
    fn read(cpus: &Path) -> Self {
        let folders: Vec<_> = std::fs::read_dir(cpus)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| is_cpu(&entry.file_name().to_string_lossy()))
            .map(|entry| entry.path())
            .collect();
        let number = |folder: &Path, file: &str| sysfs::number(&folder.join(file));
        // A kernel that does not know the package says -1, which is not a number here.
        let packages: BTreeSet<_> =
            folders.iter().filter_map(|cpu| number(cpu, "topology/physical_package_id")).collect();
        Self {
            max_khz: folders.iter().filter_map(|cpu| number(cpu, "cpufreq/cpuinfo_max_freq")).max(),
            sockets: some_count(&packages),
        }
    }
}

/// `cpu0`, but not `cpufreq` or `cpuidle`.
fn is_cpu(name: &str) -> bool {
    name.strip_prefix("cpu").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn first(slot: &mut Option<String>, value: &str) {
    if slot.is_none() && !value.is_empty() {
        *slot = Some(value.to_owned());
    }
}

fn some_count<T>(set: &BTreeSet<T>) -> Option<u32> {
    u32::try_from(set.len()).ok().filter(|&count| count > 0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    const X86: &str = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Gold 6230 CPU @ 2.10GHz\ncpu MHz\t\t: 2100.000\n\
        physical id\t: 0\nflags\t\t: fpu vme sse2\n\nprocessor\t: 1\nmodel name\t: another\ncpu MHz\t\t: 800.000\n\
        physical id\t: 1\nflags\t\t: fpu\n\nprocessor\t: 2\nphysical id\t: 1\n";
    const ARM: &str =
        "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd aes\nCPU implementer\t: 0x41\n";
    const POWER: &str = "processor\t: 0\ncpu\t\t: POWER9, altivec supported\nclock\t\t: 2166.000000MHz\n";

    #[test]
    fn reads_the_first_processor_and_counts_all() {
        let said = CpuInfo::parse(X86);
        assert_eq!(said.model_name.as_deref(), Some("Intel(R) Xeon(R) Gold 6230 CPU @ 2.10GHz"));
        assert_eq!(said.mhz.as_deref(), Some("2100.000"));
        assert_eq!((said.count, said.sockets), (3, Some(2)));
        assert_eq!(said.flags, ["fpu", "vme", "sse2"]);
    }

    #[test]
    fn what_an_architecture_does_not_say_is_absent() {
        let arm = CpuInfo::parse(ARM);
        assert_eq!((arm.model_name, arm.mhz, arm.sockets), (None, None, None));
        assert_eq!(arm.flags, ["fp", "asimd", "aes"]);
        let power = CpuInfo::parse(POWER);
        assert_eq!(power.model_name.as_deref(), Some("POWER9, altivec supported"));
        assert_eq!(power.mhz.as_deref(), Some("2166.000000"));
        assert_eq!(CpuInfo::parse(""), CpuInfo::default());
    }

    #[test]
    fn topology_takes_the_fastest_and_the_distinct_packages() {
        let root = tempfile::tempdir().unwrap();
        for (cpu, package, khz) in [("cpu0", "0", "3600000"), ("cpu1", "1", "3900500"), ("cpu10", "-1", "x")]
        {
            for folder in ["topology", "cpufreq"] {
                fs::create_dir_all(root.path().join(cpu).join(folder)).unwrap();
            }
            fs::write(root.path().join(cpu).join("topology/physical_package_id"), package).unwrap();
            fs::write(root.path().join(cpu).join("cpufreq/cpuinfo_max_freq"), khz).unwrap();
        }
        fs::create_dir_all(root.path().join("cpufreq")).unwrap();
        let topology = Topology::read(root.path());
        assert_eq!(topology, Topology { max_khz: Some(3_900_500), sockets: Some(2) });
        let nothing = Topology::read(&root.path().join("absent"));
        assert_eq!(nothing, Topology { max_khz: None, sockets: None });
    }

    #[test]
    fn this_machine_has_processors() {
        let cpu = collect().unwrap();
        assert!(cpu.count > 0, "{cpu:?}");
        assert!(!cpu.architecture.is_empty(), "{cpu:?}");
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "\\PC*(\nprocessor\t: [0-9]+)*") {
            let lines = text.lines().filter(|line| line.starts_with("processor\t:")).count();
            prop_assert!(usize::try_from(CpuInfo::parse(&text).count).unwrap() >= lines);
        }
    }
}
