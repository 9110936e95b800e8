//! The process: how it starts, what it says when it cannot, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

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
        let mut command = Command::new(env!("CARGO_BIN_EXE_farrier-coordinator"));
        command.args(arguments).current_dir(directory).env_clear().stderr(Stdio::piped());
        Self(command.spawn().unwrap())
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
    let mut coordinator = Coordinator::start(directory.path(), &["--broker=amqp://h/", "--config=farrier.toml"]);
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
