//! Who asks: client certificates and bearer tokens.

mod asked;
mod certificates;
mod impersonate;
mod service_accounts;
mod tokens;

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use orlop_api::User;
use orlop_core::Name;

pub(crate) use asked::asked;
pub use certificates::user_of_certificate;
pub(crate) use impersonate::{Remembered, impersonated};
pub use service_accounts::ServiceAccountTokens;
pub use tokens::{InvalidTokenFile, TokenFile};

/// The user of requests without credentials, where those are allowed.
pub fn anonymous() -> User {
    User {
        name: Name::new_static("system:anonymous"),
        groups: vec![Name::new_static("system:unauthenticated")],
        ..User::default()
    }
}

/// Tells who carries a bearer token.
pub trait TokenAuthenticator: Send + Sync + 'static {
    /// The user; `None`: this authenticator does not know the token.
    fn user(&self, token: &str) -> Option<User>;
}

/// How a server learns who asks.
#[derive(Clone, Default)]
pub struct Authentication {
    /// Asked in order; the first that knows a token decides.
    pub tokens: Vec<Arc<dyn TokenAuthenticator>>,
    /// Requests without credentials come from [`anonymous`]; otherwise they are refused.
    pub allow_anonymous: bool,
    /// Whose tokens are described under `/.well-known/openid-configuration` and `/openid/v1/jwks`. That they are known
    /// as well is a matter of the API's own authenticator ([`orlop_api::Config::authenticator`]).
    pub service_accounts: Option<Arc<ServiceAccountTokens>>,
}

impl Authentication {
    /// The user of a request; `None`: 401. `certificate` is the user of a client certificate that TLS has verified;
    /// `api` is asked for tokens that are not among ours.
    /// Credentials that are wrong are never taken for absent ones.
    pub(crate) fn user(
        &self,
        headers: &HeaderMap,
        certificate: Option<&User>,
        api: impl Fn(&str) -> Option<User>,
    ) -> Option<User> {
        if let Some(user) = certificate {
            return Some(user.clone().authenticated());
        }
        let Some(header) = headers.get(AUTHORIZATION) else {
            return self.allow_anonymous.then(anonymous);
        };
        let mut words = header.to_str().ok()?.trim().split(' ');
        let bearer = words.next().is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer"));
        // What follows the token does not count.
        match words.next().filter(|token| bearer && !token.is_empty()) {
            Some(token) => {
                let known = self.tokens.iter().find_map(|authenticator| authenticator.user(token));
                known.or_else(|| api(token)).map(User::authenticated)
            }
            None => self.allow_anonymous.then(anonymous),
        }
    }
}
