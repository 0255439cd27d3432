//! Parts of objects that lie elsewhere: what containers say, commands in them, what Pods, Services and nodes serve. Where a
//! request for one leads ([`Connect::find`], pure), and how that is reached ([`Outward`]).
//!
//! What it does *not* know: what is said there. Requests and bytes are passed on in `serve`.

mod node;
mod outward;
mod pod;
mod proxy;
mod tls;

use std::fmt::Write;
use std::net::IpAddr;

use serde_json::Value;

use crate::kinds::Kind;
use crate::rest::Query;
use crate::status::Status;

pub(crate) use node::NODE_PROXY;
pub use outward::{Dial, Outward, from_here};
pub(crate) use outward::{DialError, Wire};
pub(crate) use pod::{ATTACH, EXEC, LOG, PORT_FORWARD};
pub(crate) use proxy::{POD_PROXY, SERVICE_PROXY, clean, unreachable};
pub use tls::Kubelets;

/// A part of an object that requests are passed on to.
#[derive(Debug, Clone, Copy)]
pub struct Connect {
    /// Answers where a request leads. `None`: nowhere yet, and there is nothing to be answered.
    pub find: fn(&Asked<'_>) -> Result<Option<Target>, Status>,
    /// What is passed on.
    pub passes: Passes,
}

/// What is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passes {
    /// The text that comes back.
    Text,
    /// The bytes of both sides, once the connection has become one of another protocol; nothing else.
    Bytes,
    /// Every request, as it is.
    Requests,
}

/// What a client asks for.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The namespace; empty: none.
    pub namespace: &'a str,
    /// What stands for the object in the path; proxies have more than its name there.
    pub name: &'a str,
    /// What stands behind the part in the path, with its slash.
    pub path: &'a str,
    /// The query.
    pub query: &'a Query,
    /// What there is.
    pub known: &'a Known<'a>,
}

/// What targets follow from.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// Answers an object of the core group, by its plural, namespace and name.
    pub object_of: &'a dyn Fn(&str, &str, &str) -> Option<Value>,
    /// Answers the EndpointSlices of a Service, by its namespace and name.
    pub slices_of: &'a dyn Fn(&str, &str) -> Vec<Value>,
    /// Which addresses of nodes are taken, the best first.
    pub address_types: &'a [String],
    /// Chooses among what is equal.
    pub chance: u64,
}

/// Where a request leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// How it is secured.
    pub security: Security,
    /// An address or a name.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Escaped; may be empty.
    pub path: String,
    /// Without the question mark; `None`: that of the request.
    pub query: Option<String>,
    /// Whether any address will do. Otherwise loopback, link-local and the like are refused: they are the server's own.
    pub is_trusted: bool,
}

/// How a connection is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    None,
    /// By TLS with anybody; the server does not say who it is.
    Anybody,
    /// By TLS with a kubelet, whose certificate is checked if there is something to check it by.
    Kubelet,
    /// By TLS with a kubelet whose certificate the client does not want to be checked.
    UncheckedKubelet,
}

impl Asked<'_> {
    /// Answers an object of the core group, or refuses.
    fn object(&self, plural: &str, namespace: &str, name: &str) -> Result<Value, Status> {
        let kind = Kind::find("", "v1", plural).expect("only kinds that are served are asked for");
        (self.known.object_of)(plural, namespace, name).ok_or_else(|| Status::not_found(kind, name))
    }
}

impl Target {
    /// Answers host and port as URLs have them.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Whether the server may be sent to an address by somebody else.
pub(crate) fn is_proxyable(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || is_link_local)
}

/// It would be sent to itself.
pub(crate) fn address_not_allowed() -> Status {
    Status::bad_request("address not allowed")
}

/// Escapes a path as Go does.
pub(crate) fn escaped_path(path: &str) -> String {
    escaped(path, b"-_.~$&+,/:;=@")
}

/// Writes a query as Go does; the pairs are sorted by name.
fn query_of(pairs: &[(&str, String)]) -> String {
    let mut sorted: Vec<&(&str, String)> = pairs.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    let form = |text: &str| escaped(text, b"-_.~ ").replace(' ', "+");
    let pairs = sorted.into_iter().map(|(name, value)| format!("{}={}", form(name), form(value)));
    pairs.collect::<Vec<_>>().join("&")
}

fn escaped(text: &str, kept: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a text takes everything");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_sent_nowhere_near() {
        let check = |text: &str, wanted: bool| {
            let address: IpAddr = text.parse().expect("an address");
            assert_eq!(is_proxyable(address), wanted, "{text}");
        };
        for own in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "169.254.169.254"] {
            check(own, false);
        }
        for nobody in ["fe80::1", "224.0.0.1", "ff02::1", "255.255.255.255"] {
            check(nobody, false);
        }
        for there in ["10.244.0.5", "192.168.1.1", "fd00::5", "2001:db8::1", "8.8.8.8"] {
            check(there, true);
        }
    }

    #[test]
    fn texts_are_escaped_as_go_does() {
        assert_eq!(escaped_path("/a b/ü?x=%&+;,@"), "/a%20b/%C3%BC%3Fx=%25&+;,@");
        let pairs = [("tty", "1".to_owned()), ("command", "a b".to_owned()), ("command", "&=ä+".to_owned())];
        assert_eq!(query_of(&pairs), "command=a+b&command=%26%3D%C3%A4%2B&tty=1");
    }
}
