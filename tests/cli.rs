//! The `farrier` command as scripts use it: what it prints, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use farrier_testbed::lab_disk;
use serde_json::{Value, json};

const NODE: &str = "4c4c4544-0042-3510-8054-b3c04f4e3932";
const JOB: &str = "019a3c60-1a00-7b52-8e4f-2d9c0b6a1f31";

fn farrier(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farrier"));
    command
        .args(arguments)
        .env_remove("FARRIER_API")
        .env_remove("FARRIER_TOKEN")
        .env_remove("FARRIER_TOKEN_FILE")
        .env_remove("FARRIER_LAB_DISK")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    farrier(arguments).output().unwrap()
}

#[track_caller]
fn ends_with(output: &Output, code: i32) -> (String, String) {
    let out = String::from_utf8(output.stdout.clone()).unwrap();
    let err = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "stdout: {out}\nstderr: {err}");
    (out, err)
}

#[test]
fn help_says_what_the_exit_codes_mean() {
    let (out, _) = ends_with(&run(&["--help"]), 0);
    for noun in ["node", "job", "image", "events", "dead", "run", "completions"] {
        assert!(out.contains(&format!("\n  {noun} ")), "{out}");
    }
    assert!(out.contains("Exit codes:") && out.contains("4  there is no such node"), "{out}");
    let (out, _) = ends_with(&run(&["job", "submit", "--help"]), 0);
    assert!(out.contains("[possible values: inspect, clean, deploy, noop]"), "{out}");
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let (out, _) = ends_with(&run(&["completions", shell]), 0);
        assert!(out.contains("idempotency-key"), "{shell}");
    }
}

#[test]
fn wrong_usage_ends_with_2_before_anything_is_sent() {
    let wrong: &[(&[&str], &str)] = &[
        (&["job", "submit", "format", "n1"], "possible values"),
        (&["job", "submit", "noop"], "<NODE>"),
        (&["job", "submit", "noop", "n1", "--timeout", "0s"], "--timeout"),
        (&["job", "submit", "noop", "n1", "--max-attempts", "101"], "--max-attempts"),
        (&["job", "submit", "noop", "n1", "n2", "--idempotency-key", "k"], "one node"),
        (&["job", "submit", "deploy", "n1"], "image_source"),
        (&["job", "submit", "deploy", "n1", "--image-source", "ftp://h/x"], "--image-source"),
        (&["job", "submit", "noop", "n1", "--root-device", "serial=1"], "spec.root_device"),
        (&["job", "submit", "clean", "n1", "--step", "scrub"], "spec.steps"),
        (&["job", "submit", "clean", "n1", "--spec", "/nonexistent.json"], "/nonexistent.json"),
        (&["job", "show", "not-a-uuid"], "<ID>"),
        (&["job", "list", "--state", "done"], "possible values"),
        (&["job", "list", "--limit", "0"], "--limit"),
        (&["node", "list", "--api", "ftp://h"], "--api"),
        (&["node", "list", "--token-file", "/nonexistent"], "/nonexistent"),
        (&["node", "enroll", NODE, "--property", "root_devise={}"], "root_devise"),
        (&["node", "enroll", NODE, "--driver-info", "redfish_address"], "KEY=VALUE"),
        (&["node", "set", "n1"], "nothing to change"),
        (&["image", "set", "debian"], "<IMAGE>"),
        (&["image", "set", JOB, "--checksum", "abc"], "--checksum"),
        (&["image", "set", JOB, "--os-hash-algo", "sha256"], "--os-hash-value"),
        (
            &["image", "set", JOB, "--os-hash-algo", "crc32", "--os-hash-value", "ab"],
            "expected one of sha256",
        ),
        (&["image", "set", JOB, "--os-hash-algo", "sha256", "--os-hash-value", "ab"], "os_hash_value"),
        (&["image", "set", JOB, "--source", JOB], "the UUID of another image"),
        (&["image", "set", JOB, "--size", "0"], "number of bytes"),
        (&["run", "deploy", "--spec", "-"], "not JSON"),
    ];
    for (arguments, expected) in wrong {
        let (_, err) = ends_with(&run(arguments), 2);
        assert!(err.contains(expected), "{arguments:?}: {err}");
    }
}

/// An address on which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn a_coordinator_that_is_not_there_ends_with_3_and_shows_no_secret() {
    let api = nobody().replace("http://", "http://user:hunter2@");
    let (out, err) = ends_with(&run(&["node", "list", "--api", &api]), 3);
    assert!(
        out.is_empty() && err.contains("cannot reach the coordinator") && err.contains("refused"),
        "{err}"
    );
    assert!(!err.contains("hunter2"), "{err}");
    let (_, err) = ends_with(&run(&["job", "watch", JOB, "--json", "--api", &api]), 3);
    let error: Value = serde_json::from_str(&err).unwrap();
    assert_eq!(error["code"], "http-connect");
}

#[test]
fn inspect_here_sees_lab_disks_alone() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("lab.img");
    lab_disk::create(&disk, 4 << 20).unwrap();
    let disk = disk.canonicalize().unwrap();
    let output = run(&["run", "inspect", "--json", "--lab-disk", disk.to_str().unwrap()]);
    let (out, _) = ends_with(&output, 0);
    let ran: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(ran["outcome"], "succeeded");
    let disks = ran["output"]["inventory"]["disks"].as_array().unwrap();
    let names: Vec<_> = disks.iter().map(|disk| disk["name"].as_str().unwrap()).collect();
    assert_eq!(names, [disk.to_str().unwrap()]);
    assert!(ran["output"]["inventory"]["cpu"]["count"].as_u64().unwrap() > 0);
}

#[test]
fn clean_here_is_refused_without_a_lab_disk() {
    let (out, err) = ends_with(&run(&["run", "clean", "--json"]), 1);
    let ran: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (ran["outcome"].as_str(), ran["error"]["code"].as_str()),
        (Some("failed"), Some("no-lab-disks"))
    );
    assert!(err.is_empty(), "{err}");
    let (_, err) = ends_with(&run(&["run", "clean"]), 1);
    assert!(err.contains("--lab-disk") && err.contains("[no-lab-disks]"), "{err}");
}

#[test]
fn clean_here_erases_the_lab_disk() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("lab.img");
    lab_disk::create(&disk, 4 << 20).unwrap();
    assert!(!is_zero(&disk));
    let output = farrier(&["run", "clean"]).env("FARRIER_LAB_DISK", &disk).output().unwrap();
    let (out, err) = ends_with(&output, 0);
    assert!(out.contains("erase_devices") && err.contains("clean 2/3 erase_devices_metadata"), "{out}{err}");
    assert!(is_zero(&disk));
}

fn is_zero(path: &Path) -> bool {
    std::fs::read(path).unwrap().iter().all(|byte| *byte == 0)
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child =
        farrier(&["completions", "zsh"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let (_, err) = ends_with(&child.wait_with_output().unwrap(), 0);
    assert!(err.is_empty(), "{err}");
}

/// Answers like a coordinator, for what a real one does not do when a test wants it. `answer` makes the answer from the request
/// line and the number of requests before.
fn double(answer: impl Fn(&str, usize) -> String + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let (answer, count) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
    // Ends with the process of the tests.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (answer, count) = (answer.clone(), count.clone());
            std::thread::spawn(move || {
                serve(stream.unwrap(), |line| answer(line, count.fetch_add(1, Ordering::SeqCst)))
            });
        }
    });
    format!("http://{address}")
}

fn serve(mut stream: TcpStream, answer: impl Fn(&str) -> String) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = reader.by_ref().lines().map(Result::unwrap);
    let line = lines.next().unwrap_or_default();
    let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    // The body is not looked at, and closing with some of it unread would reset the connection.
    let length =
        head.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    std::io::copy(&mut reader.take(length.unwrap_or(0)), &mut std::io::sink()).unwrap();
    stream.write_all(answer(&line).as_bytes()).unwrap();
}

fn http(status: &str, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn problem(status: u16, code: &str, field: Option<&str>) -> String {
    let body = json!({
        "type": format!("urn:farrier:error:{code}"), "status": status, "title": "t", "detail": "it is so",
        "code": code, "field": field
    });
    http(&status.to_string(), "application/problem+json", &body.to_string())
}

#[test]
fn a_problem_is_shown_with_code_and_field_and_decides_the_exit_code() {
    for (status, code, exit) in
        [(404, "unknown-node", 4), (409, "conflict", 2), (401, "unauthorized", 2), (507, "store-full", 3)]
    {
        let api = double(move |_, _| problem(status, code, Some("spec.root_device")));
        let (_, err) = ends_with(&run(&["node", "show", "web/12", "--api", &api]), exit);
        assert_eq!(err, format!("error: it is so [{code}]\nfield: spec.root_device\n"));
        let (_, err) = ends_with(&run(&["node", "show", "web/12", "--json", "--api", &api]), exit);
        let error: Value = serde_json::from_str(&err).unwrap();
        assert_eq!(error, json!({"code": code, "message": "it is so", "field": "spec.root_device"}));
    }
}

#[test]
fn a_server_that_is_no_coordinator_is_told_apart() {
    let api = double(|_, _| http("200 OK", "text/html", "<html>"));
    let (_, err) = ends_with(&run(&["node", "list", "--api", &api]), 3);
    assert!(err.contains("does not answer as a Farrier coordinator does"), "{err}");
}

#[test]
fn names_go_into_the_path_as_they_are() {
    let api = double(|line, _| match line {
        "GET /base/v1/nodes/web%2F12%20%3F HTTP/1.1" => problem(404, "unknown-node", None),
        other => panic!("{other}"),
    });
    ends_with(&run(&["node", "show", "web/12 ?", "--api", &format!("{api}/base/")]), 4);
}

#[test]
fn an_image_is_registered_shown_listed_and_forgotten() {
    let image = json!({
        "id": JOB, "name": "debian 13", "source": "swift://glance/debian.qcow2", "image_checksum": format!("sha256:{}", "ab".repeat(32)),
        "os_hash_algo": null, "os_hash_value": null, "disk_format": "qcow2", "size": 1048576,
        "created_at": "2025-11-24T16:00:00Z", "updated_at": "2025-11-24T16:00:00Z"
    });
    let api = double(move |line, _| {
        let answer = |body: &Value| http("200 OK", "application/json", &body.to_string());
        match line {
            "PUT /v1/images/019a3c60-1a00-7b52-8e4f-2d9c0b6a1f31 HTTP/1.1" => answer(&image),
            "GET /v1/images/019a3c60-1a00-7b52-8e4f-2d9c0b6a1f31 HTTP/1.1" => answer(&image),
            "GET /v1/images?limit=100 HTTP/1.1" => answer(&json!({"items": [image], "next": null})),
            "DELETE /v1/images/019a3c60-1a00-7b52-8e4f-2d9c0b6a1f31 HTTP/1.1" => {
                http("204 No Content", "text/plain", "")
            }
            other => panic!("{other}"),
        }
    });
    let set = [
        "image",
        "set",
        JOB,
        "--disk-format",
        "qcow2",
        "--source",
        "swift://glance/debian.qcow2",
        "--api",
        &api,
    ];
    let (out, _) = ends_with(&run(&set), 0);
    assert!(
        out.contains("debian 13")
            && out.contains("swift://glance/debian.qcow2")
            && out.contains("sha256:abab"),
        "{out}"
    );
    let (out, _) = ends_with(&run(&["image", "show", JOB, "--json", "--api", &api]), 0);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["disk_format"], "qcow2");
    let (out, _) = ends_with(&run(&["image", "list", "--api", &api]), 0);
    assert!(out.contains(JOB) && out.contains("1.00 MiB"), "{out}");
    let (_, err) = ends_with(&run(&["image", "delete", JOB, "--api", &api]), 0);
    assert!(err.contains("is forgotten"), "{err}");
}

#[test]
fn a_node_that_is_refused_does_not_keep_the_others_from_their_jobs() {
    let api = double(|_, count| match count {
        0 => problem(404, "unknown-node", Some("node")),
        _ => http(
            "201 Created",
            "application/json",
            &json!({"job": job("queued"), "created": true}).to_string(),
        ),
    });
    let (out, err) = ends_with(&run(&["job", "submit", "noop", "n1", "web-12", "--api", &api]), 4);
    assert!(err.contains("[unknown-node]"), "{err}");
    assert_eq!(out, format!("job {JOB} noop on web-12: queued\n"));
}

fn job(state: &str) -> Value {
    json!({
        "id": JOB, "node": NODE, "node_name": "web-12", "verb": "noop", "spec": {}, "state": state, "wait": null,
        "attempt": 1, "retry": {"max_attempts": 3, "backoff_seconds": 5}, "idempotency_key": null,
        "submitted_by": "http", "error": null, "progress": null, "output": null,
        "created_at": "2025-11-24T16:00:00Z", "started_at": null, "finished_at": null,
        "deadline": "2025-11-24T22:00:00Z"
    })
}

/// A coordinator that goes away while a job runs: its event stream ends, then it has a fault, then the job has ended.
fn restarting(end: &'static str) -> String {
    let asked = AtomicUsize::new(0);
    double(move |line, _| {
        if line.starts_with("GET /v1/events") {
            return "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n: hello\n\n".into();
        }
        match asked.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => http("200 OK", "application/json", &job("running").to_string()),
            2 => problem(503, "store-unavailable", None),
            _ => http("200 OK", "application/json", &job(end).to_string()),
        }
    })
}

#[test]
fn watching_survives_a_restart_of_the_coordinator() {
    let (out, err) = ends_with(&run(&["job", "watch", JOB, "--api", &restarting("succeeded")]), 0);
    assert!(err.contains("web-12 noop running") && err.contains("trying again"), "{err}");
    assert!(out.contains("succeeded"), "{out}");
    let (out, _) = ends_with(&run(&["job", "watch", JOB, "--json", "--api", &restarting("failed")]), 1);
    let states: Vec<_> = out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["state"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(states, ["running", "failed"]);
}
