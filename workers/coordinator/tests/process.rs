//! The process: how it starts, what it says when it cannot, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// The bound on every wait here.
const SOON: Duration = Duration::from_secs(30);

/// Killed when it is dropped.
struct Coordinator(Child);

impl Drop for Coordinator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Coordinator {
    fn start(directory: &Path, arguments: &[&str]) -> Self {
        Self(command(directory, arguments).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// One that logs all that it can, into a file.
    fn start_talkative(directory: &Path, arguments: &[&str], log: &Path) -> Self {
        let log = File::create(log).unwrap();
        Self(command(directory, arguments).env("RUST_LOG", "trace").stderr(log).spawn().unwrap())
    }

    fn ended(&mut self) -> ExitStatus {
        until("the process has ended", || self.0.try_wait().unwrap())
    }

    fn said(&mut self) -> String {
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farrier-coordinator"));
    command.args(arguments).current_dir(directory).env_clear();
    command
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < SOON, "not within {SOON:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn a_wrong_configuration_is_one_clear_line_and_exit_code_2() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("farrier.toml");
    std::fs::write(&file, "broker = \"amqp://u:hunter2@127.0.0.1:1/\"\nlisten_on = \"127.0.0.1:0\"\n")
        .unwrap();
    for (arguments, expected) in [
        (
            &["--config=farrier.toml"][..],
            "farrier.toml, line 2: unknown key `listen_on`, expected one of `broker`",
        ),
        (&["--config=none.toml"], "cannot read the configuration file none.toml: No such file"),
        (&[], "the setting `broker`: it is missing"),
        (
            &["--broker=amqp://u:hunter2@h/", "--listen=0.0.0.0:0"],
            "the setting `listen`: 0.0.0.0:0 can be reached",
        ),
    ] {
        let mut coordinator = Coordinator::start(directory.path(), arguments);
        assert_eq!(coordinator.ended().code(), Some(2), "{arguments:?}");
        let said = coordinator.said();
        assert!(said.starts_with(&format!("farrier-coordinator: {expected}")), "{said}");
        assert!(said.lines().count() == 1 && !said.contains("hunter2"), "{said}");
    }
    std::fs::write(&file, "[conductor]\nfile_url_allowed_paths = [\"/etc/ssl\"]\n").unwrap();
    let mut coordinator =
        Coordinator::start(directory.path(), &["--broker=amqp://h/", "--config=farrier.toml"]);
    assert_eq!(coordinator.ended().code(), Some(2));
    let said = coordinator.said();
    assert!(said.contains("`conductor.file_url_allowed_paths`: /etc/ssl lies in or above /etc"), "{said}");
    assert!(!directory.path().join("farrier.db").exists(), "nothing was begun");
}

#[test]
fn it_serves_without_a_broker_and_ends_on_sigterm() {
    let directory = tempfile::tempdir().unwrap();
    let arguments =
        ["--broker=amqp://u:hunter2@127.0.0.1:1/", "--listen=127.0.0.1:0", "--listen-file=address"];
    let mut coordinator = Coordinator::start(directory.path(), &arguments);
    let address =
        until("the address is written", || std::fs::read_to_string(directory.path().join("address")).ok());
    std::net::TcpStream::connect(address.trim()).unwrap();
    kill(Pid::from_raw(coordinator.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(coordinator.ended().code(), Some(0));
    let said = coordinator.said();
    assert!(said.contains("127.0.0.1:1") && !said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn no_log_shows_a_secret_and_a_key_that_others_may_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys");
    std::fs::write(&keys, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").unwrap();
    let arguments = [
        "--broker=amqp://u:hunter2@127.0.0.1:1/",
        "--listen=127.0.0.1:0",
        "--listen-file=address",
        "--secret-key-file=keys",
    ];
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut refused = Coordinator::start(directory.path(), &arguments);
    assert_eq!(refused.ended().code(), Some(2));
    let said = refused.said();
    assert!(said.contains("`secret_key_file`") && said.contains("chmod 600 keys"), "{said}");

    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).unwrap();
    let log = directory.path().join("log");
    let mut coordinator = Coordinator::start_talkative(directory.path(), &arguments, &log);
    let address =
        until("the address is written", || std::fs::read_to_string(directory.path().join("address")).ok());
    // Fails when it was done already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().timeout(SOON).build().unwrap();
    let post = |path: &str, body: Value| {
        client.post(format!("http://{}/v1/{path}", address.trim())).json(&body).send()
    };
    let node = json!({
        "id": "4c4c4544-0042-3510-8054-b3c04f4e3932", "name": "n1", "driver_info": {
            "redfish_address": "https://127.0.0.1:1", "redfish_username": "admin", "redfish_password": "hunter2",
            "image_http_proxy": "http://user:hunter2@proxy:3128"
        },
    });
    assert_eq!(post("nodes", node.clone()).await.unwrap().status(), 201);
    assert_eq!(post("nodes", node).await.unwrap().status(), 409, "and what is refused is not shown either");
    let job = json!({"node": "n1", "verb": "deploy", "spec": {
        "image_source": "https://user:hunter2@h/i?temp_url_sig=hunter2", "image_checksum": "ab".repeat(32),
        "image_request_authorization": "Bearer hunter2", "image_https_proxy": "user:hunter2@proxy"
    }});
    assert_eq!(post("jobs", job).await.unwrap().status(), 201);
    kill(Pid::from_raw(coordinator.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(coordinator.ended().code(), Some(0));
    let said = std::fs::read_to_string(&log).unwrap();
    let line = said.lines().find(|line| line.contains("hunter2") || line.contains("AAECAwQF"));
    assert!(said.contains("TRACE") && line.is_none(), "{line:?}");
}

#[test]
fn it_serves_images_where_its_configuration_says() {
    let directory = tempfile::tempdir().unwrap();
    let images = directory.path().join("images");
    std::fs::create_dir(&images).unwrap();
    let file = format!(
        "broker = \"amqp://u:hunter2@127.0.0.1:1/\"\nlisten = \"127.0.0.1:0\"\n\
         [conductor]\nfile_url_allowed_paths = [{images:?}]\n\
         [deploy]\nhttp_listen = \"127.0.0.1:0\"\nhttp_listen_file = \"address\"\nimage_cache_dir = {:?}\n\
         [agent]\nimage_download_source = \"local\"\n",
        directory.path().join("cache")
    );
    std::fs::write(directory.path().join("farrier.toml"), file).unwrap();
    let mut coordinator = Coordinator::start(directory.path(), &["--config=farrier.toml"]);
    let address =
        until("the address is written", || std::fs::read_to_string(directory.path().join("address")).ok());
    let mut stream = std::net::TcpStream::connect(address.trim()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(b"GET /v1/nodes HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("nothing else is served here"), "{answer}");
    kill(Pid::from_raw(coordinator.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(coordinator.ended().code(), Some(0));
}
