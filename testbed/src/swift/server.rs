//! The processes of Swift and the files that they need.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::ports::free_address;
use crate::process::Process;
use crate::tls::Authority;

/// The password of the user `test:tester`, and the key that its account signs temporary URLs with.
pub(super) const PASSWORD: &str = "testing";

/// The ports of the parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) proxy: u16,
    memcached: u16,
    account: u16,
    container: u16,
    object: u16,
}

impl Ports {
    pub(super) fn free() -> anyhow::Result<Self> {
        let port = || anyhow::Ok(free_address()?.port());
        Ok(Self { proxy: port()?, memcached: port()?, account: port()?, container: port()?, object: port()? })
    }

    pub(super) fn all(&self) -> [u16; 5] {
        [self.memcached, self.account, self.container, self.object, self.proxy]
    }
}

/// Writes what the servers read, into `dir`.
pub(super) fn prepare(dir: &Path, ports: &Ports, authority: Option<&Authority>) -> anyhow::Result<()> {
    let etc = dir.join("etc");
    fs::create_dir_all(&etc)?;
    fs::create_dir_all(dir.join("devices/d1"))?;
    fs::write(dir.join("rings.py"), include_str!("rings.py"))?;
    fs::write(dir.join("start.sh"), include_str!("start.sh"))?;
    fs::write(etc.join("swift.conf"), "[swift-hash]\nswift_hash_path_suffix = testbed\n")?;
    for (name, port) in [("account", ports.account), ("container", ports.container), ("object", ports.object)]
    {
        let storage = format!(
            "devices = {}\nmount_check = false\ndisable_fallocate = true\n",
            dir.join("devices").display()
        );
        let app = format!(
            "[pipeline:main]\npipeline = {name}-server\n[app:{name}-server]\nuse = egg:swift#{name}\n"
        );
        fs::write(etc.join(format!("{name}-server.conf")), common(port) + &storage + &app)?;
    }
    let mut proxy = common(ports.proxy);
    if let Some(authority) = authority {
        authority.sign_server("swift")?;
        let (pem, key) = authority.pair("swift");
        writeln!(proxy, "cert_file = {}\nkey_file = {}", pem.display(), key.display())?;
    }
    proxy += PROXY;
    writeln!(
        proxy,
        "[filter:cache]\nuse = egg:swift#memcache\nmemcache_servers = 127.0.0.1:{}",
        ports.memcached
    )?;
    writeln!(proxy, "[filter:tempauth]\nuse = egg:swift#tempauth\nuser_test_tester = {PASSWORD} .admin")?;
    fs::write(etc.join("proxy-server.conf"), proxy)?;
    Ok(())
}

/// Starts them. That they serve shows later.
pub(super) fn start(dir: &Path, ports: &Ports) -> anyhow::Result<Process> {
    let mut command = Command::new("env");
    // Python heeds too many variables of a test's environment.
    command.args([
        "-i",
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        "unshare",
        "--mount",
        "--propagation",
        "private",
    ]);
    command.args(["--pid", "--fork", "--kill-child", "bash"]).arg(dir.join("start.sh")).arg(dir);
    command
        .args([ports.memcached, ports.account, ports.container, ports.object].map(|port| port.to_string()));
    Process::spawn_to(&command, &File::create(dir.join("start.log"))?).context("cannot start Swift")
}

/// What the servers said last.
pub(super) fn end_of_log(dir: &Path) -> String {
    let logs = ["start.log", "account.log", "container.log", "object.log", "proxy.log"];
    let last = logs.iter().filter_map(|name| {
        let log = fs::read_to_string(dir.join(name)).ok()?;
        log.lines().last().map(|line| format!("{name}: {line}"))
    });
    last.collect::<Vec<_>>().join("; ")
}

/// On a busy machine a server answers late. It would soon be taken for one that has failed, and there is no other.
fn common(port: u16) -> String {
    format!(
        "[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {port}\nbind_timeout = 5\nworkers = 0\nuser = root\nlog_address = /dev/null\n\
         conn_timeout = 30\nnode_timeout = 60\n"
    )
}

/// The pipeline of Swift's own sample configuration, as far as images need it.
const PROXY: &str = "\
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck proxy-logging cache listing_formats tempurl tempauth copy slo dlo versioned_writes proxy-server
[app:proxy-server]
use = egg:swift#proxy
conn_timeout = 30
node_timeout = 60
error_suppression_limit = 1000000
allow_account_management = true
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:proxy-logging]
use = egg:swift#proxy_logging
log_msg_template = REQUEST {method} {path} {status_int} {bytes_sent}
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:tempurl]
use = egg:swift#tempurl
allowed_digests = sha1 sha256 sha512
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:versioned_writes]
use = egg:swift#versioned_writes
";
