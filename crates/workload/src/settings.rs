//! What is told to the runtime of a node.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use model::IpNet;

use crate::images::Images;

/// How a node runs pods.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The node's name.
    pub node_name: String,
    /// Where everything about its pods is kept.
    pub state_dir: PathBuf,
    /// Which programs stand for images.
    pub images: Images,
    /// The name of the node's network namespace; `None`: the one this program runs in.
    pub netns: Option<String>,
    /// The ranges of its pods' addresses, for its Node object. Empty: the object says.
    pub pod_cidrs: Vec<IpNet>,
    /// Labels of its Node object.
    pub labels: BTreeMap<String, String>,
    /// Its addresses, the usual one first.
    pub addresses: Vec<IpAddr>,
    /// The words that start the keeper of a container: this program with its hidden subcommand. A folder follows.
    pub keeper: Vec<OsString>,
    /// What every process finds in its environment, such as `PATH`.
    pub environment: Vec<(String, String)>,
    /// Where pods ask for names; none: where the node does.
    pub dns: Vec<IpAddr>,
    /// The domain of the cluster.
    pub domain: String,
    /// Where the node answers the API server; 0: at any port, which its Node object says. `None`: it does not.
    pub port: Option<u16>,
    /// Certificates in PEM: who shows one that they signed is believed. `None`: nobody is.
    pub client_ca: Option<String>,
}
