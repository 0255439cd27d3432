//! Asking as somebody else: `kubectl --as`, `--as-group`, `--as-uid`.

use std::collections::BTreeMap;

use super::identity::{ANONYMOUS, AUTHENTICATED, Identity, UNAUTHENTICATED};
use super::rbac::{Attributes, Policy};
use crate::status::Status;

const AUTHENTICATION: &str = "authentication.k8s.io";

/// As whom a request is made, as its headers say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Impersonation {
    user: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

impl Impersonation {
    /// Reads the headers (name, value), of which all but `Impersonate-...` are skipped; `None`: there are none.
    pub fn read<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let mut found = Self::default();
        for (name, value) in headers {
            let name = name.to_ascii_lowercase();
            // As `Header.Get` of Go does, the first of several counts.
            let set = |field: &mut String| {
                if field.is_empty() {
                    value.clone_into(field);
                }
            };
            match name.as_str() {
                "impersonate-user" => set(&mut found.user),
                "impersonate-uid" => set(&mut found.uid),
                "impersonate-group" => found.groups.push(value.to_owned()),
                other => {
                    if let Some(key) = other.strip_prefix("impersonate-extra-") {
                        found.extra.entry(unescaped(key)).or_default().push(value.to_owned());
                    }
                }
            }
        }
        (found != Self::default()).then_some(found)
    }

    /// Answers who the request is then, if `identity` may be that: each user, group and the rest is asked about.
    pub fn apply(self, identity: &Identity, policy: &Policy) -> Result<Identity, Status> {
        if self.user.is_empty() {
            return Err(Status::internal("requested an impersonation without impersonating a user"));
        }
        let check = |group: &str, resource: &str, subresource: &str, name: &str| {
            let verb = "impersonate";
            policy.check(
                identity,
                &Attributes { verb, group, resource, subresource, name, ..Attributes::default() },
            )
        };
        let account = service_account(&self.user);
        match account {
            Some((namespace, name)) => {
                let wanted = Attributes {
                    verb: "impersonate",
                    resource: "serviceaccounts",
                    namespace,
                    name,
                    ..Attributes::default()
                };
                policy.check(identity, &wanted)?;
            }
            None => check("", "users", "", &self.user)?,
        }
        self.groups.iter().try_for_each(|group| check("", "groups", "", group))?;
        if !self.uid.is_empty() {
            check(AUTHENTICATION, "uids", "", &self.uid)?;
        }
        for (key, values) in &self.extra {
            values.iter().try_for_each(|value| check(AUTHENTICATION, "userextras", key, value))?;
        }
        let mut groups = self.groups;
        if let (Some((namespace, _)), true) = (account, groups.is_empty()) {
            groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
        }
        let is_anonymous = self.user == ANONYMOUS;
        let mut identity = Identity { user: self.user.clone(), uid: self.uid, groups, extra: self.extra };
        if !is_anonymous {
            identity = identity.authenticated();
        } else if !identity.is_in(UNAUTHENTICATED) && !identity.is_in(AUTHENTICATED) {
            identity.groups.push(UNAUTHENTICATED.into());
        }
        Ok(identity)
    }
}

/// Namespace and name of `system:serviceaccount:NAMESPACE:NAME`.
fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

/// Names of headers can have few letters: the others are `%2f`. What is no such thing stays as it is.
fn unescaped(key: &str) -> String {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).filter(|_| *first == b'%').and_then(|two| std::str::from_utf8(two).ok());
        match hex.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| key.to_owned()).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Identity {
        Identity { user: "root".into(), groups: vec!["system:masters".into()], ..Identity::default() }
    }

    fn as_whom(headers: &[(&str, &str)], identity: &Identity) -> Result<Identity, Status> {
        let read = Impersonation::read(headers.iter().copied()).expect("there are headers");
        read.apply(identity, &Policy::default())
    }

    #[test]
    fn who_may_be_somebody_else_is() {
        for (headers, user, groups) in [
            (&[("Impersonate-User", "bob")][..], "bob", &["system:authenticated"][..]),
            (
                &[("impersonate-user", "bob"), ("Impersonate-Group", "a"), ("impersonate-group", "b")],
                "bob",
                &["a", "b", "system:authenticated"],
            ),
            (
                &[("Impersonate-User", "system:serviceaccount:n:s")],
                "system:serviceaccount:n:s",
                &["system:serviceaccounts", "system:serviceaccounts:n", "system:authenticated"],
            ),
            (&[("Impersonate-User", "system:anonymous")], "system:anonymous", &["system:unauthenticated"]),
        ] {
            let identity = as_whom(headers, &root()).unwrap();
            assert_eq!(
                (identity.user.as_str(), &identity.groups[..]),
                (user, &groups.iter().map(|g| g.to_string()).collect::<Vec<_>>()[..])
            );
        }
        let extra =
            as_whom(&[("Impersonate-User", "b"), ("Impersonate-Extra-Example.com%2fScope", "x")], &root())
                .unwrap();
        assert_eq!(extra.extra["example.com/scope"], ["x"]);
        assert_eq!(Impersonation::read([("Accept", "x")].into_iter()), None);
    }

    #[test]
    fn nobody_else_may() {
        let bob = Identity { user: "bob".into(), ..Identity::default() }.authenticated();
        for (headers, message) in [
            (
                &[("Impersonate-User", "root")][..],
                "users \"root\" is forbidden: User \"bob\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
            ),
            (
                &[("Impersonate-User", "system:serviceaccount:n:s")],
                "serviceaccounts \"s\" is forbidden: User \"bob\" cannot impersonate resource \"serviceaccounts\" in API group \"\" in the namespace \"n\"",
            ),
        ] {
            assert_eq!(as_whom(headers, &bob).unwrap_err().message, message);
        }
        assert_eq!(as_whom(&[("Impersonate-Group", "system:masters")], &root()).unwrap_err().code, 500);
        assert_eq!(unescaped("%zz%4"), "%zz%4");
    }
}
