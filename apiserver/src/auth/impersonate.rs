//! Acting as somebody else: the `Impersonate-…` headers.

use http::HeaderMap;
use orlop_api::auth::{Attributes, Target};
use orlop_api::{Status, User};
use orlop_core::{Key, Name};

use super::with_authenticated;

const AUTHENTICATION: &str = "authentication.k8s.io";

/// The user whom a request is made for: the one who is named in the headers, if `user` may act as that one.
///
/// # Errors
/// 403 where `user` may not; 500, as in Kubernetes, where the headers name a group and no user.
pub(crate) fn impersonated(
    headers: &HeaderMap,
    user: User,
    allowed: impl Fn(&User, &Attributes) -> bool,
) -> Result<User, Status> {
    let all = |name: &str| -> Vec<Name> {
        headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).map(Name::from).collect()
    };
    let (names, mut groups, uids) =
        (all("impersonate-user"), all("impersonate-group"), all("impersonate-uid"));
    let extra: Vec<(Name, Name)> = headers
        .iter()
        .filter_map(|(name, value)| {
            let key = name.as_str().strip_prefix("impersonate-extra-")?;
            Some((Name::from(key), Name::from(value.to_str().ok()?)))
        })
        .collect();
    let Some(name) = names.into_iter().next().filter(|name| !name.is_empty()) else {
        return match groups.is_empty() && uids.is_empty() && extra.is_empty() {
            true => Ok(user),
            false => Err(Status::internal("requested impersonation without impersonating a user")),
        };
    };
    let may = |group: &'static str, resource: &'static str, subresource: &str, key: Key| {
        let target = Target::Resource {
            group: Name::new_static(group),
            resource: Name::new_static(resource),
            subresource: subresource.into(),
            key: key.clone(),
        };
        if allowed(&user, &Attributes { verb: Name::new_static("impersonate"), target }) {
            return Ok(());
        }
        let place = match key.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace \"{namespace}\""),
        };
        let why = format!(
            "User \"{}\" cannot impersonate resource \"{resource}\" in API group \"{group}\" {place}",
            user.name
        );
        Err(Status::forbidden(group, resource, &key.name, &why))
    };
    match name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':')) {
        Some((namespace, account)) => {
            may("", "serviceaccounts", "", Key::new(namespace, account))?;
            if groups.is_empty() {
                groups.push(Name::new_static("system:serviceaccounts"));
                groups.push(Name::from(format!("system:serviceaccounts:{namespace}")));
            }
        }
        None => may("", "users", "", Key::cluster(name.clone()))?,
    }
    for group in all("impersonate-group") {
        may("", "groups", "", Key::cluster(group))?;
    }
    for uid in &uids {
        may(AUTHENTICATION, "uids", "", Key::cluster(uid.clone()))?;
    }
    for (key, value) in &extra {
        may(AUTHENTICATION, "userextras", key, Key::cluster(value.clone()))?;
    }
    let mut other =
        User { name, uid: uids.into_iter().next().unwrap_or_default(), groups, extra: Vec::new() };
    for (key, value) in extra {
        match other.extra.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) => values.push(value),
            None => other.extra.push((key, vec![value])),
        }
    }
    Ok(match other.name.as_str() {
        "system:anonymous" => other,
        _ => with_authenticated(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acting_as(headers: &[(&'static str, &'static str)], may: bool) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let admin = User { name: "admin".into(), ..User::default() };
        match impersonated(&map, admin, |_, _| may) {
            Ok(user) => format!("{} {:?}", user.name, user.groups),
            Err(status) => format!("{} {}", status.code, status.message),
        }
    }

    #[test]
    fn nobody_acts_as_another_without_leave() {
        assert_eq!(acting_as(&[], false), "admin []");
        assert_eq!(acting_as(&[("impersonate-user", "bob")], true), "bob [\"system:authenticated\"]");
        assert_eq!(
            acting_as(&[("impersonate-user", "bob")], false),
            "403 users \"bob\" is forbidden: User \"admin\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope"
        );
        assert!(acting_as(&[("impersonate-group", "dev")], true).starts_with("500"));
        assert_eq!(
            acting_as(&[("impersonate-user", "system:serviceaccount:a:b")], true),
            "system:serviceaccount:a:b [\"system:serviceaccounts\", \"system:serviceaccounts:a\", \"system:authenticated\"]"
        );
    }
}
