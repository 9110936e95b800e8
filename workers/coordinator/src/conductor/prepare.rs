//! Makes the command of a deploy: the URLs of its image, the proxies on the way to them, and what comes after it.

use std::time::Duration;

use farrier::wire::{Coded as _, ErrorReport, Work};

use super::restart::way;
use super::{Conductor, Ended};
use crate::driver_info::DriverInfo;
use crate::images::{HandedOut, Want};
use crate::store::errands::{Circumstances, Errand, Phase, Prepared};

/// Makes and sends the command, or notes why it cannot be made.
pub(super) async fn prepare(conductor: &Conductor, errand: Errand) -> Ended {
    let store = &conductor.store;
    let Some(circumstances) = store.circumstances(errand).await? else { return Ok(Duration::ZERO) };
    if !store.enter_phase(errand, Some(Phase::Image), None).await? {
        return Ok(Duration::ZERO);
    }
    match command(conductor, &circumstances).await {
        Ok(prepared) => {
            if !store.dispatch_prepared(errand, &circumstances, prepared, &conductor.bounds).await? {
                store.enter_phase(errand, None, None).await?;
            }
        }
        Err(error) => store.preparation_failed(errand, error).await?,
    }
    Ok(Duration::ZERO)
}

async fn command(conductor: &Conductor, circumstances: &Circumstances) -> Result<Prepared, ErrorReport> {
    let driver = DriverInfo::read(&circumstances.driver_info).map_err(|error| error.report())?;
    let restart = way(&driver, circumstances.can_power)?;
    let HandedOut { spec, expires_at } =
        conductor.images.hand_out(&conductor.store, circumstances, Want::Reused).await?;
    Ok(Prepared { work: Work::Deploy(Box::new(spec)), restart, url_expires_at: expires_at })
}
