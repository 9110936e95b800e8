//! Does nothing: proves the road to a node and back.

use super::{HandlerError, Steps};
use crate::wire::report::Output;

pub(super) const STEPS: usize = 1;

pub(super) async fn noop(steps: &mut Steps<'_>, output: &mut Option<Output>) -> Result<(), HandlerError> {
    steps.run("noop", async |_| Ok(())).await?;
    *output = Some(Output::Noop {});
    Ok(())
}
