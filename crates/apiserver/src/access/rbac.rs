//! Roles: who may do what. A fixed set of roles and whom they are given to, in the terms of Kubernetes' RBAC, and more
//! whom the administrator names.
//!
//! What there is *not*: objects of rbac.authorization.k8s.io, and roles for one namespace only.

use super::AccessError;
use super::identity::{AUTHENTICATED, Identity, UNAUTHENTICATED};
use crate::body::quoted;
use crate::kinds::Kind;
use crate::status::Status;
use serde_json::{Map, Value};

/// The group of those who may only look, and not at Secrets.
pub const READERS: &str = "signalbox:readonly";
/// The group of those who may do everything, whatever roles there are.
const MASTERS: &str = "system:masters";

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// `get`, `list`, ...; of a path the HTTP method in small letters.
    pub verb: &'a str,
    /// The group of the resource; empty: the core group.
    pub group: &'a str,
    /// The resource, such as `services`; empty: it is a path.
    pub resource: &'a str,
    /// What of it, such as `status`; may be empty.
    pub subresource: &'a str,
    /// Where; empty: in the whole cluster.
    pub namespace: &'a str,
    /// Which one; empty: all of them.
    pub name: &'a str,
    /// The path of the request, where it is for no resource.
    pub path: &'a str,
}

/// Whether somebody may do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why; may be empty.
    pub reason: String,
}

/// What a role allows. Everything in a rule goes together with everything else in it; `*` is all.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) verbs: &'static [&'static str],
    pub(super) groups: &'static [&'static str],
    pub(super) resources: &'static [&'static str],
    pub(super) paths: &'static [&'static str],
    /// Whether it is only for what has the name of the node that asks, or has no name yet (kube-apiserver's plugin
    /// NodeRestriction).
    is_own: bool,
    /// The only namespace in which it is allowed; empty: in all.
    namespace: &'static str,
}

#[derive(Debug)]
struct Role {
    name: &'static str,
    rules: &'static [Rule],
}

/// Whom a role is given to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Holder {
    User(String),
    Group(String),
}

/// Who may do what.
#[derive(Debug, Clone)]
pub struct Policy(Vec<(Holder, &'static Role)>);

/// Nobody but those whom Kubernetes itself names has a role.
impl Default for Policy {
    fn default() -> Self {
        let user = |name: &str| Holder::User(name.to_owned());
        let group = |name: &str| Holder::Group(name.to_owned());
        Self(vec![
            (group(MASTERS), &ADMIN),
            (group(AUTHENTICATED), &BASIC_USER),
            (group(AUTHENTICATED), &DISCOVERY),
            (user("system:kube-controller-manager"), &CONTROLLERS),
            (group("system:monitoring"), &MONITORING),
            (group("system:nodes"), &NODE),
            (group("system:nodes"), &NODE_TOKENS),
            (group("system:nodes"), &PROXY),
            (group("system:node-proxier"), &PROXY),
            (user("system:kube-proxy"), &PROXY),
            // As kubeadm gives it to its DaemonSet.
            (user("system:serviceaccount:kube-system:kube-proxy"), &PROXY),
            (group(AUTHENTICATED), &PUBLIC),
            (group(UNAUTHENTICATED), &PUBLIC),
            (group(READERS), &READER),
        ])
    }
}

impl Policy {
    /// Gives somebody a role: `user:NAME=ROLE`, `group:NAME=ROLE` or `serviceaccount:NAMESPACE/NAME=ROLE`.
    pub fn grant(&mut self, text: &str) -> Result<(), AccessError> {
        let wrong = |why: String| AccessError::Grant { text: text.to_owned(), why };
        let form =
            || wrong("it is user:NAME=ROLE, group:NAME=ROLE or serviceaccount:NAMESPACE/NAME=ROLE".into());
        let (holder, role) = text.rsplit_once('=').ok_or_else(form)?;
        let (what, name) = holder.split_once(':').filter(|(_, name)| !name.is_empty()).ok_or_else(form)?;
        let holder = match what {
            "user" => Holder::User(name.to_owned()),
            "group" => Holder::Group(name.to_owned()),
            "serviceaccount" => {
                let (namespace, name) = name.split_once('/').ok_or_else(form)?;
                Holder::User(format!("system:serviceaccount:{namespace}:{name}"))
            }
            _ => return Err(form()),
        };
        let names = || ROLES.iter().map(|role| role.name).collect::<Vec<_>>().join(", ");
        let role = ROLES.iter().find(|known| known.name == role);
        let role = role.ok_or_else(|| wrong(format!("there is no such role; there are {}", names())))?;
        self.0.push((holder, role));
        Ok(())
    }

    /// Answers whether somebody may do something.
    pub fn authorize(&self, identity: &Identity, wanted: &Attributes<'_>) -> Decision {
        // No role is asked about them, so that nothing can lock them out.
        if identity.is_in(MASTERS) {
            return Decision { allowed: true, reason: String::new() };
        }
        let allows = |(holder, role): &&(Holder, &'static Role)| {
            holder.is(identity) && role.rules.iter().any(|rule| rule.allows(identity, wanted))
        };
        match self.0.iter().find(allows) {
            Some((holder, role)) => {
                let name = role.name;
                let to = match holder {
                    Holder::User(user) => format!("User {}", quoted(user)),
                    Holder::Group(group) => format!("Group {}", quoted(group)),
                };
                let reason = format!(
                    "RBAC: allowed by ClusterRoleBinding \"{name}\" of ClusterRole \"{name}\" to {to}"
                );
                Decision { allowed: true, reason }
            }
            None => Decision { allowed: false, reason: String::new() },
        }
    }

    /// Refuses what somebody may not do.
    pub fn check(&self, identity: &Identity, wanted: &Attributes<'_>) -> Result<(), Status> {
        let decision = self.authorize(identity, wanted);
        if decision.allowed { Ok(()) } else { Err(wanted.forbidden(identity)) }
    }

    /// Refuses a new object by its name, which is known only when it is decoded; in the words of kube-apiserver's plugin
    /// NodeRestriction, since nobody else is limited to names.
    pub fn check_new(&self, identity: &Identity, wanted: &Attributes<'_>, kind: &Kind) -> Result<(), Status> {
        // A name that is made up is nobody's own.
        let name = if wanted.name.is_empty() { "?" } else { wanted.name };
        let own = identity.user.strip_prefix("system:node:").unwrap_or_default();
        if name == own || self.authorize(identity, &Attributes { name, ..*wanted }).allowed {
            return Ok(());
        }
        let why = match wanted.resource {
            "leases" => "can only access node lease with the same name as the requesting node".to_owned(),
            _ => format!("node {} is not allowed to modify node {}", quoted(own), quoted(wanted.name)),
        };
        Err(Status::forbidden(kind, wanted.name, &why))
    }

    /// Answers every rule that is for somebody.
    pub(super) fn rules(&self, identity: &Identity) -> Vec<&'static Rule> {
        let held = self.0.iter().filter(|(holder, _)| holder.is(identity));
        held.flat_map(|(_, role)| role.rules).collect()
    }
}

impl Holder {
    fn is(&self, identity: &Identity) -> bool {
        match self {
            Self::User(user) => *user == identity.user,
            Self::Group(group) => identity.is_in(group),
        }
    }
}

impl Rule {
    fn allows(&self, identity: &Identity, wanted: &Attributes<'_>) -> bool {
        let node = identity.user.strip_prefix("system:node:").unwrap_or_default();
        let is_own = wanted.name == node || wanted.verb == "create" && wanted.name.is_empty();
        if self.is_own && (node.is_empty() || !is_own) {
            return false;
        }
        let has = |all: &[&str], one: &str| all.iter().any(|known| *known == "*" || *known == one);
        if !has(self.verbs, wanted.verb) || !["", wanted.namespace].contains(&self.namespace) {
            return false;
        }
        if wanted.resource.is_empty() {
            let covers = |path: &&str| match path.strip_suffix('*') {
                Some(start) => wanted.path.starts_with(start),
                None => *path == wanted.path,
            };
            return self.paths.iter().any(covers);
        }
        let resource = match wanted.subresource {
            "" => wanted.resource.to_owned(),
            subresource => format!("{}/{subresource}", wanted.resource),
        };
        has(self.groups, wanted.group) && has(self.resources, &resource)
    }
}

impl Attributes<'_> {
    /// Refuses it, in Kubernetes' words.
    pub fn forbidden(&self, identity: &Identity) -> Status {
        let (user, verb) = (quoted(&identity.user), self.verb);
        if self.resource.is_empty() {
            let message = format!("forbidden: User {user} cannot {verb} path {}", quoted(self.path));
            return Status {
                code: 403,
                reason: "Forbidden",
                message,
                details: Some(Map::new()),
                continue_at: None,
            };
        }
        let dotted = |resource: &str| match self.group {
            "" => resource.to_owned(),
            group => format!("{resource}.{group}"),
        };
        let which = if self.name.is_empty() { String::new() } else { format!(" {}", quoted(self.name)) };
        let resource = match self.subresource {
            "" => quoted(self.resource),
            subresource => quoted(&format!("{}/{subresource}", self.resource)),
        };
        let place = match self.namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {}", quoted(namespace)),
        };
        let message = format!(
            "{}{which} is forbidden: User {user} cannot {verb} resource {resource} in API group {} {place}",
            dotted(self.resource),
            quoted(self.group),
        );
        let texts = [("name", self.name), ("group", self.group), ("kind", self.resource)];
        let given = texts.into_iter().filter(|(_, text)| !text.is_empty());
        let details: Map<String, Value> =
            given.map(|(field, text)| (field.to_owned(), text.into())).collect();
        Status { code: 403, reason: "Forbidden", message, details: Some(details), continue_at: None }
    }
}

const ROLES: &[&Role] = &[&ADMIN, &CONTROLLERS, &MONITORING, &NODE, &PROXY, &READER];

const fn of(
    verbs: &'static [&'static str],
    group: &'static [&'static str],
    resources: &'static [&'static str],
) -> Rule {
    Rule { verbs, groups: group, resources, paths: &[], is_own: false, namespace: "" }
}

/// The same, of the node that asks.
const fn own(rule: Rule) -> Rule {
    Rule { is_own: true, ..rule }
}

/// The same, in one namespace.
const fn inside(namespace: &'static str, rule: Rule) -> Rule {
    Rule { namespace, ..rule }
}

const fn paths(verbs: &'static [&'static str], paths: &'static [&'static str]) -> Rule {
    Rule { verbs, groups: &[], resources: &[], paths, is_own: false, namespace: "" }
}

const ALL: &[&str] = &["*"];
const CORE: &[&str] = &[""];
const LOOK: &[&str] = &["get", "list", "watch"];
const FOLLOW: &[&str] = &["list", "watch"];
const OWN: &[&str] = &["get", "create", "update", "patch", "delete"];
/// Where nodes have their Leases.
const NODE_LEASES: &str = "kube-node-lease";
const AUTHENTICATION: &[&str] = &["authentication.k8s.io"];
const AUTHORIZATION: &[&str] = &["authorization.k8s.io"];
const EVENTS: Rule = of(&["create", "patch", "update"], &["", "events.k8s.io"], &["events"]);

static ADMIN: Role = Role { name: "cluster-admin", rules: &[of(ALL, ALL, ALL), paths(ALL, ALL)] };

/// What is for everybody, whatever the method (kube-apiserver's `--authorization-always-allow-paths`).
static PUBLIC: Role = Role {
    name: "system:public-info-viewer",
    rules: &[
        paths(ALL, &["/healthz", "/healthz/*", "/livez", "/livez/*", "/readyz", "/readyz/*"]),
        paths(&["get"], &["/version", "/version/"]),
    ],
};

static DISCOVERY: Role = Role {
    name: "system:discovery",
    rules: &[paths(
        &["get"],
        &["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", "/version", "/version/"],
    )],
};

static BASIC_USER: Role = Role {
    name: "system:basic-user",
    rules: &[
        of(&["create"], AUTHORIZATION, &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
        of(&["create"], AUTHENTICATION, &["selfsubjectreviews"]),
    ],
};

static MONITORING: Role =
    Role { name: "system:monitoring", rules: &[paths(&["get"], &["/metrics", "/metrics/*"])] };

static PROXY: Role = Role {
    name: "system:node-proxier",
    rules: &[
        of(FOLLOW, CORE, &["services", "endpoints"]),
        of(LOOK, CORE, &["nodes"]),
        of(FOLLOW, &["discovery.k8s.io"], &["endpointslices"]),
        of(FOLLOW, &["networking.k8s.io"], &["servicecidrs"]),
        EVENTS,
    ],
};

/// Only for nodes that are known as such: which tokens a node may have follows from the Pods on it, which no role knows but
/// `token_request` looks at.
static NODE_TOKENS: Role =
    Role { name: "system:node", rules: &[of(&["create"], CORE, &["serviceaccounts/token"])] };

static NODE: Role = Role {
    name: "system:node",
    rules: &[
        of(LOOK, CORE, &["services", "pods", "configmaps", "namespaces", "nodes"]),
        of(&["get"], CORE, &["secrets", "serviceaccounts", "endpoints"]),
        of(&["update", "patch"], CORE, &["pods/status"]),
        of(&["delete"], CORE, &["pods"]),
        own(of(&["create", "update", "patch"], CORE, &["nodes", "nodes/status"])),
        inside(NODE_LEASES, own(of(OWN, &["coordination.k8s.io"], &["leases"]))),
        of(&["create"], AUTHENTICATION, &["tokenreviews"]),
        of(&["create"], AUTHORIZATION, &["subjectaccessreviews", "localsubjectaccessreviews"]),
        EVENTS,
    ],
};

/// Kubernetes gives each controller an account of its own; here they are one.
static CONTROLLERS: Role = Role {
    name: "system:kube-controller-manager",
    rules: &[
        of(
            &["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"],
            &["", "apps", "events.k8s.io", "networking.k8s.io", "coordination.k8s.io", "discovery.k8s.io"],
            ALL,
        ),
        of(&["create"], AUTHENTICATION, &["tokenreviews"]),
        of(&["create"], AUTHORIZATION, &["subjectaccessreviews"]),
    ],
};

static READER: Role = Role {
    name: "signalbox:readonly",
    rules: &[
        of(
            LOOK,
            CORE,
            &[
                "configmaps",
                "endpoints",
                "events",
                "namespaces",
                "namespaces/status",
                "nodes",
                "nodes/status",
                "pods",
                "pods/log",
                "pods/status",
                "serviceaccounts",
                "services",
                "services/status",
            ],
        ),
        of(
            LOOK,
            &["apps", "events.k8s.io", "networking.k8s.io", "coordination.k8s.io", "discovery.k8s.io"],
            ALL,
        ),
        paths(&["get"], &["/metrics", "/metrics/*"]),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{Does, KINDS, Subresource};

    fn who(user: &str, groups: &[&str]) -> Identity {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Identity { user: user.into(), groups, ..Identity::default() }.authenticated()
    }

    #[test]
    fn nodes_create_what_is_named_like_them() {
        let (policy, node) = (Policy::default(), who("system:node:a", &["system:nodes"]));
        let check = |who: &Identity,
                     (group, plural): (&str, &str),
                     (namespace, name): (&str, &str),
                     refused: &str| {
            let kind = Kind::find(group, "v1", plural).unwrap();
            let wanted = Attributes {
                verb: "create",
                group,
                resource: plural,
                namespace,
                name,
                ..Attributes::default()
            };
            let gate = policy.check(who, &Attributes { name: "", ..wanted });
            let found = gate.and_then(|()| policy.check_new(who, &wanted, kind));
            let message = found.err().map(|status| {
                assert_eq!(status.code, 403);
                status.message
            });
            assert_eq!(message.unwrap_or_default(), refused, "{plural} {namespace} {name}");
        };
        let (nodes, leases) = (("", "nodes"), ("coordination.k8s.io", "leases"));
        check(&node, nodes, ("", "a"), "");
        check(
            &node,
            nodes,
            ("", "b"),
            "nodes \"b\" is forbidden: node \"a\" is not allowed to modify node \"b\"",
        );
        check(
            &node,
            nodes,
            ("", ""),
            "nodes \"\" is forbidden: node \"a\" is not allowed to modify node \"\"",
        );
        check(&node, leases, (NODE_LEASES, "a"), "");
        check(
            &node,
            leases,
            (NODE_LEASES, "b"),
            "leases.coordination.k8s.io \"b\" is forbidden: can only access node lease with the same name as the \
             requesting node",
        );
        check(
            &node,
            leases,
            ("kube-system", "a"),
            "leases.coordination.k8s.io is forbidden: User \"system:node:a\" cannot create resource \"leases\" in API group \
             \"coordination.k8s.io\" in the namespace \"kube-system\"",
        );
        check(&who("system:kube-controller-manager", &[]), leases, ("kube-system", "b"), "");
        check(&who("root", &["system:masters"]), nodes, ("", "b"), "");
    }

    /// `list services`, `get pods/status a`, `list discovery.k8s.io/endpointslices`, `get /metrics`.
    fn wanted(text: &str) -> Attributes<'_> {
        let mut words = text.split(' ');
        let (verb, what) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let name = words.next().unwrap_or_default();
        if what.starts_with('/') {
            return Attributes { verb, path: what, ..Attributes::default() };
        }
        let (group, rest) = match what.split_once('/') {
            Some((group, rest)) if group.contains('.') || group == "apps" => (group, rest),
            _ => ("", what),
        };
        let (resource, subresource) = rest.split_once('/').unwrap_or((rest, ""));
        let namespace = if resource == "leases" { NODE_LEASES } else { "" };
        Attributes { namespace, verb, group, resource, subresource, name, ..Attributes::default() }
    }

    #[test]
    fn roles_allow_what_they_should_and_no_more() {
        let anonymous = Identity::anonymous();
        let table: &[(&Identity, &str, &str)] = &[
            (
                &anonymous,
                "get /healthz, get /livez/ping, head /readyz, post /healthz, get /version",
                "get /api, get /metrics, get /healthzz, get /, list services, post /version, \
              create authorization.k8s.io/selfsubjectaccessreviews",
            ),
            (
                &who("bob", &[]),
                "get /api, get /apis/apps/v1, get /openapi/v3, get /version, get /livez, \
              create authorization.k8s.io/selfsubjectaccessreviews, create authorization.k8s.io/selfsubjectrulesreviews, \
              create authentication.k8s.io/selfsubjectreviews",
                "list services, get /metrics, post /api, create authorization.k8s.io/subjectaccessreviews, \
              create authentication.k8s.io/tokenreviews, impersonate users alice, get /apifoo",
            ),
            (
                &who("root", &["system:masters"]),
                "delete nodes, get /metrics, impersonate groups x, post /anything",
                "",
            ),
            (
                &who("system:kube-proxy", &["system:node-proxier"]),
                "list services, watch discovery.k8s.io/endpointslices, get nodes a, list networking.k8s.io/servicecidrs, \
              create events, patch events.k8s.io/events",
                "get services a, update services, list pods, list secrets, get secrets a, update nodes/status a, delete events",
            ),
            (&who("system:serviceaccount:kube-system:kube-proxy", &[]), "list services", "list pods"),
            (&who("system:serviceaccount:other:kube-proxy", &[]), "get /api", "list services"),
            (
                &who("system:node:a", &["system:nodes"]),
                "list services, watch pods, patch pods/status a, update nodes/status a, create nodes, get configmaps a, \
              get secrets a, get serviceaccounts a, create coordination.k8s.io/leases, update coordination.k8s.io/leases a, \
              watch discovery.k8s.io/endpointslices, create serviceaccounts/token a",
                "list secrets, watch secrets, delete nodes a, update services a, create namespaces, patch nodes/status b, \
              update nodes b, update coordination.k8s.io/leases b, patch nodes",
            ),
            (
                &who("eve", &[READERS]),
                "list services, get apps/deployments/status a, get pods/log a, watch events.k8s.io/events, get /metrics",
                "get secrets a, list secrets, watch secrets, create services, create serviceaccounts/token a, \
              delete pods a, impersonate users x, update apps/deployments/scale a, get pods/exec a, \
              create pods/exec a, get pods/attach a, get pods/portforward a, get pods/proxy a, \
              get services/proxy a, get nodes/proxy a",
            ),
            (
                &who("system:kube-controller-manager", &[]),
                "update discovery.k8s.io/endpointslices a, watch secrets",
                "impersonate users a, get /metrics",
            ),
        ];
        let policy = Policy::default();
        for (identity, may, may_not) in table {
            for (texts, allowed) in [(may, true), (may_not, false)] {
                for text in texts.split(", ").filter(|text| !text.is_empty()) {
                    let decision = policy.authorize(identity, &wanted(text));
                    assert_eq!(decision.allowed, allowed, "{} {text}: {}", identity.user, decision.reason);
                }
            }
        }
    }

    #[test]
    fn readers_see_every_kind_but_secrets() {
        let (policy, reader) = (Policy::default(), who("eve", &[READERS]));
        for kind in KINDS {
            let is_shown = |part: &&Subresource| !matches!(part.does, Does::Connect(_)) || part.name == "log";
            let parts = kind.subresources.iter().filter(|part| part.verbs.contains(&"get"));
            let parts = parts.filter(is_shown);
            for subresource in std::iter::once("").chain(parts.map(|part| part.name)) {
                for verb in LOOK {
                    let wanted = Attributes {
                        verb,
                        group: kind.group,
                        resource: kind.plural,
                        subresource,
                        ..Attributes::default()
                    };
                    let allowed = policy.authorize(&reader, &wanted).allowed;
                    assert_eq!(allowed, kind.plural != "secrets", "{verb} {} {subresource}", kind.plural);
                }
            }
        }
    }

    #[test]
    fn refusals_are_kubernetes_own() {
        let anonymous = Identity::anonymous();
        let namespaced = |text, namespace| Attributes { namespace, ..wanted(text) };
        for (wanted, message, details) in [
            (
                namespaced("list services", "default"),
                "services is forbidden: User \"system:anonymous\" cannot list resource \"services\" in API group \"\" in the namespace \"default\"",
                r#"{"kind":"services"}"#,
            ),
            (
                wanted("list services"),
                "services is forbidden: User \"system:anonymous\" cannot list resource \"services\" in API group \"\" at the cluster scope",
                r#"{"kind":"services"}"#,
            ),
            (
                namespaced("patch apps/deployments/status web", "n"),
                "deployments.apps \"web\" is forbidden: User \"system:anonymous\" cannot patch resource \"deployments/status\" in API group \"apps\" in the namespace \"n\"",
                r#"{"group":"apps","kind":"deployments","name":"web"}"#,
            ),
            (
                wanted("get /metrics"),
                "forbidden: User \"system:anonymous\" cannot get path \"/metrics\"",
                "{}",
            ),
        ] {
            let status = Policy::default().check(&anonymous, &wanted).expect_err("it is forbidden");
            assert_eq!((status.code, status.reason, status.message.as_str()), (403, "Forbidden", message));
            assert_eq!(status.json()["details"].to_string(), details);
        }
    }

    #[test]
    fn roles_can_be_granted() {
        let mut policy = Policy::default();
        for text in [
            "user:bob=cluster-admin",
            "group:ops=signalbox:readonly",
            "serviceaccount:a/b=system:node-proxier",
        ] {
            policy.grant(text).unwrap();
        }
        let decision = policy.authorize(&who("bob", &[]), &wanted("delete nodes a"));
        assert_eq!(
            decision.reason,
            "RBAC: allowed by ClusterRoleBinding \"cluster-admin\" of ClusterRole \"cluster-admin\" to User \"bob\""
        );
        assert!(policy.authorize(&who("x", &["ops"]), &wanted("list pods")).allowed);
        assert!(policy.authorize(&who("system:serviceaccount:a:b", &[]), &wanted("list services")).allowed);
        assert!(!policy.authorize(&who("alice", &[]), &wanted("list pods")).allowed);
        for text in [
            "",
            "bob=cluster-admin",
            "user:=cluster-admin",
            "user:bob",
            "user:bob=nothing",
            "serviceaccount:a=system:node",
            "role:x=y",
        ] {
            let error = policy.grant(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("grant {text:?}: ")), "{error}");
        }
    }
}
