//! What can be done with each kind, and where: the paths, independent of the version of OpenAPI.

use super::{connections, definitions, parameters};
use crate::kinds::{Does, Kind, Scope, Subresource};
use crate::schema::{Schema, TypeId};

/// A path and what can be done there.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) path: String,
    /// The parameters of every operation.
    pub(super) parameters: Vec<&'static str>,
    pub(super) operations: Vec<Operation>,
}

/// One thing that can be done at a path.
#[derive(Debug)]
pub(super) struct Operation {
    /// `get`, `put`, ...
    pub(super) method: &'static str,
    /// The extension `x-kubernetes-action`.
    pub(super) action: &'static str,
    pub(super) description: String,
    pub(super) id: String,
    /// Group and version in one word.
    pub(super) tag: String,
    /// Group, version and kind of what it is about.
    pub(super) gvk: (&'static str, &'static str, &'static str),
    pub(super) query: &'static [&'static str],
    pub(super) body: Body,
    /// The name of what is answered with each code; `None`: a text.
    pub(super) answers: Vec<(u16, Option<String>)>,
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    /// Nothing.
    None,
    /// An object of this name, or nothing.
    Optional(String),
    /// An object of this name.
    Object(String),
    /// A patch.
    Patch,
}

/// What an operation is about.
struct Subject<'a> {
    kind: &'static Kind,
    part: Option<&'a Subresource>,
    /// Whether it is about objects of one namespace.
    is_in_namespace: bool,
    gvk: (&'static str, &'static str, &'static str),
    /// The name of the objects' definition.
    object: String,
}

/// Answers the beginning of the paths of a kind, without the first slash.
pub(super) fn root(kind: &Kind) -> String {
    match kind.group {
        "" => format!("api/{}", kind.version),
        group => format!("apis/{group}/{}", kind.version),
    }
}

/// Answers the type that is exchanged at a subresource; `None`: the schema does not have it.
pub(super) fn type_of(kind: &Kind, part: &Subresource) -> Option<TypeId> {
    let Some((group, version, name)) = part.kind else {
        return Some(definitions::type_named(kind.type_name));
    };
    let group = if group.is_empty() { "core" } else { group.split('.').next().unwrap_or(group) };
    Schema::get().find(&format!("{group}.{version}.{name}"))
}

/// Answers the paths of a kind.
pub(super) fn paths(kind: &'static Kind) -> Vec<Path> {
    let is_namespaced = kind.scope == Scope::Namespaced;
    let everywhere = format!("/{}/{}", root(kind), kind.plural);
    let collection = match kind.scope {
        Scope::Namespaced => format!("/{}/namespaces/{{namespace}}/{}", root(kind), kind.plural),
        Scope::Cluster => everywhere.clone(),
    };
    let subject = |is_in_namespace, part: Option<&'static Subresource>| {
        let of = part.map_or(Some(definitions::type_named(kind.type_name)), |part| type_of(kind, part))?;
        let gvk = part.and_then(|part| part.kind).unwrap_or((kind.group, kind.version, kind.kind));
        Some(Subject { kind, part, is_in_namespace, gvk, object: definitions::name(of) })
    };
    let mut all = Vec::new();
    let mut add = |path: String, verbs: &[&str], subject: Option<Subject<'_>>| {
        let Some(subject) = subject else { return };
        let operations: Vec<Operation> = verbs.iter().filter_map(|verb| operation(&subject, verb)).collect();
        if !operations.is_empty() {
            let names =
                ["name", "namespace"].into_iter().filter(|name| path.contains(&format!("{{{name}}}")));
            let parameters = names.chain(["pretty"]).collect();
            all.push(Path { path, parameters, operations });
        }
    };
    let of_many = ["create", "deletecollection", "list"];
    let (many, one): (Vec<&str>, Vec<&str>) = kind.verbs.iter().partition(|verb| of_many.contains(verb));
    if is_namespaced {
        let lists: Vec<&str> = many.iter().copied().filter(|verb| *verb == "list").collect();
        add(everywhere, &lists, subject(false, None));
    }
    add(collection.clone(), &many, subject(is_namespaced, None));
    add(format!("{collection}/{{name}}"), &one, subject(is_namespaced, None));
    let mut connections = Vec::new();
    for part in kind.subresources {
        if let Does::Connect(connect) = part.does {
            connections.extend(connections::paths((kind, part), connect, &collection));
            continue;
        }
        let path = format!("{collection}/{{name}}/{}", part.name);
        add(path, part.verbs, subject(is_namespaced, Some(part)));
    }
    all.extend(connections);
    all
}

/// Answers what a verb is; `None` for `watch`, which is a way to list.
fn operation(subject: &Subject<'_>, verb: &str) -> Option<Operation> {
    let object = || subject.object.clone();
    let status = || definitions::name(definitions::type_named("meta.v1.Status"));
    let options = || Body::Optional(definitions::name(definitions::type_named("meta.v1.DeleteOptions")));
    let answered =
        |codes: &[u16], name: String| codes.iter().map(|code| (*code, Some(name.clone()))).collect();
    // Method, action, first word of the operation's name, parameters, body, answers.
    let (method, action, word, query, body, answers): (_, _, _, _, _, Vec<_>) = match verb {
        "get" => ("get", "get", "read", &[][..], Body::None, answered(&[200], object())),
        "list" => {
            let list = definitions::list_name(subject.kind);
            ("get", "list", "list", parameters::LIST, Body::None, answered(&[200], list))
        }
        "create" => {
            let answers = answered(&[200, 201, 202], object());
            ("post", "post", "create", parameters::WRITE, Body::Object(object()), answers)
        }
        "update" => {
            let answers = answered(&[200, 201], object());
            ("put", "put", "replace", parameters::WRITE, Body::Object(object()), answers)
        }
        "patch" => {
            ("patch", "patch", "patch", parameters::PATCH, Body::Patch, answered(&[200, 201], object()))
        }
        "delete" => {
            let is_answered = subject.kind.rules.is_answered_when_deleted;
            let answers = answered(&[200, 202], if is_answered { object() } else { status() });
            ("delete", "delete", "delete", parameters::DELETE, options(), answers)
        }
        "deletecollection" => {
            let answers = answered(&[200], status());
            ("delete", "deletecollection", "delete", parameters::DELETE_MANY, options(), answers)
        }
        _ => return None,
    };
    Some(Operation {
        method,
        action,
        description: description(subject, verb),
        id: id(subject, verb, word),
        tag: format!("{}_{}", short_group(subject.kind), subject.kind.version),
        gvk: subject.gvk,
        query,
        body,
        answers,
    })
}

fn description(subject: &Subject<'_>, verb: &str) -> String {
    let name = subject.kind.kind;
    let part = subject.part.map(|part| format!("{} of the ", part.name)).unwrap_or_default();
    match verb {
        "list" => format!("lists or watches objects of the kind {name}"),
        "deletecollection" => format!("deletes the objects of the kind {name} that are selected"),
        "get" => format!("reads the {part}{name}"),
        "create" => format!("creates the {part}{name}"),
        "update" => format!("replaces the {part}{name}"),
        verb => format!("{verb}{} the {part}{name}", if verb.ends_with('h') { "es" } else { "s" }),
    }
}

/// Answers the name of an operation, such as `listCoreV1NamespacedService`, which clients are generated from.
fn id(subject: &Subject<'_>, verb: &str, word: &str) -> String {
    let group = capitalized(short_group(subject.kind));
    let version = capitalized(subject.kind.version);
    let many = if verb == "deletecollection" { "Collection" } else { "" };
    let namespaced = if subject.is_in_namespace { "Namespaced" } else { "" };
    let part = subject.part.map(|part| capitalized(part.name)).unwrap_or_default();
    let is_everywhere = subject.kind.scope == Scope::Namespaced && !subject.is_in_namespace;
    let everywhere = if is_everywhere { "ForAllNamespaces" } else { "" };
    format!("{word}{group}{version}{many}{namespaced}{}{part}{everywhere}", subject.kind.kind)
}

/// Answers the name of an operation on an object, such as `connectCoreV1GetNamespacedPodExec`.
pub(super) fn id_of((word, kind): (&str, &Kind), how: &str, what: &str) -> String {
    let (group, version) = (capitalized(short_group(kind)), capitalized(kind.version));
    let namespaced = if kind.scope == Scope::Namespaced { "Namespaced" } else { "" };
    format!("{word}{group}{version}{how}{namespaced}{what}")
}

pub(super) fn short_group(kind: &Kind) -> &'static str {
    let first = kind.group.split('.').next().unwrap_or_default();
    if first.is_empty() { "core" } else { first }
}

pub(super) fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kind;

    fn summary(group: &str, plural: &str) -> String {
        let kind = Kind::find(group, "v1", plural).expect("a kind");
        let line = |path: &Path, of: &Operation| format!("{} {} {}\n", of.method, path.path, of.id);
        paths(kind).iter().flat_map(|path| path.operations.iter().map(move |of| line(path, of))).collect()
    }

    #[test]
    fn paths_and_names_are_kubernetes_own() {
        assert_eq!(
            summary("apps", "replicasets"),
            "\
get /apis/apps/v1/replicasets listAppsV1ReplicaSetForAllNamespaces
post /apis/apps/v1/namespaces/{namespace}/replicasets createAppsV1NamespacedReplicaSet
delete /apis/apps/v1/namespaces/{namespace}/replicasets deleteAppsV1CollectionNamespacedReplicaSet
get /apis/apps/v1/namespaces/{namespace}/replicasets listAppsV1NamespacedReplicaSet
delete /apis/apps/v1/namespaces/{namespace}/replicasets/{name} deleteAppsV1NamespacedReplicaSet
get /apis/apps/v1/namespaces/{namespace}/replicasets/{name} readAppsV1NamespacedReplicaSet
patch /apis/apps/v1/namespaces/{namespace}/replicasets/{name} patchAppsV1NamespacedReplicaSet
put /apis/apps/v1/namespaces/{namespace}/replicasets/{name} replaceAppsV1NamespacedReplicaSet
get /apis/apps/v1/namespaces/{namespace}/replicasets/{name}/scale readAppsV1NamespacedReplicaSetScale
patch /apis/apps/v1/namespaces/{namespace}/replicasets/{name}/scale patchAppsV1NamespacedReplicaSetScale
put /apis/apps/v1/namespaces/{namespace}/replicasets/{name}/scale replaceAppsV1NamespacedReplicaSetScale
get /apis/apps/v1/namespaces/{namespace}/replicasets/{name}/status readAppsV1NamespacedReplicaSetStatus
patch /apis/apps/v1/namespaces/{namespace}/replicasets/{name}/status patchAppsV1NamespacedReplicaSetStatus
put /apis/apps/v1/namespaces/{namespace}/replicasets/{name}/status replaceAppsV1NamespacedReplicaSetStatus
"
        );
        let nodes = summary("", "nodes");
        assert_eq!(
            nodes.lines().skip(10).collect::<Vec<_>>().join("\n"),
            "\
get /api/v1/nodes/{name}/proxy connectCoreV1GetNodeProxy
put /api/v1/nodes/{name}/proxy connectCoreV1PutNodeProxy
post /api/v1/nodes/{name}/proxy connectCoreV1PostNodeProxy
delete /api/v1/nodes/{name}/proxy connectCoreV1DeleteNodeProxy
options /api/v1/nodes/{name}/proxy connectCoreV1OptionsNodeProxy
head /api/v1/nodes/{name}/proxy connectCoreV1HeadNodeProxy
patch /api/v1/nodes/{name}/proxy connectCoreV1PatchNodeProxy
get /api/v1/nodes/{name}/proxy/{path} connectCoreV1GetNodeProxyWithPath
put /api/v1/nodes/{name}/proxy/{path} connectCoreV1PutNodeProxyWithPath
post /api/v1/nodes/{name}/proxy/{path} connectCoreV1PostNodeProxyWithPath
delete /api/v1/nodes/{name}/proxy/{path} connectCoreV1DeleteNodeProxyWithPath
options /api/v1/nodes/{name}/proxy/{path} connectCoreV1OptionsNodeProxyWithPath
head /api/v1/nodes/{name}/proxy/{path} connectCoreV1HeadNodeProxyWithPath
patch /api/v1/nodes/{name}/proxy/{path} connectCoreV1PatchNodeProxyWithPath"
        );
        let pods = summary("", "pods");
        for line in [
            "post /api/v1/namespaces/{namespace}/pods/{name}/eviction createCoreV1NamespacedPodEviction",
            "get /api/v1/namespaces/{namespace}/pods/{name}/exec connectCoreV1GetNamespacedPodExec",
            "post /api/v1/namespaces/{namespace}/pods/{name}/portforward connectCoreV1PostNamespacedPodPortforward",
            "get /api/v1/namespaces/{namespace}/pods/{name}/log readCoreV1NamespacedPodLog",
        ] {
            assert!(pods.lines().any(|known| known == line), "{line} in {pods}");
        }
        assert_eq!(
            summary("", "namespaces"),
            "\
post /api/v1/namespaces createCoreV1Namespace
get /api/v1/namespaces listCoreV1Namespace
delete /api/v1/namespaces/{name} deleteCoreV1Namespace
get /api/v1/namespaces/{name} readCoreV1Namespace
patch /api/v1/namespaces/{name} patchCoreV1Namespace
put /api/v1/namespaces/{name} replaceCoreV1Namespace
put /api/v1/namespaces/{name}/finalize replaceCoreV1NamespaceFinalize
get /api/v1/namespaces/{name}/status readCoreV1NamespaceStatus
patch /api/v1/namespaces/{name}/status patchCoreV1NamespaceStatus
put /api/v1/namespaces/{name}/status replaceCoreV1NamespaceStatus
"
        );
    }
}
