//! Finds out what the node is made of.

use super::{HandlerError, Steps};
use crate::wire::report::Output;
use crate::{blocking, hardware};

pub(super) const STEPS: usize = 1;

pub(super) async fn inspect(steps: &mut Steps<'_>, output: &mut Option<Output>) -> Result<(), HandlerError> {
    let access = steps.context().access.clone();
    let inventory = steps
        .run("collect_inventory", async |_| Ok(blocking::run(move || hardware::inventory(&access)).await?))
        .await?;
    *output = Some(Output::Inventory(Box::new(inventory)));
    Ok(())
}
