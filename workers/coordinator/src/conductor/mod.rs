//! Does the errands of jobs: what takes time, and needs others than the broker. Every errand is a task that may fail, be
//! stopped or die at any moment; what it has done stands in the store, and what is left is done by the next one.

mod power_on;
mod prepare;
mod refresh;
mod restart;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use farrier::broker::{Broker, Status};
use farrier::wire::{Coded as _, ErrorCode, ErrorReport, FreshImageUrls};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::error;

use crate::images::Images;
use crate::power::Power;
use crate::store::errands::{Errand, ErrandKind};
use crate::store::{Bounds, Store, StoreError};

/// How often it is looked for errands, even when nobody says that there are some.
const TICK: Duration = Duration::from_millis(500);
/// How long it is waited for more to come when somebody says that there are some: every word of an agent may bring one.
const GATHER: Duration = Duration::from_millis(50);
/// How many errands of a kind are done at once. None of one kind waits for those of another.
const AT_ONCE: usize = 500;
/// How long an errand rests that could not be done for a reason of the store.
const REST: Duration = Duration::from_secs(2);

/// What errands are done with. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Conductor {
    pub(crate) store: Store,
    pub(crate) broker: Broker,
    pub(crate) images: Images,
    pub(crate) power: Power,
    pub(crate) bounds: Bounds,
    /// How long an agent may take to power its machine off after its result has come.
    pub(crate) off_within: Duration,
    pub(crate) turns: Turns,
}

/// How an errand has ended: when it is looked at again, if it is still to be done.
type Ended = Result<Duration, StoreError>;

impl Conductor {
    /// Whether agents can be heard, and sent something.
    fn hears(&self) -> bool {
        matches!(*self.broker.status().borrow(), Status::Connected { .. })
    }
}

/// Does errands, for ever.
pub(crate) async fn run(conductor: Conductor) {
    let mut work = UnderWay::default();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = conductor.store.errands_wanted() => sleep(GATHER).await,
            Some(ended) = work.tasks.join_next_with_id() => {
                work.ended(ended, &conductor).await;
                continue;
            }
        }
        if let Err(fault) = work.look(&conductor).await {
            error!(error = %fault.report(), "errands cannot be read from the store; trying again");
        }
    }
}

/// Whose turn it is, for each kind of errand.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    power_on: Arc<Semaphore>,
    prepare: Arc<Semaphore>,
    refresh: Arc<Semaphore>,
    restart: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        let turns = || Arc::new(Semaphore::new(AT_ONCE));
        Self { power_on: turns(), prepare: turns(), refresh: turns(), restart: turns() }
    }
}

impl Turns {
    fn of(&self, kind: ErrandKind) -> &Semaphore {
        match kind {
            ErrandKind::PowerOn => &self.power_on,
            ErrandKind::Prepare => &self.prepare,
            ErrandKind::Refresh => &self.refresh,
            ErrandKind::Restart => &self.restart,
        }
    }
}

/// The errands that are being done.
#[derive(Debug, Default)]
struct UnderWay {
    tasks: JoinSet<Ended>,
    begun: HashMap<Errand, AbortHandle>,
    errands: HashMap<Id, Errand>,
    /// Those that are not looked at before a time.
    resting: HashMap<Errand, Instant>,
}

impl UnderWay {
    /// Begins what is to be done and stops what no longer is.
    async fn look(&mut self, conductor: &Conductor) -> Result<(), StoreError> {
        let errands = conductor.store.errands().await?;
        let hears = conductor.hears();
        for (errand, task) in &self.begun {
            // An agent that is silent for a moment is no reason to fetch an image again.
            if !errands.contains(errand) && !conductor.store.awaits(*errand).await? {
                task.abort();
            }
        }
        self.resting.retain(|_, until| *until > Instant::now());
        for errand in errands {
            // A URL is not made to grow old in the outbox.
            let sends = matches!(errand.kind, ErrandKind::Prepare | ErrandKind::Refresh);
            let waits = self.begun.contains_key(&errand) || self.resting.contains_key(&errand);
            if waits || (sends && !hears) {
                continue;
            }
            let task = self.tasks.spawn(do_errand(conductor.clone(), errand));
            self.errands.insert(task.id(), errand);
            self.begun.insert(errand, task);
        }
        Ok(())
    }

    async fn ended(&mut self, ended: Result<(Id, Ended), JoinError>, conductor: &Conductor) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some(errand) = self.errands.remove(&id) else { return };
        self.begun.remove(&errand);
        let rest = match ended {
            Ok((_, Ok(rest))) => rest,
            Ok((_, Err(fault))) => {
                error!(job = %errand.job, error = %fault.report(), "an errand could not be noted; trying again");
                REST
            }
            Err(error) if error.is_cancelled() => Duration::ZERO,
            Err(error) => {
                error!(job = %errand.job, kind = ?errand.kind, "an errand has panicked");
                if let Err(fault) = give_up(&conductor.store, errand, panicked(&error)).await {
                    error!(job = %errand.job, error = %fault.report(), "that could not be noted");
                }
                REST
            }
        };
        if !rest.is_zero() {
            self.resting.insert(errand, Instant::now() + rest);
        }
    }
}

/// Does an errand. One that cannot be done for what the store holds, a secret of a key that is gone, could never be done.
async fn do_errand(conductor: Conductor, errand: Errand) -> Ended {
    // Nobody closes the semaphore.
    let Ok(_turn) = conductor.turns.of(errand.kind).acquire().await else { return Ok(REST) };
    let ended = match errand.kind {
        ErrandKind::Prepare => prepare::prepare(&conductor, errand).await,
        ErrandKind::Refresh => refresh::refresh(&conductor, errand).await,
        ErrandKind::PowerOn => power_on::power_on(&conductor, errand).await,
        ErrandKind::Restart => restart::restart(&conductor, errand).await,
    };
    match ended {
        Err(fault) if !fault.is_of_the_store() => {
            give_up(&conductor.store, errand, fault.report()).await.map(|()| Duration::ZERO)
        }
        ended => ended,
    }
}

/// Whatever waits for an errand is told that it will not be done.
async fn give_up(store: &Store, errand: Errand, report: ErrorReport) -> Result<(), StoreError> {
    match errand.kind {
        ErrandKind::Prepare | ErrandKind::PowerOn => store.preparation_failed(errand, report).await,
        ErrandKind::Refresh => store.send_urls(errand, FreshImageUrls::NotMade { error: report }, None).await,
        ErrandKind::Restart => store.restarted(errand, Err(report)).await,
    }
}

/// What has panicked would panic again.
fn panicked(error: &JoinError) -> ErrorReport {
    let message =
        format!("the coordinator failed at it: {error}; this is a fault in Farrier, please report it");
    ErrorReport::new(ErrorCode::Panic, message)
}
