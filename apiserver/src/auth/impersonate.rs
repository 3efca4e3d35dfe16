//! Acting as somebody else: the `Impersonate-…` headers, and who may use them.
//!
//! There are two ways to be allowed (KEP-5284). The older one: the verb `impersonate` on the user, each group, the UID
//! and each extra value. The narrower one: the verb `impersonate-on:MODE:VERB` on what is asked for, and
//! `impersonate:MODE` on the identity, where the mode is one of those of [`MODES`].

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue};
use orlop_api::auth::{Attributes, Target};
use orlop_api::{Status, User};
use orlop_core::{Key, Name};
use parking_lot::Mutex;

const AUTHENTICATION: &str = "authentication.k8s.io";
const NODE: &str = "system:node:";
const ACCOUNT: &str = "system:serviceaccount:";
/// The ways to be allowed, in the order in which they are tried; the older one, which is no mode, comes last.
const MODES: [&str; 4] = ["associated-node", "arbitrary-node", "serviceaccount", "user-info"];
/// As many users are remembered.
const KNOWN_MAX: usize = 1024;

/// In which way a user was last allowed to act as others: tried first the next time.
#[derive(Default)]
pub(crate) struct Remembered(Mutex<BTreeMap<Name, Option<&'static str>>>);

/// Who is to be acted as.
struct Wanted {
    user: User,
    /// Whether the headers name groups.
    groups_given: bool,
}

/// The user whom a request is made for: the one who is named in the headers, if `user` may act as that one.
///
/// # Errors
/// 403 where `user` may not; 400 where the headers name no user but something else.
pub(crate) fn impersonated(
    headers: &HeaderMap,
    user: User,
    asked: &Attributes,
    remembered: &Remembered,
    allowed: impl Fn(&User, &Attributes) -> bool,
) -> Result<User, Status> {
    let Some(wanted) = wanted(headers)? else { return Ok(user) };
    let known = remembered.0.lock().get(&user.name).copied();
    let fitting =
        MODES.iter().copied().filter(|mode| fits(mode, &user, &wanted.user)).map(Some).chain([None]);
    let all: Vec<Option<&str>> =
        known.into_iter().chain(fitting.filter(|mode| Some(*mode) != known)).collect();
    let mut refusal = None;
    for mode in all.into_iter().filter(|mode| mode.is_none_or(|mode| fits(mode, &user, &wanted.user))) {
        let outcome = match mode {
            Some(mode) => constrained(mode, &user, &wanted, asked, &allowed),
            None => identities("impersonate", None, &user, &wanted, &allowed),
        };
        match outcome {
            Ok(()) => {
                let mut remembered = remembered.0.lock();
                if remembered.len() >= KNOWN_MAX {
                    remembered.clear();
                }
                remembered.insert(user.name, mode);
                return Ok(completed(wanted));
            }
            Err(status) => refusal = refusal.or(Some(status)),
        }
    }
    Err(refusal.unwrap_or_else(|| Status::internal("no way to impersonate was tried")))
}

/// Reads the headers.
fn wanted(headers: &HeaderMap) -> Result<Option<Wanted>, Status> {
    if !headers.keys().any(|name| name.as_str().starts_with("impersonate-")) {
        return Ok(None);
    }
    let all = |name: &str| -> Result<Vec<Name>, Status> {
        headers.get_all(name).iter().map(|value| text(name, value).map(Name::from)).collect()
    };
    let mut user = User {
        name: all("impersonate-user")?.into_iter().next().unwrap_or_default(),
        uid: all("impersonate-uid")?.into_iter().next().unwrap_or_default(),
        groups: all("impersonate-group")?,
        extra: Vec::new(),
    };
    for (name, value) in headers {
        let Some(key) = name.as_str().strip_prefix("impersonate-extra-") else { continue };
        let value = text(name.as_str(), value)?;
        let key = Name::from(unescaped(key));
        match user.extra.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) => values.push(value.into()),
            None => user.extra.push((key, vec![value.into()])),
        }
    }
    if !user.name.is_empty() {
        let groups_given = !user.groups.is_empty();
        return Ok(Some(Wanted { user, groups_given }));
    }
    if user.uid.is_empty() && user.groups.is_empty() && user.extra.is_empty() {
        return Ok(None);
    }
    Err(Status::bad_request(format!("requested {} without impersonating a user name", shown(&user))))
}

/// The value of a header. One that cannot be read is refused: ignored, it would leave the caller who they are.
fn text<'v>(name: &str, value: &'v HeaderValue) -> Result<&'v str, Status> {
    std::str::from_utf8(value.as_bytes())
        .map_err(|_| Status::bad_request(format!("the header {name} is not UTF-8")))
}

/// A percent-encoded key, as it is meant; as it stands, where it is not well encoded.
fn unescaped(key: &str) -> String {
    let decoded = form_urlencoded::parse(format!("k={}", key.replace('+', "%2B")).as_bytes())
        .next()
        .map(|(_, value)| value.into_owned());
    decoded.filter(|d| !d.contains('\u{fffd}')).unwrap_or_else(|| key.to_owned())
}

/// A user as Kubernetes' own message shows it.
fn shown(user: &User) -> String {
    let list = |names: &[Name]| match names {
        [] => "[]string(nil)".to_owned(),
        names => {
            let quoted: Vec<String> = names.iter().map(|name| format!("{:?}", name.as_str())).collect();
            format!("[]string{{{}}}", quoted.join(", "))
        }
    };
    let extra = match user.extra.as_slice() {
        [] => "map[string][]string(nil)".to_owned(),
        all => {
            let mut each: Vec<String> =
                all.iter().map(|(key, values)| format!("{:?}:{}", key.as_str(), list(values))).collect();
            each.sort();
            format!("map[string][]string{{{}}}", each.join(", "))
        }
    };
    format!(
        "&user.DefaultInfo{{Name:\"\", UID:{:?}, Groups:{}, Extra:{extra}}}",
        user.uid.as_str(),
        list(&user.groups)
    )
}

fn account_of(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(ACCOUNT)?
        .split_once(':')
        .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty())
}

/// Whether a mode is about such users.
fn fits(mode: &str, user: &User, wanted: &User) -> bool {
    let node = wanted.name.strip_prefix(NODE);
    match mode {
        "associated-node" => {
            // A pod's own node: its token says which that is.
            let own = user.extra.iter().find(|(key, _)| key == "authentication.kubernetes.io/node-name");
            account_of(&user.name).is_some()
                && node.is_some_and(|node| own.is_some_and(|(_, values)| values.iter().any(|v| v == node)))
        }
        "arbitrary-node" => node.is_some(),
        "serviceaccount" => account_of(&wanted.name).is_some(),
        _ => node.is_none() && account_of(&wanted.name).is_none(),
    }
}

fn constrained(
    mode: &str,
    user: &User,
    wanted: &Wanted,
    asked: &Attributes,
    allowed: &impl Fn(&User, &Attributes) -> bool,
) -> Result<(), Status> {
    let verb = format!("impersonate-on:{mode}:{}", asked.verb);
    let on = Attributes { verb: verb.into(), target: asked.target.clone() };
    check(user, &on, allowed)?;
    identities(&format!("impersonate:{mode}"), Some(mode), user, wanted, allowed)
}

/// Whether `user` may do `verb` to every part of the identity.
fn identities(
    verb: &str,
    mode: Option<&str>,
    user: &User,
    wanted: &Wanted,
    allowed: &impl Fn(&User, &Attributes) -> bool,
) -> Result<(), Status> {
    // In the older way, users, groups and accounts are of the legacy group.
    let legacy = if mode.is_some() { AUTHENTICATION } else { "" };
    let may = |group: &'static str, resource: &'static str, subresource: &str, key: Key| {
        let target = Target::Resource {
            group: Name::new_static(group),
            resource: Name::new_static(resource),
            subresource: subresource.into(),
            key,
        };
        check(user, &Attributes { verb: verb.into(), target }, allowed)
    };
    match mode {
        // Which node it is, its agent's own token says.
        Some("associated-node") => may(legacy, "nodes", "", Key::cluster("*"))?,
        Some("arbitrary-node") => {
            let node = wanted.user.name.strip_prefix(NODE).unwrap_or_default();
            may(legacy, "nodes", "", Key::cluster(node))?;
        }
        _ => match account_of(&wanted.user.name) {
            Some((namespace, name)) => may(legacy, "serviceaccounts", "", Key::new(namespace, name))?,
            None => may(legacy, "users", "", Key::cluster(wanted.user.name.clone()))?,
        },
    }
    for group in &wanted.user.groups {
        may(legacy, "groups", "", Key::cluster(group.clone()))?;
    }
    for (key, values) in &wanted.user.extra {
        for value in values {
            may(AUTHENTICATION, "userextras", key, Key::cluster(value.clone()))?;
        }
    }
    if !wanted.user.uid.is_empty() {
        may(AUTHENTICATION, "uids", "", Key::cluster(wanted.user.uid.clone()))?;
    }
    Ok(())
}

fn check(
    user: &User,
    attributes: &Attributes,
    allowed: &impl Fn(&User, &Attributes) -> bool,
) -> Result<(), Status> {
    if allowed(user, attributes) {
        return Ok(());
    }
    let verb = &attributes.verb;
    match &attributes.target {
        Target::Path(path) => {
            Err(Status::forbidden_path(&format!("User \"{}\" cannot {verb} path \"{path}\"", user.name)))
        }
        Target::Resource { group, resource, subresource, key } => {
            let slash = if subresource.is_empty() { "" } else { "/" };
            let place = match key.namespace.as_str() {
                "" => "at the cluster scope".to_owned(),
                namespace => format!("in the namespace \"{namespace}\""),
            };
            let why = format!(
                "User \"{}\" cannot {verb} resource \"{resource}{slash}{subresource}\" in API group \"{group}\" {place}",
                user.name
            );
            Err(Status::forbidden(group, resource, &key.name, &why))
        }
    }
}

/// The user with the groups that follow from the name, and that of all who are known, or of those who are not.
fn completed(Wanted { mut user, groups_given }: Wanted) -> User {
    if let (Some((namespace, _)), false) = (account_of(&user.name), groups_given) {
        user.groups.push(Name::new_static("system:serviceaccounts"));
        user.groups.push(Name::from(format!("system:serviceaccounts:{namespace}")));
    }
    if user.name.starts_with(NODE) && !groups_given {
        user.groups.push(Name::new_static("system:nodes"));
    }
    let unauthenticated = Name::new_static("system:unauthenticated");
    if user.name == "system:anonymous" {
        if !user.groups.contains(&unauthenticated) {
            user.groups.push(unauthenticated);
        }
        return user;
    }
    if user.groups.contains(&unauthenticated) { user } else { user.authenticated() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acting_as(headers: &[(&'static str, &'static str)], allowed: &[&str]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let admin = User { name: "admin".into(), ..User::default() };
        let target = Target::Resource {
            group: "".into(),
            resource: "pods".into(),
            subresource: "".into(),
            key: Key::new("ns", ""),
        };
        let asked = Attributes { verb: "list".into(), target };
        let may = |_: &User, attributes: &Attributes| allowed.contains(&attributes.verb.as_str());
        match impersonated(&map, admin, &asked, &Remembered::default(), may) {
            Ok(user) => format!("{} {:?}", user.name, user.groups),
            Err(status) => format!("{} {}", status.code, status.message),
        }
    }

    /// A name beyond ASCII was passed over once, so that the request was made in the name of who may impersonate.
    #[test]
    fn a_name_that_cannot_be_read_is_nobodys_leave() {
        let acting = |name: &[u8]| {
            let mut map = HeaderMap::new();
            map.insert("impersonate-user", HeaderValue::from_bytes(name).unwrap());
            wanted(&map).map(|wanted| wanted.map(|wanted| wanted.user.name))
        };
        assert_eq!(acting("josé".as_bytes()), Ok(Some("josé".into())));
        assert_eq!(acting(b"jos\xe9").map_err(|status| status.code), Err(400));
    }

    #[test]
    fn nobody_acts_as_another_without_leave() {
        let bob = [("impersonate-user", "bob")];
        assert_eq!(acting_as(&[], &[]), "admin []");
        assert_eq!(acting_as(&bob, &["impersonate"]), "bob [\"system:authenticated\"]");
        let narrow = ["impersonate-on:user-info:list", "impersonate:user-info"];
        assert_eq!(acting_as(&bob, &narrow), "bob [\"system:authenticated\"]");
        assert_eq!(
            acting_as(&bob, &narrow[1..]),
            "403 pods is forbidden: User \"admin\" cannot impersonate-on:user-info:list resource \"pods\" in API group \"\" in the namespace \"ns\""
        );
        assert!(acting_as(&[("impersonate-group", "dev")], &["impersonate"]).starts_with("400"));
        assert_eq!(
            acting_as(&[("impersonate-user", "system:serviceaccount:a:b")], &["impersonate"]),
            "system:serviceaccount:a:b [\"system:serviceaccounts\", \"system:serviceaccounts:a\", \"system:authenticated\"]"
        );
        assert_eq!(
            acting_as(&[("impersonate-user", "system:anonymous")], &["impersonate"]),
            "system:anonymous [\"system:unauthenticated\"]"
        );
    }
}
