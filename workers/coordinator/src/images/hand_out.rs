//! What an agent is handed out for a deploy: the URLs of its image, its checksum, and the proxies on the way.

use chrono::{DateTime, Utc};
use farrier::image::{Connection, Image, expected_digest};
use farrier::wire::{
    Checksum, Coded as _, DeploySpec, Digest, DigestAlgorithm, ErrorCode, ErrorReport, ImageDownloadSource,
    ImageSource, ImageUrl, SwiftObject, Work,
};

use url::Url;

use super::{Images, Want, http};
use crate::driver_info::DriverInfo;
use crate::store::Store;
use crate::store::errands::Circumstances;

/// What an agent is handed out.
#[derive(Clone, Debug)]
pub struct HandedOut {
    /// The spec as it takes it.
    pub spec: DeploySpec,
    /// When the first of the URLs in it runs out, where one does.
    pub expires_at: Option<DateTime<Utc>>,
}

/// One place of an image, as an agent reaches it.
#[derive(Clone, Debug)]
struct Place {
    url: ImageUrl,
    expires_at: Option<DateTime<Utc>>,
    /// The SHA-256 of what is there, where the coordinator serves it and so knows it.
    sha256: Option<Digest>,
}

impl Place {
    fn of(url: ImageUrl) -> Self {
        Self { url, expires_at: None, sha256: None }
    }
}

impl Images {
    /// The spec of a deploy as an agent takes it.
    ///
    /// # Errors
    /// Why the image cannot be handed out; its code says whether that may pass.
    pub async fn hand_out(
        &self,
        store: &Store,
        circumstances: &Circumstances,
        want: Want,
    ) -> Result<HandedOut, ErrorReport> {
        let Work::Deploy(spec) = circumstances.work.clone() else {
            return Err(ErrorReport::new(ErrorCode::Internal, "only a deploy has an image"));
        };
        let driver = DriverInfo::read(&circumstances.driver_info).map_err(|error| error.report())?;
        let mut spec = self.with_entry(store, *spec).await?;
        refuse_file_checksum(&spec)?;
        let proxies = self.0.proxies.choose(&circumstances.site, &circumstances.rack, &driver.image, &spec);
        let way = spec.image_download_source.or(driver.image.download_source).unwrap_or(self.0.way);
        let places = self.places(store, &spec, way, want).await?;
        let is_the_job_s_own = |place: &Place| place.expires_at.is_none() && place.sha256.is_none();
        if matches!(want, Want::Fresh { .. }) && places.iter().all(is_the_job_s_own) {
            return Err(refused_for_good(&spec));
        }

        if let Some(sha256) = places.iter().find_map(|place| place.sha256) {
            spec = self.with_sha256(spec, sha256).await?;
        }
        (spec.image_http_proxy, spec.image_https_proxy, spec.image_no_proxy) =
            (proxies.http, proxies.https, proxies.no_proxy);
        spec.image_download_source = None;
        let expires_at = places.iter().filter_map(|place| place.expires_at).min();
        let mut urls = places.into_iter().map(|place| place.url);
        let Some(source) = urls.next() else {
            return Err(ErrorReport::new(ErrorCode::Internal, "an image is nowhere"));
        };
        let mirrors = urls.collect();
        Ok(HandedOut { spec: spec.with_sources(source, mirrors), expires_at })
    }

    /// What the catalogue says of an image that is named by its UUID, where the job says nothing else; and where its mirrors are that
    /// are named so.
    async fn with_entry(
        &self,
        store: &Store,
        mut spec: DeploySpec<ImageSource>,
    ) -> Result<DeploySpec<ImageSource>, ErrorReport> {
        for mirror in &mut spec.image_mirrors {
            if let ImageSource::Glance(uuid) = *mirror
                && let Some(entry) = store.images().entry(uuid).await.map_err(|error| error.report())?
                && let Some(source) = entry.source
            {
                *mirror = source;
            }
        }
        let ImageSource::Glance(uuid) = spec.image_source else { return Ok(spec) };
        let Some(entry) = store.images().entry(uuid).await.map_err(|error| error.report())? else {
            return Ok(spec);
        };
        if spec.checksum().map_err(|error| ErrorReport::from(&error))?.is_none() {
            spec.image_checksum = entry.checksum().map_err(|error| ErrorReport::from(&error))?;
        }
        spec.image_disk_format = spec.image_disk_format.or(entry.disk_format);
        if let Some(source) = entry.source {
            spec.image_source = source;
        }
        Ok(spec)
    }

    /// Every place of the image, in the order in which they are tried. Where one of them is good, another one that cannot be handed out
    /// is left out, and a server that does not answer at the moment is left to the agent.
    async fn places(
        &self,
        store: &Store,
        spec: &DeploySpec<ImageSource>,
        way: ImageDownloadSource,
        want: Want,
    ) -> Result<Vec<Place>, ErrorReport> {
        let mut places = Vec::with_capacity(1 + spec.image_mirrors.len());
        let mut faults = Vec::new();
        for source in std::iter::once(&spec.image_source).chain(&spec.image_mirrors) {
            match self.place(store, spec, source, way, want).await {
                Ok(place) => places.push(place),
                Err(report) => {
                    tracing::warn!(%source, error = %report, "an image cannot be handed out from there");
                    places.extend(as_it_is(source, way));
                    faults.push(report);
                }
            }
        }
        if faults.len() > spec.image_mirrors.len() { Err(faults.swap_remove(0)) } else { Ok(places) }
    }

    async fn place(
        &self,
        store: &Store,
        spec: &DeploySpec<ImageSource>,
        source: &ImageSource,
        way: ImageDownloadSource,
        want: Want,
    ) -> Result<Place, ErrorReport> {
        match source {
            ImageSource::Glance(uuid) => {
                let object = self.swift(source)?.object_of_image(*uuid);
                self.place_in_swift(store, spec, &object, way, want).await
            }
            ImageSource::Swift(object) => self.place_in_swift(store, spec, object, way, want).await,
            ImageSource::Url(url) if url.expose().scheme() == "file" => {
                let published = self.0.local.publish(store, url).await.map_err(|error| error.report())?;
                Ok(Place { url: published.url, expires_at: None, sha256: Some(published.sha256) })
            }
            ImageSource::Url(url) if way == ImageDownloadSource::Local => {
                self.kept(store, spec, source, url.clone()).await
            }
            ImageSource::Url(url) => {
                let authorization = spec.image_request_authorization.as_ref();
                let asked = http::check(&self.0.settings.connection, url, authorization).await;
                asked.map_err(|error| error.report())?;
                Ok(Place::of(url.clone()))
            }
        }
    }

    async fn place_in_swift(
        &self,
        store: &Store,
        spec: &DeploySpec<ImageSource>,
        object: &SwiftObject,
        way: ImageDownloadSource,
        want: Want,
    ) -> Result<Place, ErrorReport> {
        let source = ImageSource::Swift(object.clone());
        let handed = self.swift(&source)?.url(store, object, want).await.map_err(|error| error.report())?;
        match way {
            ImageDownloadSource::Swift => {
                Ok(Place { url: handed.url, expires_at: Some(handed.expires_at), sha256: None })
            }
            ImageDownloadSource::Http | ImageDownloadSource::Local => {
                self.kept(store, spec, &source, handed.url).await
            }
        }
    }

    /// An image that the coordinator fetches and serves.
    async fn kept(
        &self,
        store: &Store,
        spec: &DeploySpec<ImageSource>,
        source: &ImageSource,
        url: ImageUrl,
    ) -> Result<Place, ErrorReport> {
        let checksum = spec.checksum().map_err(|error| ErrorReport::from(&error))?;
        let has_checksum = checksum.is_some();
        let mut image = Image::new(url, checksum);
        image.connection = self.connection(spec);
        // A temporary URL is another one each time.
        let name = String::from(source.clone());
        let published = self.0.local.fetch(store, &image, &name).await.map_err(|error| error.report())?;
        // Nobody vouches for an image without a digest, and its own is no proof: whether that will do is for the agent to say.
        let sha256 = has_checksum.then_some(published.sha256);
        Ok(Place { url: published.url, expires_at: None, sha256 })
    }

    /// Has the agent verify what the coordinator serves. What the job gives is held against it; its checksum file names the image by its
    /// own address, and not by that at which it is served here.
    async fn with_sha256(
        &self,
        mut spec: DeploySpec<ImageSource>,
        served: Digest,
    ) -> Result<DeploySpec<ImageSource>, ErrorReport> {
        let given = match spec.checksum().map_err(|error| ErrorReport::from(&error))? {
            None => None,
            Some(Checksum::Digest(digest)) => Some(digest),
            Some(file @ Checksum::File(_)) => Some(self.digest_in(&spec, file).await?),
        };
        let digest = match given {
            Some(given) if given.algorithm() == DigestAlgorithm::Sha256 && given != served => {
                let message =
                    format!("the image {} has the digest {served}, expected {given}", spec.image_source);
                return Err(ErrorReport::new(ErrorCode::DigestMismatch, message));
            }
            Some(given) => given,
            None => served,
        };
        spec.image_checksum = Some(Checksum::Digest(digest));
        (spec.image_os_hash_algo, spec.image_os_hash_value) = (None, None);
        Ok(spec)
    }

    /// The digest that a checksum file has for the image.
    async fn digest_in(&self, spec: &DeploySpec<ImageSource>, file: Checksum) -> Result<Digest, ErrorReport> {
        let mut image = Image::new(named_like(&spec.image_source)?, Some(file));
        image.connection = self.connection(spec);
        let digest = expected_digest(&image, &self.0.settings).await.map_err(|error| error.report())?;
        digest.ok_or_else(|| ErrorReport::new(ErrorCode::Internal, "a checksum file has no digest"))
    }

    /// How the coordinator reaches the servers of an image.
    fn connection(&self, spec: &DeploySpec<ImageSource>) -> Connection {
        let mut connection = self.0.settings.connection.clone();
        let authorization = spec.image_request_authorization.clone();
        connection.headers.extend(authorization.map(|value| ("Authorization".to_owned(), value)));
        connection
    }
}

/// The place of an image at another server, which its agent may reach although the coordinator does not.
fn as_it_is(source: &ImageSource, way: ImageDownloadSource) -> Option<Place> {
    match source {
        ImageSource::Url(url) if url.expose().scheme() != "file" && way != ImageDownloadSource::Local => {
            Some(Place::of(url.clone()))
        }
        _ => None,
    }
}

/// A URL that ends in the name by which a checksum file knows an image.
fn named_like(source: &ImageSource) -> Result<ImageUrl, ErrorReport> {
    let path = match source {
        ImageSource::Url(url) => return Ok(url.clone()),
        ImageSource::Swift(object) => object.object().to_owned(),
        ImageSource::Glance(uuid) => uuid.to_string(),
    };
    let name = path.rsplit('/').next().unwrap_or_default();
    let mut url = Url::parse("file:///").map_err(|error| internal(&error))?;
    url.path_segments_mut().map_err(|()| internal(&"no path"))?.push(name);
    ImageUrl::new(url).map_err(|error| internal(&error))
}

fn internal(why: &impl std::fmt::Display) -> ErrorReport {
    ErrorReport::new(ErrorCode::Internal, format!("an image cannot be named: {why}"))
}

/// No URL of the image runs out: there is none that its servers would refuse less.
fn refused_for_good(spec: &DeploySpec<ImageSource>) -> ErrorReport {
    let message = format!(
        "the server of {} refuses the image, and no URL of it is one that the coordinator could make anew; check \
         image_request_authorization, and whether the URL of the job has run out",
        spec.image_source
    );
    ErrorReport::new(ErrorCode::HttpStatus, message)
}

/// An agent would look for it in its own RAM disk.
fn refuse_file_checksum(spec: &DeploySpec<ImageSource>) -> Result<(), ErrorReport> {
    match &spec.image_checksum {
        Some(Checksum::File(url)) if url.expose().scheme() == "file" => Err(ErrorReport {
            field: Some("spec.image_checksum".to_owned()),
            ..ErrorReport::new(
                ErrorCode::PathNotAllowed,
                format!(
                    "{url}: a checksum file is fetched by the agent; give an http or https URL, or the digest itself"
                ),
            )
        }),
        _ => Ok(()),
    }
}
