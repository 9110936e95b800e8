//! Who may ask: the bearer of the token, or, without one, who is on this machine and not in a web page.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use farrier::wire::ErrorCode;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use super::problem::ApiError;

/// What a request must show.
#[derive(Clone, Debug)]
pub(super) enum Guard {
    /// `Authorization: Bearer <token>`.
    Token(SecretString),
    /// Nothing, because only this machine can connect. But a browser on it carries the requests of any web page: those that
    /// were sent by a page, or to a name that an attacker made to point here, are refused.
    Loopback,
}

impl Guard {
    pub(super) fn new(token: Option<SecretString>) -> Self {
        token.map_or(Self::Loopback, Self::Token)
    }

    fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        match self {
            Self::Token(token) if is_bearer(token, headers) => Ok(()),
            Self::Token(_) => Err(ApiError::new(
                ErrorCode::Unauthorized,
                "the token is missing or wrong: send the header `Authorization: Bearer <token>` with the token of the \
                 coordinator's configuration",
            )),
            Self::Loopback if headers.contains_key(header::ORIGIN) => Err(ApiError::new(
                ErrorCode::Forbidden,
                "the request was sent by a web page (it has an Origin); without a token in the coordinator's configuration \
                 pages are not served",
            )),
            Self::Loopback => match asked_host(uri, headers) {
                Some(host) if !is_this_machine(host) => Err(ApiError::new(
                    ErrorCode::Forbidden,
                    format!(
                        "the request is for the host {host:?}; without a token in the coordinator's configuration only \
                         localhost and IP addresses are served"
                    ),
                )),
                _ => Ok(()),
            },
        }
    }
}

/// The middleware.
pub(super) async fn guard(
    State(guard): State<Guard>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    guard.check(request.uri(), request.headers())?;
    Ok(next.run(request).await)
}

fn is_bearer(token: &SecretString, headers: &HeaderMap) -> bool {
    let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).and_then(|value| {
        let (scheme, given) = value.split_at_checked("Bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then_some(given)
    });
    given.is_some_and(|given| given.ct_eq(token.expose_secret().as_bytes()).into())
}

fn asked_host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let authority = uri.authority().map(axum::http::uri::Authority::as_str);
    authority.or_else(|| headers.get(header::HOST).map(|host| host.to_str().unwrap_or("?")))
}

/// A name is safe when no DNS server is asked for it.
fn is_this_machine(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<axum::http::uri::Authority>() else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(guard: &Guard, name: header::HeaderName, value: &str) -> bool {
        let headers = [(name, value.parse().unwrap())].into_iter().collect();
        guard.check(&Uri::from_static("/v1/nodes"), &headers).is_ok()
    }

    #[test]
    fn only_the_exact_token_is_taken() {
        let guard = Guard::new(Some("s3cret".into()));
        for taken in ["Bearer s3cret", "bearer s3cret"] {
            assert!(allowed(&guard, header::AUTHORIZATION, taken), "{taken}");
        }
        for refused in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer s3cre",
            "Bearer s3cret ",
            "Bearer s3cretx",
            "Basic s3cret",
            "s3cret",
        ] {
            assert!(!allowed(&guard, header::AUTHORIZATION, refused), "{refused}");
        }
        assert!(guard.check(&Uri::from_static("/"), &HeaderMap::new()).is_err());
    }

    #[test]
    fn without_a_token_web_pages_are_refused() {
        let guard = Guard::new(None);
        for taken in ["localhost:8470", "127.0.0.1:8470", "[::1]:8470", "LOCALHOST", "10.0.0.1"] {
            assert!(allowed(&guard, header::HOST, taken), "{taken}");
        }
        for refused in
            ["evil.example", "evil.example:8470", "localhost.evil.example", "127.0.0.1.evil.example", "a b"]
        {
            assert!(!allowed(&guard, header::HOST, refused), "{refused}");
        }
        assert!(!allowed(&guard, header::ORIGIN, "http://localhost:8470"));
        assert!(guard.check(&Uri::from_static("/"), &HeaderMap::new()).is_ok());
    }
}
