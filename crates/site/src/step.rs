//! What has to be done for a network to be there, one thing at a time. As text it reads like `ip`.

use std::fmt;
use std::net::IpAddr;

use model::IpNet;

/// A network namespace by its name; `None`: the machine's own.
pub(crate) type Place = Option<String>;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A network namespace is made.
    Namespace(String),
    /// A pair of links is made, and both ends are switched on.
    Pair {
        /// Where the near end is.
        place: Place,
        /// The near end.
        near: String,
        /// Where the far end is.
        far_place: Place,
        /// The far end.
        far: String,
    },
    /// A link gets an address.
    Address(Place, String, IpNet),
    /// Packets to these addresses leave through a link.
    Route(Place, IpNet, String),
    /// Packets to these addresses leave through a link, to a router at the other end of it.
    Router(Place, IpNet, (IpAddr, String)),
    /// A setting of the kernel is made.
    Setting(Place, String, String),
    /// Packets from these addresses to others get the machine's own address.
    Masquerade(Vec<IpNet>),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(name) => write!(f, "ip netns add {name}"),
            Self::Pair { place, near, far_place, far } => {
                let far_place = far_place.as_ref().map(|name| format!(" netns {name}")).unwrap_or_default();
                write!(f, "ip{} link add {near} up type veth peer {far} up{far_place}", at(place))
            }
            Self::Address(place, link, address) => {
                write!(f, "ip{} address add {address} dev {link}", at(place))
            }
            Self::Route(place, to, link) => write!(f, "ip{} route add {to} dev {link}", at(place)),
            Self::Router(place, to, (router, link)) => {
                write!(f, "ip{} route add {to} via {router} dev {link} onlink", at(place))
            }
            Self::Setting(place, name, value) => write!(f, "sysctl{} {name}={value}", at(place)),
            Self::Masquerade(ranges) => {
                let ranges: Vec<_> = ranges.iter().map(ToString::to_string).collect();
                write!(f, "masquerade {} to others", ranges.join(","))
            }
        }
    }
}

fn at(place: &Place) -> String {
    place.as_ref().map(|name| format!(" -n {name}")).unwrap_or_default()
}
