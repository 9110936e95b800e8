//! The Debian packages that demo, tests and benchmarks need: what they give, why, and how what is missing is installed.
//!
//! Nothing that is installed is started, now or at the next boot: maintainer scripts start and enable services through
//! `invoke-rc.d`, `deb-systemd-invoke`, `deb-systemd-helper` and `update-rc.d` alone (Debian Policy 9.3.3), and for the
//! duration of the installation those four are `/bin/true`, in a mount namespace that nobody else sees. A `policy-rc.d` would do
//! for the first two, but it would have to be written to the system and would stay there when the installation is killed.

use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use nix::unistd::geteuid;

/// A package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name in Debian 12.
    pub name: &'static str,
    /// What it gives: while that is missing, so is the package. Another package may give it as well.
    gives: &'static str,
    /// What for.
    pub why: &'static str,
}

const fn package(name: &'static str, gives: &'static str, why: &'static str) -> Package {
    Package { name, gives, why }
}

/// What the demo and the benchmarks need.
pub const FLEET: &[Package] = &[
    package("rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmq-server", "the message broker"),
    package("nginx-light", "/usr/sbin/nginx", "the HTTP server that images come from"),
    package("fdisk", "/sbin/sfdisk", "writes the partition table of the image"),
    package("dosfstools", "/sbin/mkfs.vfat", "makes the EFI system partition of the image"),
    package("mtools", "/usr/bin/mcopy", "copies files into that partition without mounting it"),
    package("e2fsprogs", "/sbin/mke2fs", "makes the root file system of the image"),
    package("util-linux", "/usr/bin/setpriv", "ends the parts with what started them"),
];

/// What the tests need beside [`FLEET`].
pub const TESTS: &[Package] = &[
    package("openssl", "/usr/bin/openssl", "certificates for the TLS tests"),
    package("curl", "/usr/bin/curl", "the HTTP client of the commands in the README"),
    package("openipmi", "/usr/bin/ipmi_sim", "the IPMI controller of the power tests"),
    package("ipmitool", "/usr/bin/ipmitool", "speaks IPMI, for the coordinator"),
    package("python3", "/usr/bin/python3", "runs the Redfish service of the power tests"),
    package("python3.11-venv", "/usr/lib/python3.11/ensurepip", "installs that service"),
    package("jq", "/usr/bin/jq", "reads JSON in the commands of the README"),
    package(
        "qemu-utils",
        "/usr/bin/qemu-img",
        "makes qcow2 images for the image tests, and says what is in them",
    ),
    package("gdisk", "/sbin/sgdisk", "judges partition tables for the disk tests"),
    package("xfsprogs", "/sbin/mkfs.xfs", "makes a file system that must be recognised"),
    package("btrfs-progs", "/sbin/mkfs.btrfs", "makes a file system that must be recognised"),
    package("cryptsetup-bin", "/sbin/cryptsetup", "makes encrypted containers that must be recognised"),
    package("bzip2", "/usr/bin/bzip2", "makes compressed images for the image tests"),
    package("gzip", "/bin/gzip", "makes compressed images for the image tests"),
    package("lz4", "/usr/bin/lz4", "makes compressed images for the image tests"),
    package("xz-utils", "/usr/bin/xz", "makes compressed images for the image tests"),
    package("zstd", "/usr/bin/zstd", "makes compressed images for the image tests"),
    package("mount", "/sbin/losetup", "loop devices for the disk tests"),
    package(
        "python3-pika",
        "/usr/lib/python3/dist-packages/pika",
        "the AMQP client of the foreign-client test",
    ),
    package(
        "python3-jsonschema",
        "/usr/lib/python3/dist-packages/jsonschema",
        "holds messages against schemas/ in that test",
    ),
    package(
        "prometheus",
        "/usr/bin/promtool",
        "promtool, which checks the Prometheus configuration and rules",
    ),
    package(
        "docker-compose",
        "/usr/bin/docker-compose",
        "checks docker-compose.yml; needs no container engine",
    ),
];

/// What the tests and the benchmark of images in Swift need beside [`FLEET`].
pub const SWIFT: &[Package] = &[
    package("squid-openssl", "/usr/sbin/squid", "the proxy of the tests of images; it takes TLS as well"),
    package("swift-proxy", "/usr/bin/swift-proxy-server", "the object store of the direct-deploy tests"),
    package("swift-account", "/usr/bin/swift-account-server", "a part of Swift"),
    package("swift-container", "/usr/bin/swift-container-server", "a part of Swift"),
    package("swift-object", "/usr/bin/swift-object-server", "a part of Swift"),
    package("memcached", "/usr/bin/memcached", "where Swift keeps the tokens that it gave"),
];

/// What fuzzing needs.
pub const FUZZ: &[Package] = &[package("g++", "/usr/bin/g++", "builds libFuzzer, which is C++")];

/// What the benchmark of images needs beside [`FLEET`].
pub const BENCH: &[Package] = &[
    package("time", "/usr/bin/time", "says how much time and memory a contender took"),
    package("mount", "/sbin/losetup", "the loop device that contenders write to"),
    package("qemu-utils", "/usr/bin/qemu-img", "makes the qcow2 images"),
    package("zstd", "/usr/bin/zstd", "makes the zstd image"),
    package("pigz", "/usr/bin/pigz", "makes the gzip image"),
];

/// What the contenders of Farrier need. One that is not to be had is told to be absent.
pub const PEERS: &[Package] = &[
    package("curl", "/usr/bin/curl", "fetches images for contenders"),
    package("bmap-tools", "/usr/bin/bmaptool", "a contender"),
    package("python3", "/usr/bin/python3", "runs ironic-python-agent"),
    package("python3.11-venv", "/usr/lib/python3.11/ensurepip", "installs ironic-python-agent"),
    package("parted", "/usr/sbin/partprobe", "ironic-python-agent looks at partition tables with it"),
    package("gdisk", "/usr/sbin/sgdisk", "ironic-python-agent moves the backup GPT with it"),
];

/// Why the packages are not all there.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// Only root can install them.
    #[error(
        "Debian packages are missing and only root can install them. Nothing that they bring is started by:\n\n  {command}\n"
    )]
    NotRoot {
        /// What to run.
        command: String,
    },
    /// `apt-get` cannot be started.
    #[error("cannot run apt-get through unshare and sh: {0}; install by hand: {1}")]
    Start(#[source] io::Error, String),
    /// `apt-get` failed.
    #[error("`apt-get {what}` has failed ({status}); install by hand: {packages}")]
    Failed {
        /// What it was to do.
        what: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// What is missing.
        packages: String,
    },
    /// It said that it has installed them, and they are not there.
    #[error("{name} is installed, and yet {gives} is missing")]
    StillMissing {
        /// The package.
        name: &'static str,
        /// What it was to give.
        gives: &'static str,
    },
}

/// Those of `wanted` that are missing.
#[must_use]
pub fn missing(wanted: &[&[Package]]) -> Vec<Package> {
    wanted.iter().copied().flatten().copied().filter(|package| !Path::new(package.gives).exists()).collect()
}

/// Installs what is missing of `wanted`, saying on standard error what and why. Blocks.
///
/// # Errors
/// Without root the exact command to run; else what `apt-get` could not do.
pub fn ensure(wanted: &[&[Package]]) -> Result<(), PackageError> {
    let missing = missing(wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    let names_text = names.join(" ");
    eprintln!("These Debian packages are missing:");
    for Package { name, why, .. } in &missing {
        eprintln!("  {name:<16} {why}");
    }
    let install = [&["install", "--yes", "--no-install-recommends"][..], &names].concat();
    if !geteuid().is_root() {
        return Err(PackageError::NotRoot { command: as_text(&install) });
    }
    let run = |arguments: &[&str]| {
        apt_get(arguments).status().map_err(|error| PackageError::Start(error, names_text.clone()))
    };
    // The lists may be absent, as in images of containers, or so old that what they name is gone.
    if !run(&install)?.success() {
        eprintln!("The package lists may be old: updating them.");
        check("update", run(&["update"])?, &names_text)?;
        check("install", run(&install)?, &names_text)?;
    }
    match missing.iter().find(|package| !Path::new(package.gives).exists()) {
        Some(Package { name, gives, .. }) => Err(PackageError::StillMissing { name, gives }),
        None => Ok(()),
    }
}

fn check(what: &'static str, status: ExitStatus, packages: &str) -> Result<(), PackageError> {
    if status.success() {
        return Ok(());
    }
    Err(PackageError::Failed { what, status, packages: packages.to_owned() })
}

/// What starts and enables services, made to do nothing; then `apt-get` with the arguments of the script.
const QUIETLY: &str = "for f in /usr/sbin/invoke-rc.d /usr/bin/deb-systemd-invoke /usr/bin/deb-systemd-helper \
                       /usr/sbin/update-rc.d; do [ ! -e $f ] || mount --bind /bin/true $f || exit 1; done; \
                       DEBIAN_FRONTEND=noninteractive exec apt-get \"$@\"";

fn apt_get(arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    // Mounts of a namespace of its own do not propagate out of it.
    command.args(["--mount", "sh", "-c", QUIETLY, "apt-get"]).args(arguments).stdin(Stdio::null());
    command
}

/// The same as a line for a shell.
fn as_text(arguments: &[&str]) -> String {
    format!("sudo unshare --mount sh -c '{QUIETLY}' apt-get {}", arguments.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_missing() {
        let here = package("coreutils", "/bin/true", "is everywhere");
        let not_here = package("none", "/nonexistent/none", "is nowhere");
        assert_eq!(missing(&[&[here], &[not_here, here]]), [not_here]);
        ensure(&[&[here]]).unwrap();
    }

    #[test]
    fn services_are_not_started_and_others_see_nothing_of_it() {
        if !geteuid().is_root() {
            eprintln!("skipped: only root has mount namespaces");
            return;
        }
        let script = QUIETLY.replace("exec apt-get \"$@\"", "cmp /usr/sbin/invoke-rc.d /bin/true");
        assert_ne!(script, QUIETLY);
        let output = Command::new("unshare").args(["--mount", "sh", "-c", &script]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains("invoke-rc.d"), "{mounts}");
    }

    #[test]
    fn the_command_for_a_shell_is_one_line_that_a_shell_can_read() {
        let text = as_text(&["install", "mtools"]);
        assert_eq!(text.lines().count(), 1);
        let output = Command::new("sh").args(["-n", "-c", &text]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.ends_with("apt-get install mtools"), "{text}");
    }
}
