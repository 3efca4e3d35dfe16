//! Who asks: client certificates and bearer tokens.

mod certificates;
mod impersonate;
mod tokens;

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use orlop_api::User;
use orlop_core::Name;

pub use certificates::user_of_certificate;
pub(crate) use impersonate::impersonated;
pub use tokens::{InvalidTokenFile, TokenFile};

/// The user of requests without credentials, where those are allowed.
pub fn anonymous() -> User {
    User {
        name: Name::new_static("system:anonymous"),
        groups: vec![Name::new_static("system:unauthenticated")],
        ..User::default()
    }
}

/// Every authenticated user is in this group too.
pub(crate) fn with_authenticated(mut user: User) -> User {
    let group = Name::new_static("system:authenticated");
    if !user.groups.contains(&group) {
        user.groups.push(group);
    }
    user
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
}

impl Authentication {
    /// The user of a request; `None`: 401. `certificate` is the user of a client certificate that TLS has verified.
    /// Credentials that are wrong are never taken for absent ones.
    pub(crate) fn user(&self, headers: &HeaderMap, certificate: Option<&User>) -> Option<User> {
        if let Some(user) = certificate {
            return Some(with_authenticated(user.clone()));
        }
        let Some(header) = headers.get(AUTHORIZATION) else {
            return self.allow_anonymous.then(anonymous);
        };
        let token = header
            .to_str()
            .ok()?
            .trim()
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        match token {
            Some((_, token)) => self
                .tokens
                .iter()
                .find_map(|authenticator| authenticator.user(token.trim()))
                .map(with_authenticated),
            None => self.allow_anonymous.then(anonymous),
        }
    }
}
