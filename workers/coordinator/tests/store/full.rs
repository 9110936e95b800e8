//! A store whose file system has no room left, and one whose process was killed.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use farrier::wire::api::JobState;
use farrier::wire::{Coded as _, ErrorCode, JobRequest};
use serde_json::json;

use crate::lab::{BOUNDS, Lab};

/// A file system of its own, of two MiB.
struct Tiny {
    directory: tempfile::TempDir,
}

impl Tiny {
    /// Nothing where this process may not mount.
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "farrier-test"])
            .arg(directory.path())
            .output()
            .unwrap();
        mounted.status.success().then_some(Self { directory })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Takes all the room that is left.
    fn fill(&self) -> PathBuf {
        let path = self.path("filler");
        let mut filler = std::fs::File::create(&path).unwrap();
        for size in [65536, 4096] {
            while filler.write_all(&vec![1; size]).is_ok() {}
        }
        path
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        // Lazily: the store may still have its files open.
        let _ = Command::new("umount").arg("--lazy").arg(self.directory.path()).status();
    }
}

#[tokio::test]
async fn a_store_that_is_full_says_so_loses_nothing_and_goes_on_once_there_is_room() {
    let Some(tiny) = Tiny::mount() else {
        eprintln!("skipped: mounting a tmpfs needs root");
        return;
    };
    let lab = Lab::at(&tiny.path("farrier.db")).await;
    let agent = lab.agent("n1").await;
    let (running, reference) = lab.running(&agent, "n1").await;
    let filler = tiny.fill();

    let mut refused = None;
    let mut taken = Vec::new();
    for number in 0..1000 {
        let request = json!({"node": "n1", "verb": "noop", "idempotency_key": format!("k{number}")});
        match lab.store.jobs().submit(JobRequest::from_json(request.clone()).unwrap(), "/test").await {
            Ok((job, _)) => taken.push(job.id),
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::StoreFull, "{error:?}");
                assert!(error.is_of_the_store());
                refused = Some(request);
                break;
            }
        }
    }
    let refused = refused.expect("the file system fills up");
    let unready = lab.store.check().await.unwrap_err();
    assert_eq!(unready.code(), ErrorCode::StoreFull, "{unready:?}");
    let heard = lab.store.hear(&[agent.succeeded(reference)], &lab.rules).await;
    assert_eq!(heard.unwrap_err().code(), ErrorCode::StoreFull);
    assert_eq!(lab.state(running).await, JobState::Running, "half a change is no change");

    std::fs::remove_file(filler).unwrap();
    lab.store.check().await.unwrap();
    lab.hear(&agent.succeeded(reference)).await;
    assert_eq!(lab.state(running).await, JobState::Succeeded);
    for job in taken {
        assert_eq!(lab.state(job).await, JobState::Queued);
    }
    lab.submit(refused).await;
    lab.dispatch().await;
    lab.store.close().await;
}

#[tokio::test]
async fn what_was_written_is_there_after_the_process_was_killed() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::at(&directory.path().join("farrier.db")).await;
    let agent = lab.agent("n1").await;
    let (job, reference) = lab.running(&agent, "n1").await;
    let outbox = lab.outbox().await;
    // As the files are at this moment, so a killed process would leave them.
    let left = directory.path().join("left");
    std::fs::create_dir(&left).unwrap();
    copy(directory.path(), &left);

    let next = Lab::at(&left.join("farrier.db")).await;
    assert_eq!(next.outbox().await, outbox);
    next.store.renew_all(&BOUNDS).await.unwrap();
    assert_eq!(next.state(job).await, JobState::Running);
    next.hear(&agent.succeeded(reference)).await;
    assert_eq!(next.state(job).await, JobState::Succeeded);
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
