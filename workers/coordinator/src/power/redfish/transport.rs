//! The HTTP client for one service: whom it trusts, where it goes, how long it waits.

use std::error::Error as _;
use std::path::Path;

use reqwest::{Certificate, Client, ClientBuilder, redirect};

use crate::driver_info::{RedfishInfo, VerifyCa};
use crate::power::error::Fault;
use crate::power::settings::RedfishSettings;

/// How many redirects are followed, all of them to the service itself.
const MOST_REDIRECTS: usize = 5;

/// A client that reaches the service directly, without the proxies of the environment.
pub(super) async fn client(info: &RedfishInfo, settings: &RedfishSettings) -> Result<Client, Fault> {
    let builder = Client::builder()
        .connect_timeout(settings.connect)
        .timeout(settings.read)
        .no_proxy()
        .redirect(to_itself())
        .referer(false)
        .http1_only()
        .user_agent(concat!("farrier/", env!("CARGO_PKG_VERSION")));
    let plain = info.address.expose().scheme() == "http";
    let verify = info.verify_ca.clone();
    // Reads the certificate store of the system, or a file.
    let built = tokio::task::spawn_blocking(move || build(builder, plain, &verify)).await;
    built.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

fn build(builder: ClientBuilder, plain: bool, verify: &VerifyCa) -> Result<Client, Fault> {
    // Fails when there is a provider already, and that one serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = match verify {
        // Nobody needs to be trusted.
        _ if plain => builder.tls_certs_only([]),
        VerifyCa::System => builder,
        VerifyCa::File(path) => builder.tls_certs_only(authorities(path)?),
        VerifyCa::Off => builder.tls_danger_accept_invalid_certs(true),
    };
    builder.build().map_err(|error| Fault::Coordinator(chain(&error)))
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, Fault> {
    let unusable = |why: String| {
        Fault::Coordinator(format!("redfish_verify_ca names the file {}, and {why}", path.display()))
    };
    let pem = std::fs::read(path).map_err(|error| unusable(format!("it cannot be read: {error}")))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(unusable("there is no certificate in PEM in it".to_owned())),
    }
}

/// Follows what leads to another path of the same service, as `/redfish/v1` to `/redfish/v1/`. What leads elsewhere is not followed:
/// the credentials are for this one.
fn to_itself() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        let from = attempt.previous().last().map(url::Url::origin);
        if from == Some(attempt.url().origin()) && attempt.previous().len() <= MOST_REDIRECTS {
            attempt.follow()
        } else {
            attempt.stop()
        }
    })
}

/// What it means that a request has no answer.
pub(super) fn fault(error: reqwest::Error) -> Fault {
    let error = error.without_url();
    if error.is_timeout() {
        return Fault::Unreachable("it did not answer in time".to_owned());
    }
    if error.is_connect() {
        return Fault::Unreachable(chain(&error));
    }
    // There was somebody, and what came is no answer in HTTP or ends too early.
    Fault::BadAnswer(chain(&error))
}

/// The error and its causes; only the last of them says what really happened.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
