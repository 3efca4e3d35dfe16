//! Asking who may do what.

use orlop_core::{Key, Name};

use super::{Answer, no_overload};
use crate::auth::{Attributes, Decision, Target};
use crate::cel::value::{Opaque, Value};
use crate::request::User;

/// Answers for one moment's state of the store.
pub(crate) type Ask<'a> = dyn Fn(&User, &Attributes) -> Decision + 'a;

/// Somebody on whose behalf is asked.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    pub(crate) user: User,
}

impl Authority {
    /// The question about an object that only lacks its verb.
    pub(crate) fn about(&self, group: &Name, resource: &Name, subresource: &str, key: Key) -> Question {
        let (group, resource, subresource) = (group.clone(), resource.clone(), subresource.into());
        Question { user: self.user.clone(), target: Target::Resource { group, resource, subresource, key } }
    }
}

/// A question that still lacks its verb.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    user: User,
    target: Target,
}

impl Question {
    /// Asks it.
    pub(crate) fn ask(&self, verb: &str, ask: &Ask<'_>) -> Decision {
        ask(&self.user, &Attributes { verb: verb.into(), target: self.target.clone() })
    }
}

pub(super) fn call(function: &str, args: &[Value]) -> Answer {
    let Some(Value::Opaque(of)) = args.first() else { return no_overload() };
    let texts: Option<Vec<&str>> = args[1..]
        .iter()
        .map(|arg| match arg {
            Value::String(text) => Some(&**text),
            _ => None,
        })
        .collect();
    let Some(texts) = texts else { return no_overload() };
    match &**of {
        Opaque::Authorizer(of) => authority(function, of, &texts),
        Opaque::Question(question) => asked(function, question, &texts),
        Opaque::Decision(decision) if texts.is_empty() => Ok(match function {
            "allowed" => Value::Bool(decision.permits()),
            "reason" => Value::text(&decision.reason),
            "errored" => Value::Bool(false),
            "error" => Value::text(""),
            _ => return no_overload(),
        }),
        _ => no_overload(),
    }
}

fn authority(function: &str, of: &Authority, texts: &[&str]) -> Answer {
    let question = |target| Ok(Value::opaque(Opaque::Question(Question { user: of.user.clone(), target })));
    match (function, texts) {
        ("path", [path]) => question(Target::Path((*path).into())),
        ("group", [group]) => question(Target::Resource {
            group: (*group).into(),
            resource: Name::default(),
            subresource: Name::default(),
            key: Key::default(),
        }),
        ("serviceAccount", [namespace, name]) => {
            let user = User {
                name: format!("system:serviceaccount:{namespace}:{name}").into(),
                groups: vec![
                    "system:serviceaccounts".into(),
                    format!("system:serviceaccounts:{namespace}").into(),
                    "system:authenticated".into(),
                ],
                ..User::default()
            };
            Ok(Value::opaque(Opaque::Authorizer(Authority { user })))
        }
        _ => no_overload(),
    }
}

fn asked(function: &str, question: &Question, texts: &[&str]) -> Answer {
    let [text] = texts else { return no_overload() };
    let mut question = question.clone();
    let Target::Resource { resource, subresource, key, .. } = &mut question.target else {
        return no_overload();
    };
    match function {
        "resource" => *resource = (*text).into(),
        "subresource" => *subresource = (*text).into(),
        "namespace" => key.namespace = (*text).into(),
        "name" => key.name = (*text).into(),
        // Authorisers here decide without selectors; to ask for less is never refused for that.
        "fieldSelector" | "labelSelector" => {}
        _ => return no_overload(),
    }
    Ok(Value::opaque(Opaque::Question(question)))
}
