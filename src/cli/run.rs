//! `farrier run`: carries a verb out on this machine, without a coordinator or a broker.

use std::path::PathBuf;

use clap::Args;
use farrier::disk::Access;
use farrier::handlers::{Context, Finished, carry_out};
use farrier::image::{self, ImageOptions};
use farrier::terminal::Board;
use farrier::wire::report::{Output as Report, StepReport};
use farrier::wire::{Coded as _, ErrorCode, ErrorReport, Outcome, Verb, Work};
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::error::Failure;
use super::exit::Exit;
use super::output::Output;
use super::report::{output_text, steps_text};
use super::spec::{SpecArgs, verb_parser};

#[derive(Debug, Args)]
#[command(after_help = Exit::help())]
pub(crate) struct RunCommand {
    /// What to do
    #[arg(value_parser = verb_parser())]
    verb: Verb,
    /// A disk that may be touched: a file or a whole block device; may be repeated. Without any, and outside a RAM disk, clean and
    /// deploy are refused
    #[arg(long, value_name = "PATH", env = "FARRIER_LAB_DISK", value_delimiter = ',')]
    lab_disk: Vec<PathBuf>,
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    image: ImageOptions,
}

/// How it ended, for programs: what an agent would have reported as its result.
#[derive(Debug, Serialize)]
struct Ran {
    verb: Verb,
    outcome: Outcome,
    error: Option<ErrorReport>,
    steps: Vec<StepReport>,
    output: Option<Report>,
}

pub(crate) async fn run(command: RunCommand, output: &mut Output) -> Result<Exit, Failure> {
    let verb = command.verb;
    let work = command.spec.work(verb).await?;
    let lab_disks = command.lab_disk;
    // Looks at the file system, which may take its time.
    let access = tokio::task::block_in_place(|| Access::detect(lab_disks))
        .map_err(|error| Failure::Here(error.report()))?;
    let images = tokio::task::block_in_place(|| command.image.load())
        .map_err(|error| Failure::Here(error.report()))?;
    let Finished { outcome, error, steps, output: report } = watched(work, access, images, output).await?;
    let ran = Ran { verb, outcome, error, steps, output: report };
    output.show(&ran, ran_text)?;
    if let (Some(error), false) = (ran.error, output.is_json()) {
        output.failure(&Failure::Here(error));
    }
    Ok(if outcome == Outcome::Succeeded { Exit::Success } else { Exit::Failed })
}

/// Carries it out, showing how far it is. Ctrl-C and SIGTERM cancel it, and it then ends in good order.
async fn watched(
    work: Work,
    access: Access,
    images: image::Settings,
    output: &Output,
) -> Result<Finished, Failure> {
    let label = work.verb().to_string();
    let mut board = Board::new(output.is_json(), [label.as_str()]);
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let cancel = CancellationToken::new();
    let (progress, mut shown) = watch::channel(None);
    let context = Context { access, images, flush: false, cancel: cancel.clone(), progress };
    let mut handler = tokio::spawn(async move { carry_out(&work, &context).await });
    loop {
        tokio::select! {
            finished = &mut handler => {
                board.clear();
                return finished.map_err(|error| {
                    Failure::Here(ErrorReport::new(ErrorCode::Panic, format!("the handler of {label} died: {error}")))
                });
            }
            Ok(()) = shown.changed() => {
                let now = shown.borrow_and_update().clone();
                if let Some(now) = now {
                    board.progress(&label, &now);
                }
            }
            Some(()) = interrupt.recv() => stop(&cancel, &board),
            Some(()) = terminate.recv() => stop(&cancel, &board),
        }
    }
}

fn stop(cancel: &CancellationToken, board: &Board) {
    board.note("told to stop: the work ends in good order");
    cancel.cancel();
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| {
        Failure::Here(ErrorReport::new(ErrorCode::Internal, format!("cannot listen for signals: {error}")))
    })
}

fn ran_text(ran: &Ran) -> String {
    match &ran.output {
        Some(report) => format!("{}\n\n{}", steps_text(&ran.steps), output_text(report)),
        None => steps_text(&ran.steps),
    }
}
