//! `farrier image`.

use clap::{Args, Subcommand};
use farrier::wire::api::{Image, ImageEntry};
use farrier::wire::{Checksum, DigestAlgorithm, ImageFormat, ImageSource};
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use super::client::Client;
use super::error::Failure;
use super::exit::Exit;
use super::output::{Output, bytes, or_dash, table, table_text, time};
use super::page::{Paging, list, with_rest};

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Register an image, or replace all that is known of it
    Set(Box<SetArgs>),
    /// List the images
    List(Paging),
    /// Show an image
    Show(ImageRef),
    /// Forget an image; it stays where it is
    Delete(ImageRef),
}

#[derive(Debug, Args)]
pub(crate) struct ImageRef {
    /// The UUID of the image
    image: Uuid,
}

/// What a deploy of the image uses where its job says nothing else.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// The UUID of the image, as jobs name it
    image: Uuid,
    /// Its name, for people
    #[arg(long)]
    name: Option<String>,
    /// Where it is: swift://container/object, or an http, https or file URL; by default the object of that UUID in the
    /// coordinator's container
    #[arg(long, value_name = "SOURCE")]
    source: Option<ImageSource>,
    /// The digest of the image as it is served: sha256:<hex digits>, sha512:..., or the digits alone; or the URL of a checksum file
    #[arg(long, value_name = "SUM")]
    checksum: Option<Checksum>,
    /// As Glance has it: the algorithm of --os-hash-value
    #[arg(long, value_name = "ALGORITHM", value_parser = digest_algorithm, requires = "os_hash_value")]
    os_hash_algo: Option<DigestAlgorithm>,
    /// As Glance has it: the hex digits of the digest; stands before --checksum
    #[arg(long, value_name = "DIGITS", requires = "os_hash_algo")]
    os_hash_value: Option<String>,
    /// The format that it must have: raw, qcow2, gzip, xz, zstd, bzip2 or lz4
    #[arg(long, value_name = "FORMAT")]
    disk_format: Option<ImageFormat>,
    /// Bytes that are served
    #[arg(long, value_name = "BYTES")]
    size: Option<u64>,
}

pub(crate) async fn run(
    command: ImageCommand,
    client: &Client,
    output: &mut Output,
) -> Result<Exit, Failure> {
    match command {
        ImageCommand::Set(args) => {
            let image = args.image.to_string();
            let image: Image = client.send(Method::PUT, &["images", &image], &args.entry()?).await?;
            output.show(&image, image_text)?;
        }
        ImageCommand::List(paging) => {
            let page = list::<Image>(client, "images", &[], &paging).await?;
            output.show(&page, |page| images_text(&page.items, page.next.as_deref()))?;
        }
        ImageCommand::Show(ImageRef { image }) => {
            let image: Image = client.get(&["images", &image.to_string()], &[]).await?;
            output.show(&image, image_text)?;
        }
        ImageCommand::Delete(ImageRef { image }) => {
            client.act(Method::DELETE, &["images", &image.to_string()]).await?;
            output.note(&format!("image {image} is forgotten"));
        }
    }
    Ok(Exit::Success)
}

fn digest_algorithm(text: &str) -> Result<DigestAlgorithm, String> {
    DigestAlgorithm::by_name(text).ok_or_else(|| {
        let known: Vec<_> = DigestAlgorithm::ALL.iter().map(|algorithm| algorithm.as_str()).collect();
        format!("expected one of {}", known.join(", "))
    })
}

impl SetArgs {
    /// The entry, checked here as the coordinator will.
    fn entry(self) -> Result<ImageEntry, Failure> {
        let given = json!(ImageEntry {
            name: self.name,
            source: self.source,
            image_checksum: self.checksum,
            os_hash_algo: self.os_hash_algo,
            os_hash_value: self.os_hash_value,
            disk_format: self.disk_format,
            size: self.size,
        });
        Ok(ImageEntry::from_json(given)?)
    }
}

fn images_text(images: &[Image], next: Option<&str>) -> String {
    let mut rows = table(&["UUID", "NAME", "FORMAT", "SIZE", "SOURCE"]);
    for image in images {
        rows.add_row([
            image.id.to_string(),
            or_dash(image.name.as_ref()),
            or_dash(image.disk_format),
            or_dash(image.size.map(bytes)),
            or_dash(image.source.as_ref()),
        ]);
    }
    with_rest(table_text(&rows), next)
}

fn image_text(image: &Image) -> String {
    let mut rows = table(&["FIELD", "VALUE"]);
    let mut row = |field: &str, value: String| {
        rows.add_row([field.to_owned(), value]);
    };
    row("id", image.id.to_string());
    row("name", or_dash(image.name.as_ref()));
    row("source", or_dash(image.source.as_ref()));
    row("image_checksum", or_dash(image.image_checksum.clone().map(String::from)));
    row("os_hash_algo", or_dash(image.os_hash_algo));
    row("os_hash_value", or_dash(image.os_hash_value.as_ref()));
    row("disk_format", or_dash(image.disk_format));
    row("size", or_dash(image.size.map(|size| format!("{size} bytes"))));
    row("created", time(image.created_at));
    row("updated", time(image.updated_at));
    table_text(&rows)
}
