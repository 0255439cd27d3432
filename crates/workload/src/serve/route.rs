//! What is asked for: the path and the query of a request.

use super::command::Wants;

/// What a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// Whether this server is there.
    Health,
    /// Numbers about it.
    Metrics,
    /// The pods of the node.
    Pods,
    /// What a container said.
    Logs(Place, String),
    /// One more program in a container.
    Exec(Place, String),
    /// A container's own program.
    Attach(Place, String),
    /// Ports of a pod.
    Forward(Place),
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) namespace: String,
    pub(super) name: String,
    /// Which of all pods that ever had this name.
    pub(super) uid: Option<String>,
}

impl Route {
    /// Reads a path; `None`: it means nothing.
    pub(super) fn read(path: &str) -> Option<Self> {
        let parts: Vec<String> =
            path.strip_prefix('/')?.trim_end_matches('/').split('/').map(plain).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let place = |namespace: &str, name: &str, uid: Option<&str>| Place {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.map(str::to_owned),
        };
        Some(match parts[..] {
            ["healthz"] => Self::Health,
            ["metrics"] => Self::Metrics,
            ["pods"] => Self::Pods,
            ["containerLogs", namespace, name, container] => {
                Self::Logs(place(namespace, name, None), container.to_owned())
            }
            ["exec", namespace, name, container] => {
                Self::Exec(place(namespace, name, None), container.to_owned())
            }
            ["exec", namespace, name, uid, container] => {
                Self::Exec(place(namespace, name, Some(uid)), container.to_owned())
            }
            ["attach", namespace, name, container] => {
                Self::Attach(place(namespace, name, None), container.to_owned())
            }
            ["attach", namespace, name, uid, container] => {
                Self::Attach(place(namespace, name, Some(uid)), container.to_owned())
            }
            ["portForward", namespace, name] => Self::Forward(place(namespace, name, None)),
            ["portForward", namespace, name, uid] => Self::Forward(place(namespace, name, Some(uid))),
            _ => return None,
        })
    }

    /// A word for it, in metrics.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Health => "healthz",
            Self::Metrics => "metrics",
            Self::Pods => "pods",
            Self::Logs(..) => "containerLogs",
            Self::Exec(..) => "exec",
            Self::Attach(..) => "attach",
            Self::Forward(_) => "portForward",
        }
    }
}

/// The query of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn read(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self(pairs.map(|(name, value)| (plain(name), plain(&value.replace('+', " ")))).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        matches!(self.get(name), Some("1" | "t" | "T" | "true" | "True" | "TRUE"))
    }

    /// What a client wants, in a kubelet's words or in the API server's. The standard error of a terminal is the terminal.
    pub(super) fn wants(&self) -> Wants {
        let is_set = |names: [&str; 2]| names.iter().any(|name| self.is_set(name));
        let tty = self.is_set("tty");
        Wants {
            stdin: is_set(["input", "stdin"]),
            stdout: is_set(["output", "stdout"]),
            stderr: is_set(["error", "stderr"]) && !tty,
            tty,
        }
    }
}

/// Reads `%41` as `A`; what makes no sense stays as it is.
fn plain(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits =
            after.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
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
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_kubelet() {
        for (path, expected) in [
            ("/healthz", "Health"),
            ("/pods/", "Pods"),
            ("/containerLogs/shop/web-1/main", "Logs shop/web-1 main"),
            ("/exec/shop/web-1/main", "Exec shop/web-1 main"),
            ("/exec/shop/web-1/u1/main", "Exec shop/web-1=u1 main"),
            ("/attach/shop/w%65b/main", "Attach shop/web main"),
            ("/attach/shop/web/u1/main", "Attach shop/web=u1 main"),
            ("/portForward/shop/web", "Forward shop/web"),
            ("/portForward/shop/web/u1", "Forward shop/web=u1"),
            ("/exec/shop/web", "nothing"),
            ("/run/shop/web/main", "nothing"),
            ("/", "nothing"),
            ("*", "nothing"),
        ] {
            let place = |place: Place| {
                let uid = place.uid.map(|uid| format!("={uid}")).unwrap_or_default();
                format!("{}/{}{uid}", place.namespace, place.name)
            };
            let found = match Route::read(path) {
                Some(Route::Logs(pod, container)) => format!("Logs {} {container}", place(pod)),
                Some(Route::Exec(pod, container)) => format!("Exec {} {container}", place(pod)),
                Some(Route::Attach(pod, container)) => format!("Attach {} {container}", place(pod)),
                Some(Route::Forward(pod)) => format!("Forward {}", place(pod)),
                Some(route @ (Route::Health | Route::Metrics | Route::Pods)) => format!("{route:?}"),
                None => "nothing".to_owned(),
            };
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn queries_in_both_languages() {
        let query = Query::read("command=sh&command=-c&command=echo+a%26b%3D%2B%zz&tty=1&&input=1&error=1");
        assert_eq!(query.all("command"), ["sh", "-c", "echo a&b=+%zz"]);
        assert_eq!(query.wants(), Wants { stdin: true, stdout: false, stderr: false, tty: true });
        let query = Query::read("stdin=false&stdout=true&stderr=true&container=x");
        assert_eq!(query.wants(), Wants { stdin: false, stdout: true, stderr: true, tty: false });
    }
}
