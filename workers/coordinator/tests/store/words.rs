//! What agents say, once, twice, late, in another order, and from another boot: what follows in the store.

use crate::lab::{Agent, BOUNDS, Lab};
use farrier::wire::api::JobState;
use farrier::wire::{CommandId, CommandRef, ErrorCode, ErrorReport, Outcome};
use proptest::prelude::*;

fn error(code: ErrorCode) -> Option<ErrorReport> {
    Some(ErrorReport::new(code, "it went wrong"))
}

#[tokio::test]
async fn a_job_is_sent_accepted_and_done() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let job = lab.noop("n1").await;
    let command = lab.dispatch().await;
    assert_eq!((command.boot_id, command.reference.attempt), (agent.origin.boot_id, 1));
    assert_eq!(lab.job(job).await.wait.unwrap().reason, "accepted");
    lab.hear(&agent.accepted(command.reference)).await;
    lab.hear(&agent.succeeded(command.reference)).await;
    let job = lab.job(job).await;
    assert_eq!((job.state, job.error, job.wait), (JobState::Succeeded, None, None));
    assert!(job.output.is_some() && job.started_at.is_some() && job.finished_at.is_some());
    let attempt = &job.attempts[0];
    assert_eq!((attempt.state.as_str(), attempt.steps.len()), ("succeeded", 1));
    assert!(attempt.accepted_at.is_some() && attempt.finished_at.is_some());
}

#[tokio::test]
async fn a_result_before_its_accepted_and_both_twice_do_no_harm() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let job = lab.noop("n1").await;
    let reference = lab.dispatch().await.reference;
    let (accepted, result) = (agent.accepted(reference), agent.succeeded(reference));
    lab.hear(&result).await;
    let ended = lab.job(job).await;
    assert_eq!(ended.state, JobState::Succeeded);
    assert!(ended.started_at.is_some(), "what has ended has begun");
    lab.hear_all(&[accepted.clone(), result.clone(), accepted]).await;
    lab.hear(&agent.failed(reference, ErrorCode::Internal)).await;
    assert_eq!(lab.job(job).await, ended);
}

#[tokio::test]
async fn a_command_that_nobody_sent_is_ignored() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let (job, reference) = lab.running(&agent, "n1").await;
    let other = lab.agent("n2").await;
    let forged = CommandRef { command: CommandId::new(), ..reference };
    let newer = CommandRef { attempt: 2, ..reference };
    lab.hear_all(&[
        agent.succeeded(forged),
        agent.succeeded(newer),
        other.succeeded(reference),
        agent.rebooted().succeeded(reference),
    ])
    .await;
    assert_eq!(lab.state(job).await, JobState::Running);
}

#[tokio::test]
async fn a_failure_that_may_pass_is_tried_again_and_the_last_one_is_final() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let (job, first) = lab.running(&agent, "n1").await;
    lab.hear(&agent.failed(first, ErrorCode::HttpStalled)).await;
    assert_eq!(lab.state(job).await, JobState::Queued);
    let second = lab.dispatch().await.reference;
    assert_eq!((second.job, second.attempt), (job, 2));
    assert_ne!(second.command, first.command);
    // What the first attempt still says is of no interest.
    lab.hear_all(&[agent.succeeded(first), agent.accepted(first)]).await;
    assert_eq!(lab.state(job).await, JobState::Dispatched);
    lab.hear_all(&[agent.accepted(second), agent.failed(second, ErrorCode::HttpStalled)]).await;
    let job = lab.job(job).await;
    assert_eq!((job.state, job.error.unwrap().code), (JobState::Failed, ErrorCode::HttpStalled));
    assert_eq!(job.attempts.len(), 2);
}

#[tokio::test]
async fn a_failure_that_stays_is_final_at_once() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let (job, reference) = lab.running(&agent, "n1").await;
    lab.hear(&agent.failed(reference, ErrorCode::DigestMismatch)).await;
    assert_eq!(lab.state(job).await, JobState::Failed);
}

#[tokio::test]
async fn a_refused_command_is_tried_again() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let job = lab.noop("n1").await;
    let reference = lab.dispatch().await.reference;
    lab.hear(&agent.result(reference, Outcome::Rejected, error(ErrorCode::Busy), None)).await;
    let job = lab.job(job).await;
    assert_eq!((job.state, job.attempts[0].state.as_str()), (JobState::Queued, "rejected"));
}

#[tokio::test]
async fn an_operation_that_the_agent_stopped_by_itself_is_tried_again() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let (job, reference) = lab.running(&agent, "n1").await;
    lab.hear(&agent.result(reference, Outcome::Cancelled, error(ErrorCode::Cancelled), None)).await;
    let job = lab.job(job).await;
    assert_eq!((job.state, job.error.unwrap().code), (JobState::Queued, ErrorCode::Interrupted));
}

// ---- boots

#[tokio::test]
async fn another_boot_ends_what_the_last_one_did() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let (job, reference) = lab.running(&agent, "n1").await;
    let rebooted = agent.rebooted();
    lab.hear(&rebooted.hello(None)).await;
    let interrupted = lab.job(job).await;
    assert_eq!(interrupted.state, JobState::Queued);
    assert_eq!(interrupted.attempts[0].state, "interrupted");
    assert_eq!(interrupted.error.unwrap().code, ErrorCode::Interrupted);
    // The boot before has no say any more, and does not come back.
    lab.hear_all(&[agent.succeeded(reference), agent.heartbeat(Some(reference)), agent.hello(None)]).await;
    let command = lab.dispatch().await;
    assert_eq!((command.boot_id, command.reference.attempt), (rebooted.origin.boot_id, 2));
    assert_eq!(lab.store.nodes().get("n1").await.unwrap().agent.unwrap().boot_id, rebooted.origin.boot_id);
}

#[tokio::test]
async fn a_heartbeat_of_another_boot_does_not_overtake_the_last_result_of_the_one_before() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let (job, reference) = lab.running(&agent, "n1").await;
    let rebooted = agent.rebooted();
    // Heartbeats come by another queue than results and hellos.
    lab.hear(&rebooted.heartbeat(None)).await;
    lab.hear(&agent.succeeded(reference)).await;
    lab.hear(&rebooted.hello(None)).await;
    assert_eq!(lab.state(job).await, JobState::Succeeded);
    assert_eq!(lab.store.nodes().get("n1").await.unwrap().agent.unwrap().boot_id, rebooted.origin.boot_id);
}

#[tokio::test]
async fn a_heartbeat_of_another_boot_counts_once_the_last_one_is_gone() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let (job, _) = lab.running(&agent, "n1").await;
    lab.after(36).await;
    let rebooted = agent.rebooted();
    lab.hear(&rebooted.heartbeat(None)).await;
    assert_eq!(lab.state(job).await, JobState::Queued);
    assert_eq!(lab.dispatch().await.boot_id, rebooted.origin.boot_id);
}

// ---- leases

#[tokio::test]
async fn a_job_whose_heartbeats_stop_is_interrupted_and_goes_on_with_the_same_boot() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let (job, reference) = lab.interrupted(&agent, "n1").await;
    assert_eq!(lab.job(job).await.wait.unwrap().reason, "heartbeat");
    lab.hear(&agent.heartbeat(Some(reference))).await;
    assert_eq!(lab.state(job).await, JobState::Running);
    lab.hear(&agent.succeeded(reference)).await;
    assert_eq!(lab.state(job).await, JobState::Succeeded);
}

#[tokio::test]
async fn a_result_of_an_interrupted_job_is_taken() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let (job, reference) = lab.interrupted(&agent, "n1").await;
    lab.hear(&agent.succeeded(reference)).await;
    assert_eq!(lab.state(job).await, JobState::Succeeded);
}

#[tokio::test]
async fn an_agent_that_comes_back_idle_has_a_lease_to_bring_its_result() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let (job, reference) = lab.interrupted(&agent, "n1").await;
    // It is gone for much longer than a lease, and comes back with its result right behind its hello.
    lab.after(300).await;
    assert!(!lab.store.nodes().get("n1").await.unwrap().agent.unwrap().alive);
    lab.hear(&agent.hello(None)).await;
    lab.after(1).await;
    assert_eq!(lab.state(job).await, JobState::Interrupted, "its result may be on its way");
    lab.hear(&agent.succeeded(reference)).await;
    assert_eq!(lab.state(job).await, JobState::Succeeded);
}

#[tokio::test]
async fn an_agent_that_is_there_and_names_the_command_no_more_has_lost_it() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let (job, _) = lab.running(&agent, "n1").await;
    lab.after_hearing(40, &agent.heartbeat(None)).await;
    assert_eq!(lab.state(job).await, JobState::Interrupted, "its result may be on its way");
    lab.after_hearing(40, &agent.heartbeat(None)).await;
    let job = lab.job(job).await;
    assert_eq!((job.state, job.attempts[0].state.as_str()), (JobState::Queued, "interrupted"));
}

#[tokio::test]
async fn a_command_that_was_given_up_and_still_runs_is_stopped_and_not_sent_into() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let job = lab.noop("n1").await;
    let reference = lab.dispatch().await.reference;
    lab.after_hearing(60, &agent.heartbeat(None)).await;
    assert_eq!(lab.state(job).await, JobState::Queued, "it was not accepted in time");
    assert_eq!(lab.cancels().await, [reference], "and may still be on its way");
    // It was, and the agent has taken it.
    lab.hear_all(&[agent.accepted(reference), agent.heartbeat(Some(reference))]).await;
    assert_eq!(lab.cancels().await, [reference, reference]);
    assert_eq!(lab.store.dispatch(&BOUNDS).await.unwrap(), 0, "the agent is busy");
    lab.hear(&agent.result(reference, Outcome::Cancelled, error(ErrorCode::Cancelled), None)).await;
    assert_eq!(lab.dispatch().await.reference.attempt, 2);
}

#[tokio::test]
async fn a_heartbeat_from_before_the_result_does_not_keep_the_next_job_waiting() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let (_, reference) = lab.running(&agent, "n1").await;
    lab.noop("n1").await;
    lab.hear(&agent.succeeded(reference)).await;
    lab.hear(&agent.heartbeat(Some(reference))).await;
    lab.dispatch().await;
    assert_eq!(lab.cancels().await, [], "what has ended needs no stopping");
}

#[tokio::test]
async fn progress_counts_once_and_in_order() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let (job, reference) = lab.running(&agent, "n1").await;
    let progress = |sequence, bytes| agent.progress(reference, sequence, bytes);
    lab.hear_all(&[progress(2, 200), progress(1, 100), progress(2, 200)]).await;
    assert_eq!(lab.job(job).await.progress.unwrap().bytes_done, 200);
    lab.hear(&agent.succeeded(reference)).await;
    lab.hear(&progress(3, 300)).await;
    assert_eq!(lab.job(job).await.progress, None);
}

// ---- whatever comes in whatever order

#[derive(Clone, Copy, Debug)]
enum Word {
    Accepted,
    Heartbeat,
    Idle,
    Hello,
    Progress,
    Succeeded,
    Failed,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn a_job_ends_as_its_first_result_says_whatever_comes_before_and_after(
        words in prop::collection::vec(prop::sample::select(vec![
            Word::Accepted, Word::Heartbeat, Word::Idle, Word::Hello, Word::Progress, Word::Succeeded, Word::Failed,
        ]), 1..12)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let lab = Lab::new().await;
            let agent = lab.agent("n1").await;
            let job = lab.noop("n1").await;
            let reference = lab.dispatch().await.reference;
            for (sequence, word) in words.iter().enumerate() {
                lab.hear(&said(&agent, reference, *word, sequence)).await;
            }
            let first = words.iter().find(|word| matches!(word, Word::Succeeded | Word::Failed));
            let expected = match first {
                Some(Word::Succeeded) => JobState::Succeeded,
                Some(_) => JobState::Failed,
                None if words.iter().any(|word| !matches!(word, Word::Idle | Word::Progress)) => JobState::Running,
                None => JobState::Dispatched,
            };
            assert_eq!(lab.state(job).await, expected, "{words:?}");
            let news = lab.messages().await.into_iter().filter(|message| !message.mandatory).count();
            let running = usize::from(lab.job(job).await.attempts[0].accepted_at.is_some() && expected == JobState::Running);
            assert!(news >= 2 + running, "each state was told: {news}");
        });
    }
}

fn said(agent: &Agent, reference: CommandRef, word: Word, sequence: usize) -> farrier::wire::AgentEvent {
    match word {
        Word::Accepted => agent.accepted(reference),
        Word::Heartbeat => agent.heartbeat(Some(reference)),
        Word::Idle => agent.heartbeat(None),
        Word::Hello => agent.hello(Some(reference)),
        Word::Progress => agent.progress(reference, u64::try_from(sequence).unwrap(), 1),
        Word::Succeeded => agent.succeeded(reference),
        Word::Failed => agent.failed(reference, ErrorCode::DigestMismatch),
    }
}
