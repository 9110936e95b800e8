//! Erases the disks of the node.

use super::{Context, HandlerError, Steps};
use crate::blocking;
use crate::disk::{self, Access, Disk};
use crate::meter::Meter;
use crate::wire::report::{CleanReport, EraseReport, Output};
use crate::wire::{CleanSpec, CleanStep};

/// The disks are chosen, and then each step of the spec is done.
pub(super) fn steps(spec: &CleanSpec) -> usize {
    1 + spec.steps.len()
}

/// The report holds what was erased, also when a later disk fails: that one is not in it, and the steps say so.
pub(super) async fn clean(
    spec: &CleanSpec,
    steps: &mut Steps<'_>,
    output: &mut Option<Output>,
) -> Result<(), HandlerError> {
    let context = steps.context();
    let (disks, skipped) = steps.run("choose_devices", async |_| choose(spec, context).await).await?;
    let mut report =
        CleanReport { devices: Vec::new(), skipped: skipped.iter().map(Disk::identity).collect() };
    let result = erase_all(spec, &disks, steps, &mut report).await;
    *output = Some(Output::Clean(report));
    result
}

/// The disks to erase and those to leave alone. None to erase is a failure unless it was asked for.
async fn choose(spec: &CleanSpec, context: &Context) -> Result<(Vec<Disk>, Vec<Disk>), HandlerError> {
    let access = context.access.clone();
    let skip = spec.skip_block_devices.clone();
    let (chosen, skipped) = blocking::run(move || {
        access.check_destructive()?;
        let disks = access.disks()?;
        let (chosen, skipped) = disk::split_skipped(&disks, &skip)?;
        Ok::<_, HandlerError>((owned(chosen), owned(skipped)))
    })
    .await?;
    if chosen.is_empty() && !spec.allow_no_devices {
        return Err(HandlerError::NothingToErase { skipped: skipped.len() });
    }
    Ok((chosen, skipped))
}

fn owned(disks: Vec<&Disk>) -> Vec<Disk> {
    disks.into_iter().cloned().collect()
}

async fn erase_all(
    spec: &CleanSpec,
    disks: &[Disk],
    steps: &mut Steps<'_>,
    report: &mut CleanReport,
) -> Result<(), HandlerError> {
    let access = &steps.context().access;
    for step in &spec.steps {
        let step = *step;
        steps
            .run(name(step), async |meter| {
                for disk in disks {
                    meter.check()?;
                    report.devices.push(erase_one(step, access, disk, &meter).await?);
                }
                Ok(())
            })
            .await?;
    }
    Ok(())
}

async fn erase_one(
    step: CleanStep,
    access: &Access,
    disk: &Disk,
    meter: &Meter,
) -> Result<EraseReport, HandlerError> {
    let (access, disk, meter) = (access.clone(), disk.clone(), meter.clone());
    blocking::run(move || {
        let open = access.open(&disk)?;
        open.recheck()?;
        Ok(match step {
            CleanStep::EraseDevicesMetadata => disk::erase_metadata(&open, &meter)?,
            CleanStep::EraseDevices => disk::erase(&open, &meter)?,
        })
    })
    .await
}

/// The names of Ironic.
fn name(step: CleanStep) -> &'static str {
    match step {
        CleanStep::EraseDevicesMetadata => "erase_devices_metadata",
        CleanStep::EraseDevices => "erase_devices",
    }
}
