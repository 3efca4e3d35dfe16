//! Who may do what, and who is who: the seams [`Authorizer`], [`Authenticator`] and [`TokenIssuer`].

use orlop_core::store::View;
use orlop_core::{Key, Name, Timestamp};

use crate::request::User;
use crate::status::Status;

/// What is asked of an [`Authorizer`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or another word.
    pub verb: Name,
    /// On what.
    pub target: Target,
}

/// What an action is done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An object or a collection.
    Resource {
        /// The API group.
        group: Name,
        /// The plural; `*` in reviews stands for all.
        resource: Name,
        /// `status`, …; empty for the object itself.
        subresource: Name,
        /// Namespace and name, as far as given.
        key: Key,
    },
    /// A path that is no resource, `/healthz`.
    Path(Name),
}

impl Default for Target {
    fn default() -> Self {
        Target::Path(Name::default())
    }
}

/// An answer to "may they?".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// They may.
    pub allowed: bool,
    /// They may not, and nobody else is asked.
    pub denied: bool,
    /// Why.
    pub reason: String,
}

/// Rules that apply to a user, for self-inspection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// `ResourceRule`s as in a SelfSubjectRulesReview.
    pub resources: Vec<serde_json::Value>,
    /// `NonResourceRule`s.
    pub paths: Vec<serde_json::Value>,
    /// The list may lack something.
    pub incomplete: bool,
    /// What went wrong.
    pub error: String,
}

/// Decides who may do what. Pure: all that it knows is in the view.
pub trait Authorizer: Send + Sync + 'static {
    /// Whether `user` may.
    fn authorize(&self, user: &User, attributes: &Attributes, view: &dyn View) -> Decision;

    /// What `user` may do in a namespace.
    fn rules(&self, user: &User, namespace: &str, view: &dyn View) -> Rules;
}

/// Everyone may do everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlwaysAllow;

impl Authorizer for AlwaysAllow {
    fn authorize(&self, _user: &User, _attributes: &Attributes, _view: &dyn View) -> Decision {
        Decision { allowed: true, ..Decision::default() }
    }

    fn rules(&self, _user: &User, _namespace: &str, _view: &dyn View) -> Rules {
        let all = serde_json::json!(["*"]);
        Rules {
            resources: vec![serde_json::json!({"verbs": all, "apiGroups": all, "resources": all})],
            paths: vec![serde_json::json!({"verbs": all, "nonResourceURLs": all})],
            ..Rules::default()
        }
    }
}

/// Knows whom a bearer token belongs to.
pub trait Authenticator: Send + Sync + 'static {
    /// The user, and the audiences that the token is good for.
    ///
    /// # Errors
    /// Why the token is worth nothing.
    fn authenticate(
        &self,
        token: &str,
        audiences: &[Name],
        now: Timestamp,
    ) -> Result<(User, Vec<Name>), String>;
}

/// Issues tokens for service accounts.
pub trait TokenIssuer: Send + Sync + 'static {
    /// A signed token with these claims' subject, and when it expires.
    ///
    /// # Errors
    /// When it cannot be issued.
    fn issue(&self, request: &TokenRequest, now: Timestamp) -> Result<(String, Timestamp), Status>;
}

/// What a token is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRequest {
    /// The service account.
    pub account: Key,
    /// Its UID.
    pub account_uid: Name,
    /// Whom it is for; empty: the API server.
    pub audiences: Vec<Name>,
    /// How long it is good, in seconds.
    pub expiration_seconds: i64,
    /// The object that it lives and dies with: kind, name, UID.
    pub bound_to: Option<(Name, Name, Name)>,
}

/// Knows no token.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTokens;

impl Authenticator for NoTokens {
    fn authenticate(
        &self,
        _token: &str,
        _audiences: &[Name],
        _now: Timestamp,
    ) -> Result<(User, Vec<Name>), String> {
        Err("invalid bearer token".to_owned())
    }
}

impl TokenIssuer for NoTokens {
    fn issue(&self, _request: &TokenRequest, _now: Timestamp) -> Result<(String, Timestamp), Status> {
        Err(Status::internal("no key to sign tokens with is configured"))
    }
}
