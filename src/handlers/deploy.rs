//! Writes an image to the root device of the node.

use std::sync::Arc;
use std::time::Duration;

use backon::{BlockingRetryable as _, ConstantBuilder};

use super::{Context, HandlerError, Steps};
use crate::blocking;
use crate::disk::{self, Access, Disk, DiskError, Duplicates, OpenDisk};
use crate::image::{self, Image, ImageError, Target, Written};
use crate::meter::Meter;
use crate::partition_table::Layout;
use crate::wire::report::{DeployReport, Duplicate, Output, UnexaminedDisk};
use crate::wire::{Coded as _, DeploySpec, ErrorCode};

pub(super) const STEPS: usize = 3;

/// Five seconds in all.
const REREAD_TRIES: usize = 25;
const REREAD_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Gives the disk that was written, still open.
pub(super) async fn deploy(
    spec: &DeploySpec,
    steps: &mut Steps<'_>,
    output: &mut Option<Output>,
) -> Result<Arc<OpenDisk>, HandlerError> {
    let context = steps.context();
    let chosen = steps.run("choose_root_device", async |_| choose(spec, &context.access).await).await?;
    let (open, written) =
        steps.run("write_image", async |meter| write(spec, &chosen, context, &meter).await).await?;
    // A whole and verified image is on the disk. To stop now would only leave open what became of it.
    let verified =
        steps.finish("verify_partitions", async |_| verify(Arc::clone(&open), &context.access).await).await?;
    *output = Some(Output::Deploy(Box::new(DeployReport {
        root_device: chosen.identity(),
        image_source: spec.image_source.to_string(),
        image_format: written.format.to_string(),
        image_source_bytes: written.source_bytes,
        image_bytes: written.bytes,
        image_checksum: written.checksum,
        bytes_per_second: written.bytes_per_second(),
        partitions: verified.layout.partitions,
        partition_table_reread: verified.reread,
        duplicates: verified.duplicates.found,
        unexamined: verified.duplicates.unexamined,
    })));
    Ok(open)
}

async fn choose(spec: &DeploySpec, access: &Access) -> Result<Disk, HandlerError> {
    let access = access.clone();
    let (hints, skip) = (spec.root_device.clone(), spec.skip_block_devices.clone());
    blocking::run(move || {
        access.check_destructive()?;
        let disks = access.disks()?;
        Ok(disk::choose_root(&disks, hints.as_ref(), &skip)?.clone())
    })
    .await
}

/// The disk stays open, so that nobody else takes it before it has been verified.
async fn write(
    spec: &DeploySpec,
    chosen: &Disk,
    context: &Context,
    meter: &Meter,
) -> Result<(Arc<OpenDisk>, Written), HandlerError> {
    let (access, chosen) = (context.access.clone(), chosen.clone());
    let (open, target) = blocking::run(move || {
        let open = access.open(&chosen)?;
        let target = target(&open)?;
        open.recheck()?;
        Ok::<_, HandlerError>((Arc::new(open), target))
    })
    .await?;
    let image = image_of(spec, &context.images)?;
    let written = image::write(&image, target, &context.images, meter).await?;
    Ok((open, written))
}

/// The image that the spec names, reached in the way that holds for all images and by what the spec says beside.
fn image_of(spec: &DeploySpec, settings: &image::Settings) -> Result<Image, HandlerError> {
    let mut connection = settings.connection.clone();
    if let Some(authorization) = &spec.image_request_authorization {
        connection.headers.push(("Authorization".to_owned(), authorization.clone()));
    }
    let proxies = &mut connection.proxies;
    proxies.http = spec.image_http_proxy.clone().or_else(|| proxies.http.take());
    proxies.https = spec.image_https_proxy.clone().or_else(|| proxies.https.take());
    if let Some(no_proxy) = &spec.image_no_proxy {
        proxies.no_proxy = no_proxy.clone();
    }
    Ok(Image {
        source: spec.image_source.clone(),
        mirrors: spec.image_mirrors.clone(),
        checksum: spec.checksum()?,
        format: spec.image_disk_format,
        connection,
        read_back: spec.image_read_back,
    })
}

/// What the disk looks like after an image was written to it, and beside the others.
struct Verified {
    layout: Layout,
    reread: bool,
    duplicates: Duplicates,
}

/// Reads the partitions back from the disk. A disk that has none, or whose kernel does not take them, is not left bootable.
async fn verify(open: Arc<OpenDisk>, access: &Access) -> Result<Verified, HandlerError> {
    let access = access.clone();
    blocking::run(move || {
        let (layout, reread) = read_back(&open).map_err(|error| withdraw(&open, error))?;
        let duplicates = duplicates(&access, &open, &layout);
        Ok(Verified { layout, reread, duplicates })
    })
    .await
}

fn read_back(open: &OpenDisk) -> Result<(Layout, bool), DiskError> {
    Ok((disk::read_layout(open)?, reread(open)?))
}

/// Disks that have the same identifiers are a matter for people: the image is what was asked for.
fn duplicates(access: &Access, open: &OpenDisk, layout: &Layout) -> Duplicates {
    let root = open.disk().identity();
    let duplicates = disk::find_duplicates(access, open, layout).unwrap_or_else(|error| Duplicates {
        found: Vec::new(),
        unexamined: vec![UnexaminedDisk { disk: root.clone(), error: error.report() }],
    });
    for Duplicate { kind, value, other_disk, .. } in &duplicates.found {
        let (disk, other) = (&root.name, &other_disk.name);
        tracing::warn!(disk, other, %kind, value, "another disk has the same identifier");
    }
    for UnexaminedDisk { disk, error } in &duplicates.unexamined {
        tracing::warn!(disk = disk.name, %error, "not searched for identifiers of the image");
    }
    duplicates
}

/// Takes the partition table away again, and says why.
fn withdraw(open: &OpenDisk, why: DiskError) -> HandlerError {
    match target(open).and_then(image::withdraw) {
        Ok(()) => HandlerError::Withdrawn(why),
        Err(error) => {
            let disk = &open.disk().facts().name;
            tracing::error!(disk, %error, "an image that is no use may have kept its partition table");
            why.into()
        }
    }
}

/// Whoever watches disks opens the partitions of one that was written, for a moment.
fn reread(open: &OpenDisk) -> Result<bool, DiskError> {
    let patience = ConstantBuilder::new().with_delay(REREAD_AGAIN_AFTER).with_max_times(REREAD_TRIES);
    (|| open.reread_partition_table())
        .retry(patience)
        .when(|error| error.code() == ErrorCode::DeviceInUse)
        .call()
}

fn target(open: &OpenDisk) -> Result<Target, ImageError> {
    Target::of(open.disk().facts().name.clone(), open.file(), open.size(), open.logical_sector())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Digest, Secret};

    #[test]
    fn what_a_spec_says_of_the_way_to_an_image_counts_more_than_the_settings() {
        let spec = DeploySpec::new("http://h/image".parse().unwrap(), Digest::Sha256([0; 32]));
        let mut settings = image::Settings::default();
        settings.connection.proxies.http = Some("all:3128".parse().unwrap());
        settings.connection.proxies.https = Some("all:3129".parse().unwrap());
        settings.connection.proxies.no_proxy = "all.net".parse().unwrap();
        assert_eq!(image_of(&spec, &settings).unwrap().connection, settings.connection);

        let spec = DeploySpec {
            image_http_proxy: Some("own:3128".parse().unwrap()),
            image_no_proxy: Some("own.net".parse().unwrap()),
            image_request_authorization: Some(Secret::new("Bearer abc")),
            ..spec
        };
        let connection = image_of(&spec, &settings).unwrap().connection;
        assert_eq!(connection.proxies.http, spec.image_http_proxy);
        assert_eq!(connection.proxies.https, settings.connection.proxies.https);
        assert_eq!(Some(connection.proxies.no_proxy), spec.image_no_proxy);
        assert_eq!(connection.headers, [("Authorization".to_owned(), Secret::new("Bearer abc"))]);
    }
}
