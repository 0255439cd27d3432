//! The parameters of requests.

/// A parameter.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    /// The type of its value in JSON.
    pub(super) value: &'static str,
    /// `query` or `path`.
    pub(super) place: &'static str,
    pub(super) description: &'static str,
}

/// For writing: a client that finds `dryRun` or `fieldValidation` here knows that it may leave the check to the server.
pub(super) const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
/// For patching.
pub(super) const PATCH: &[&str] = &["dryRun", "fieldManager", "fieldValidation", "force"];
/// For deleting one.
pub(super) const DELETE: &[&str] = &["dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"];
/// For listing and watching.
pub(super) const LIST: &[&str] = &[
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
];
/// For deleting all that a selector finds.
pub(super) const DELETE_MANY: &[&str] = &[
    "continue",
    "dryRun",
    "fieldSelector",
    "gracePeriodSeconds",
    "labelSelector",
    "limit",
    "orphanDependents",
    "propagationPolicy",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
];

/// For the parts that are passed on, by their names.
pub(super) fn of_connection(part: &str) -> &'static [&'static str] {
    CONNECTIONS.iter().find(|(known, _)| *known == part).map_or(&[], |(_, names)| names)
}

const CONNECTIONS: &[(&str, &[&str])] = &[
    ("attach", &["container", "stderr", "stdin", "stdout", "tty"]),
    ("exec", &["command", "container", "stderr", "stdin", "stdout", "tty"]),
    (
        "log",
        &[
            "container",
            "follow",
            "insecureSkipTLSVerifyBackend",
            "limitBytes",
            "pretty",
            "previous",
            "sinceSeconds",
            "stream",
            "tailLines",
            "timestamps",
        ],
    ),
    ("portforward", &["ports"]),
];

/// Answers a parameter by its name.
pub(super) fn named(name: &str) -> &'static Parameter {
    ALL.iter().find(|known| known.name == name).expect("a test looks up every name")
}

const fn query(name: &'static str, value: &'static str, description: &'static str) -> Parameter {
    Parameter { name, value, place: "query", description }
}

const fn path(name: &'static str, description: &'static str) -> Parameter {
    Parameter { name, value: "string", place: "path", description }
}

/// Every parameter.
pub(super) const ALL: &[Parameter] = &[
    path("name", "The name of the object."),
    path("namespace", "The namespace of the object."),
    path("path", "What is asked for behind the proxy."),
    query("allowWatchBookmarks", "boolean", "Whether a watch may bring bookmarks."),
    query("command", "string", "The program to run and its arguments, one each."),
    query("container", "string", "Which container; may be left out where there is only one."),
    query("continue", "string", "Where the list goes on, as the part before this one said."),
    query("dryRun", "string", "All: the request is judged and answered, and nothing is kept."),
    query("fieldManager", "string", "The name under which fields are owned that this request sets."),
    query("fieldSelector", "string", "Which objects, by their fields."),
    query("fieldValidation", "string", "What happens to unknown and double fields: Ignore, Warn or Strict."),
    query("follow", "boolean", "Whether the log goes on as more is said."),
    query("force", "boolean", "Whether an apply takes fields from other managers."),
    query("gracePeriodSeconds", "integer", "How long the object may take to end; 0: none."),
    query("insecureSkipTLSVerifyBackend", "boolean", "Whether the kubelet's certificate is not checked."),
    query("labelSelector", "string", "Which objects, by their labels."),
    query("limit", "integer", "How many objects to answer at most."),
    query("limitBytes", "integer", "How many bytes to answer at most."),
    query(
        "orphanDependents",
        "boolean",
        "Whether what the object owns stays; propagationPolicy replaces it.",
    ),
    query("ports", "integer", "Which ports are forwarded, where the protocol does not say it."),
    query("pretty", "string", "true: JSON with line breaks."),
    query("previous", "boolean", "Whether it is the log of the container before it was started last."),
    query(
        "propagationPolicy",
        "string",
        "What happens to what the object owns: Orphan, Background or Foreground.",
    ),
    query("resourceVersion", "string", "How new the answer must be, or after what a watch begins."),
    query("resourceVersionMatch", "string", "How resourceVersion is meant: Exact or NotOlderThan."),
    query("sendInitialEvents", "boolean", "Whether a watch begins with the objects that are there."),
    query("sinceSeconds", "integer", "How many seconds the log goes back."),
    query("stderr", "boolean", "Whether what is written to the standard error is wanted."),
    query("stdin", "boolean", "Whether something is sent to the standard input."),
    query("stdout", "boolean", "Whether what is written to the standard output is wanted."),
    query("stream", "string", "All, Stdout or Stderr."),
    query("tailLines", "integer", "How many lines from the end."),
    query("timeoutSeconds", "integer", "When a list or watch ends."),
    query("timestamps", "boolean", "Whether each line begins with its time."),
    query("tty", "boolean", "Whether it has a terminal."),
    query("watch", "boolean", "Whether changes are brought as they happen."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_parameter_exists() {
        for names in [WRITE, PATCH, DELETE, LIST, DELETE_MANY] {
            for name in names {
                assert_eq!(named(name).place, "query");
            }
        }
        for name in CONNECTIONS.iter().flat_map(|(_, names)| *names) {
            assert_eq!(named(name).place, "query");
        }
        for name in ["name", "namespace", "path"] {
            assert_eq!(named(name).place, "path");
        }
    }
}
