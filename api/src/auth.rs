//! Who may do what, and who is who: the seams [`Authorizer`], [`Authenticator`] and [`TokenIssuer`].

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

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

impl Decision {
    /// Whether they may: who is denied may not, whatever else was said.
    pub fn permits(&self) -> bool {
        self.allowed && !self.denied
    }
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

    /// [`Authorizer::authorize`] of several actions of one user at once: answers with a decision for each, in this
    /// order. What it takes to know the user is done once.
    fn authorize_each(&self, user: &User, attributes: &[Attributes], view: &dyn View) -> Vec<Decision> {
        attributes.iter().map(|attributes| self.authorize(user, attributes, view)).collect()
    }

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

/// Several authorisers: the first that allows or denies decides.
#[derive(Clone, Default)]
pub struct Union(pub Vec<Arc<dyn Authorizer>>);

impl Authorizer for Union {
    fn authorize(&self, user: &User, attributes: &Attributes, view: &dyn View) -> Decision {
        let mut reasons = Vec::new();
        for authorizer in &self.0 {
            let decision = authorizer.authorize(user, attributes, view);
            if decision.allowed || decision.denied {
                return decision;
            }
            reasons.extend(Some(decision.reason).filter(|reason| !reason.is_empty()));
        }
        Decision { reason: reasons.join("\n"), ..Decision::default() }
    }

    fn authorize_each(&self, user: &User, attributes: &[Attributes], view: &dyn View) -> Vec<Decision> {
        let mut decisions = vec![Decision::default(); attributes.len()];
        let mut open: Vec<usize> = (0..attributes.len()).collect();
        for authorizer in &self.0 {
            let asked: Cow<'_, [Attributes]> = match open.len() {
                0 => break,
                all if all == attributes.len() => attributes.into(),
                _ => open.iter().map(|at| attributes[*at].clone()).collect(),
            };
            let answers = authorizer.authorize_each(user, &asked, view);
            let mut undecided = Vec::with_capacity(open.len());
            for (at, mut answer) in open.into_iter().zip(answers) {
                let before = std::mem::take(&mut decisions[at].reason);
                if !answer.allowed && !answer.denied {
                    undecided.push(at);
                    if !before.is_empty() {
                        let newline = if answer.reason.is_empty() { "" } else { "\n" };
                        answer.reason = format!("{before}{newline}{}", answer.reason);
                    }
                }
                decisions[at] = answer;
            }
            open = undecided;
        }
        decisions
    }

    fn rules(&self, user: &User, namespace: &str, view: &dyn View) -> Rules {
        let mut all = Rules::default();
        for rules in self.0.iter().map(|authorizer| authorizer.rules(user, namespace, view)) {
            all.resources.extend(rules.resources);
            all.paths.extend(rules.paths);
            all.incomplete |= rules.incomplete;
            if !rules.error.is_empty() {
                all.error = if all.error.is_empty() {
                    rules.error
                } else {
                    format!("{}, {}", all.error, rules.error)
                };
            }
        }
        all
    }
}

/// The node that a user is the agent of: `system:node:NAME`, member of `system:nodes`.
pub fn node_of(user: &User) -> Option<Name> {
    let member = user.groups.iter().any(|group| group == "system:nodes");
    user.name.strip_prefix("system:node:").filter(|name| member && !name.is_empty()).map(Name::from)
}

/// The audience of tokens that are for the API server itself, and who has issued them.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Knows whom a bearer token belongs to.
pub trait Authenticator: Send + Sync + 'static {
    /// The user, and those of `audiences` (empty: the API server) that the token is good for. `None`: some other
    /// authenticator may know it.
    ///
    /// # Errors
    /// Why the token, though of this authenticator's kind, is worth nothing.
    fn authenticate(
        &self,
        token: &str,
        audiences: &[Name],
        view: &dyn View,
        now: Timestamp,
    ) -> Result<Option<(User, Vec<Name>)>, String>;
}

/// Several authenticators: the first that knows a token decides.
#[derive(Clone, Default)]
pub struct Authenticators(pub Vec<Arc<dyn Authenticator>>);

impl Authenticator for Authenticators {
    fn authenticate(
        &self,
        token: &str,
        audiences: &[Name],
        view: &dyn View,
        now: Timestamp,
    ) -> Result<Option<(User, Vec<Name>)>, String> {
        let mut errors = Vec::new();
        for authenticator in &self.0 {
            match authenticator.authenticate(token, audiences, view, now) {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(error) => errors.push(error),
            }
        }
        match errors.as_slice() {
            [] => Ok(None),
            [one] => Err(one.clone()),
            all => Err(format!("[{}]", all.join(", "))),
        }
    }
}

/// Issues tokens for service accounts.
pub trait TokenIssuer: Send + Sync + 'static {
    /// A signed token that says this.
    ///
    /// # Errors
    /// When it cannot be issued.
    fn issue(&self, claims: &TokenClaims) -> Result<String, Status>;
}

/// A name and a UID: which object is meant.
pub type Exactly = (Name, Name);

/// What a token of a service account says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenClaims {
    /// The service account.
    pub account: Key,
    /// Its UID.
    pub account_uid: Name,
    /// Whom it is for; never empty.
    pub audiences: Vec<Name>,
    /// When it is issued.
    pub issued: Timestamp,
    /// How long it is good.
    pub lasts: Duration,
    /// From when on its use is to be warned of, though it is still good.
    pub warn_after: Option<Duration>,
    /// The pod that it lives and dies with.
    pub pod: Option<Exactly>,
    /// The secret that it lives and dies with.
    pub secret: Option<Exactly>,
    /// The node that it lives and dies with, or that its pod is on.
    pub node: Option<Exactly>,
    /// The token's own identifier.
    pub id: Name,
}

/// Knows no token.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTokens;

impl Authenticator for NoTokens {
    fn authenticate(
        &self,
        _token: &str,
        _audiences: &[Name],
        _view: &dyn View,
        _now: Timestamp,
    ) -> Result<Option<(User, Vec<Name>)>, String> {
        Ok(None)
    }
}

impl TokenIssuer for NoTokens {
    fn issue(&self, _claims: &TokenClaims) -> Result<String, Status> {
        Err(Status::internal("no key to sign tokens with is configured"))
    }
}
