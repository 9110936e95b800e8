//! Asks the coordinator for other URLs of an image when those of the command have run out.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use farrier::broker::{Broker, Outgoing};
use farrier::image::FreshUrls;
use farrier::wire::{Coded as _, ErrorReport, FreshImageUrls, ImageUrl, ImageUrlWanted};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::warn;

use crate::backoff::pause;
use crate::identity::Identity;
use crate::journal::Journal;
use crate::operation::Operation;

/// How long an answer may take before it is asked for again: the coordinator may have been restarted.
const AGAIN_AFTER: Duration = Duration::from_secs(20);

/// Asks for URLs of the image that one operation fetches. How long an answer is waited for in all, whoever waits decides.
#[derive(Debug)]
pub(crate) struct Asker {
    /// The operation.
    pub(crate) operation: Arc<Operation>,
    /// Who this agent is.
    pub(crate) identity: Identity,
    /// The connection. What is asked does not go by the outbox: it is worth nothing to anybody once the operation has ended, and
    /// must not stand in the way of results where no queue takes it.
    pub(crate) broker: Broker,
    /// Where it is said what the operation waits for.
    pub(crate) journal: Journal,
}

impl FreshUrls for Asker {
    fn fresh<'a>(
        &'a self,
        refused: &'a ImageUrl,
        status: u16,
    ) -> BoxFuture<'a, Result<Vec<ImageUrl>, ErrorReport>> {
        self.ask(refused, status).boxed()
    }
}

impl Asker {
    async fn ask(&self, refused: &ImageUrl, status: u16) -> Result<Vec<ImageUrl>, ErrorReport> {
        let line = format!("the server of {refused} answered {status}; waits for a fresh URL");
        self.journal.warn(self.operation.reference, line);
        // An answer that came before was to an earlier question.
        let mut answers = self.operation.image_urls.subscribe();
        tokio::select! {
            answer = next(&mut answers) => match answer {
                FreshImageUrls::Made { image_source, image_mirrors } => {
                    Ok(std::iter::once(image_source).chain(image_mirrors).collect())
                }
                FreshImageUrls::NotMade { error } => Err(error),
            },
            never = self.go_on_asking(refused, status) => match never {},
        }
    }

    async fn go_on_asking(&self, refused: &ImageUrl, status: u16) -> Infallible {
        let mut tries = 0;
        loop {
            let event = self.identity.event(ImageUrlWanted {
                origin: self.identity.origin().clone(),
                reference: self.operation.reference,
                sequence: self.operation.next_sequence(),
                image_source: refused.to_string(),
                status,
            });
            let question = Outgoing::agent_event(&event, self.identity.origin());
            match self.broker.publish(question.about(self.operation.reference.command)).await {
                Ok(()) => {
                    tries = 0;
                    sleep(AGAIN_AFTER).await;
                }
                Err(error) => {
                    warn!(error = %error.report(), "The question for a fresh URL was not confirmed; it is asked again.");
                    pause(tries).await;
                    tries += 1;
                }
            }
        }
    }
}

/// The next answer.
async fn next(answers: &mut watch::Receiver<Option<FreshImageUrls>>) -> FreshImageUrls {
    loop {
        // The sender is with the operation, which whoever asks holds.
        if answers.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        if let Some(answer) = answers.borrow_and_update().clone() {
            return answer;
        }
    }
}
