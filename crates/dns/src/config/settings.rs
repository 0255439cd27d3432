//! What a configuration means, checked: the same for a Corefile and for a file of ours.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::words::upstream;
use crate::wire::Name;

/// Everything the DNS server is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Who answers what; those of one port share its sockets.
    pub servers: Vec<Server>,
    /// Where `/health` is served; `None`: nowhere.
    pub health: Option<Health>,
    /// Where `/ready` is served; `None`: nowhere.
    pub ready: Option<SocketAddr>,
    /// Where `/metrics` is served.
    pub metrics: Vec<SocketAddr>,
    /// How often the file is looked at; `None`: never again.
    pub reload: Option<Duration>,
    /// Whether clients get cookies.
    pub has_cookies: bool,
}

/// Where `/health` is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The address.
    pub address: SocketAddr,
    /// How long queries are answered after the order to end, while `/health` says that it ends.
    pub lameduck: Duration,
}

/// What is done with queries for some zones at one port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Server {
    /// A query goes to the server with the longest zone that its name is in.
    pub zones: Vec<Name>,
    /// The port, UDP and TCP.
    pub port: u16,
    /// The addresses; none: all of the machine.
    pub addresses: Vec<IpAddr>,
    /// Names are rewritten first, by the first rule that fits.
    pub rewrites: Vec<Rewrite>,
    /// Names that stand in the configuration or in a file.
    pub hosts: Option<Hosts>,
    /// The cluster's names.
    pub kubernetes: Option<Kubernetes>,
    /// Which searches for the cluster's names are answered at once; `None`: none.
    pub completes: Option<Completion>,
    /// What is kept of answers from elsewhere; `None`: nothing.
    pub cache: Option<Cache>,
    /// Who is asked for everything else; the longest zone wins, of equal ones the first.
    pub forwards: Vec<Forward>,
    /// Whether each query is logged.
    pub logs_queries: bool,
    /// Whether failures are logged.
    pub logs_errors: bool,
    /// Whether queries that come back are looked for at the start.
    pub finds_loops: bool,
    /// Whether the order of addresses in answers is left to chance.
    pub shuffles: bool,
    /// Whether its queries are counted.
    pub is_counted: bool,
}

/// Which names somebody else is asked for when they do not exist here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Fallthrough {
    /// None: they do not exist.
    #[default]
    Never,
    /// All.
    Always,
    /// Those in these zones.
    Within(Vec<Name>),
}

impl Fallthrough {
    /// Whether the name is left to somebody else.
    pub fn includes(&self, name: &Name) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Within(zones) => zones.iter().any(|zone| name.is_within(zone)),
        }
    }
}

/// How names of pods' addresses are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PodMode {
    /// Not at all.
    #[default]
    Disabled,
    /// Every address has one.
    Insecure,
    /// If such a pod is in the namespace.
    Verified,
}

/// The cluster's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubernetes {
    /// The zones, those for addresses (`in-addr.arpa.`) among them. The first that is none of these is the cluster's.
    pub zones: Vec<Name>,
    /// The API server; `None`: as given otherwise.
    pub api: Option<Api>,
    /// Names of pods' addresses.
    pub pods: PodMode,
    /// How long answers may be kept, in seconds; 0 to 3600.
    pub ttl: u32,
    /// The namespaces that exist here; none: all.
    pub namespaces: Vec<String>,
    /// Whether endpoints without a host name are called like their pods.
    pub endpoint_pod_names: bool,
    /// Whether a Service without ready endpoints does not exist.
    pub ignores_empty_services: bool,
    /// Names that do not exist in the cluster.
    pub fallthrough: Fallthrough,
    /// A selector of labels that Services, EndpointSlices and Pods must have; empty: all.
    pub labels: String,
    /// Whether single endpoints and headless Services have names.
    pub has_endpoints: bool,
    /// How long a configuration that took another one's place waits for the cluster's names before it is used.
    pub patience: Duration,
}

impl Kubernetes {
    /// The usual ones in these zones, as the word alone means in a Corefile.
    pub fn new(zones: Vec<Name>) -> Self {
        Self {
            zones,
            api: None,
            pods: PodMode::Disabled,
            ttl: 5,
            namespaces: Vec::new(),
            endpoint_pod_names: false,
            ignores_empty_services: false,
            fallthrough: Fallthrough::Never,
            labels: String::new(),
            has_endpoints: true,
            patience: Duration::from_secs(5),
        }
    }
}

/// Searches, through the domains of a resolv.conf, whose first query is answered as their last one would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Only those that begin in these zones.
    pub zones: Vec<Name>,
    /// Whose.
    pub by: SearchPath,
}

/// Whose searches are answered at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchPath {
    /// Those of Pods, which begin with their own namespace. Pods must be verified.
    OfPods,
    /// Those that begin with any namespace.
    Any,
    /// Those through the domains of this file.
    File(PathBuf),
}

/// How the API server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Api {
    /// By a file.
    Kubeconfig(PathBuf),
    /// By its address, such as `http://10.0.0.1:8080`.
    Endpoint {
        /// The address.
        url: String,
        /// Files: who says who we are, with which key, and whose word counts.
        tls: Option<[PathBuf; 3]>,
    },
}

/// Names that stand in the configuration or in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// Only names in these are answered.
    pub zones: Vec<Name>,
    /// A file in the form of `/etc/hosts`.
    pub file: Option<PathBuf>,
    /// How often the file is looked at; zero: once.
    pub reload: Duration,
    /// What stands in the configuration.
    pub entries: Vec<(IpAddr, Vec<Name>)>,
    /// How long answers may be kept, in seconds.
    pub ttl: u32,
    /// Whether addresses have names.
    pub has_reverse: bool,
    /// Names that do not stand there.
    pub fallthrough: Fallthrough,
}

impl Default for Hosts {
    fn default() -> Self {
        Self {
            zones: Vec::new(),
            file: None,
            reload: Duration::from_secs(5),
            entries: Vec::new(),
            ttl: 3600,
            has_reverse: true,
            fallthrough: Fallthrough::Never,
        }
    }
}

/// How one name becomes another before it is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// Which.
    pub rule: RewriteRule,
    /// Whether names in answers are rewritten back, not only those that were asked for.
    pub answers: bool,
    /// Whether the next rules are tried as well.
    pub continues: bool,
}

/// Which name becomes which. Texts are in lower case, with a dot at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RewriteRule {
    /// This one that one.
    Exact {
        /// What was asked for.
        from: Name,
        /// What is looked up.
        to: Name,
    },
    /// The end of the text is replaced, in the middle of a label too.
    Suffix {
        /// The end of what was asked for.
        from: String,
        /// The end of what is looked up.
        to: String,
    },
}

/// What is kept of answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// Only answers about names in these are kept.
    pub zones: Vec<Name>,
    /// Answers that say something.
    pub success: Share,
    /// Answers that say there is nothing.
    pub denial: Share,
    /// How long a failure is kept; at most five minutes.
    pub failure: Duration,
    /// Bytes in all, keys and book-keeping included.
    pub bytes: usize,
    /// What is asked again before it is too old; `None`: nothing.
    pub prefetch: Option<Prefetch>,
    /// Whether old answers are given when nobody answers; `None`: no.
    pub stale: Option<Stale>,
    /// Zones whose answers that say something are not kept.
    pub not_success: Vec<Name>,
    /// Zones whose answers that say there is nothing are not kept.
    pub not_denial: Vec<Name>,
    /// Whether answers keep the time to live that they came with.
    pub keeps_ttl: bool,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            zones: Vec::new(),
            success: Share { entries: 9984, longest: 3600, shortest: 5 },
            denial: Share { entries: 9984, longest: 1800, shortest: 5 },
            failure: Duration::from_secs(5),
            bytes: 16 << 20,
            prefetch: None,
            stale: None,
            not_success: Vec::new(),
            not_denial: Vec::new(),
            keeps_ttl: false,
        }
    }
}

/// One of the two parts of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub entries: usize,
    /// How long at most, in seconds.
    pub longest: u32,
    /// How long at least, in seconds.
    pub shortest: u32,
}

/// What is asked again before it is too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefetch {
    /// What was asked for so many times ..
    pub amount: u32,
    /// .. with no longer pauses than this ..
    pub within: Duration,
    /// .. when this part of its time is left, in percent.
    pub percentage: u32,
}

/// Old answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stale {
    /// How long after their time.
    pub age: Duration,
    /// Whether somebody is asked first, rather than afterwards.
    pub verifies: bool,
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// For names in this zone ..
    pub from: Name,
    /// .. but not for those in these.
    pub except: Vec<Name>,
    /// At most fifteen in all.
    pub to: Vec<Upstream>,
    /// Who is asked first.
    pub policy: Policy,
    /// Failures in a row after which somebody is not asked; 0: is asked always.
    pub max_fails: u32,
    /// Queries at a time; more are refused.
    pub max_concurrent: usize,
    /// How often somebody who failed is looked at.
    pub health_check: HealthCheck,
    /// How long a connection may be idle.
    pub expire: Duration,
    /// TCP for all queries.
    pub force_tcp: bool,
    /// UDP for all queries, also those that came over TCP.
    pub prefer_udp: bool,
    /// The name that certificates must be for; `None`: the address.
    pub tls_server_name: Option<String>,
    /// Whose certificates are believed; `None`: those of the machine's authorities.
    pub tls_authority: Option<PathBuf>,
    /// Who says who we are: certificate and key.
    pub tls_identity: Option<[PathBuf; 2]>,
    /// Whether letters of names are written large or small by chance, for answers to be guessed less easily.
    pub random_case: bool,
}

impl Forward {
    /// Answers one with what is usual.
    pub fn new(from: Name) -> Self {
        let health_check = HealthCheck {
            interval: Duration::from_millis(500),
            domain: Name::root(),
            recursion_desired: true,
        };
        Self {
            from,
            except: Vec::new(),
            to: Vec::new(),
            policy: Policy::Random,
            max_fails: 2,
            max_concurrent: DEFAULT_CONCURRENT,
            health_check,
            expire: Duration::from_secs(10),
            force_tcp: false,
            prefer_udp: false,
            tls_server_name: None,
            tls_authority: None,
            tls_identity: None,
            random_case: false,
        }
    }
}

/// A query that waits has a socket; processes usually have 1,048,576 at most in containers and 1024 outside of them.
const DEFAULT_CONCURRENT: usize = 4096;

/// Somebody who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// Over UDP, and TCP for what is large.
    Plain(SocketAddr),
    /// Over TLS.
    Tls(SocketAddr),
    /// Those whom this file names, in the form of `/etc/resolv.conf`.
    File(PathBuf),
}

impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        upstream(text)
    }
}

/// Who is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Anybody.
    #[default]
    Random,
    /// In turn.
    RoundRobin,
    /// The first, always.
    Sequential,
}

/// How somebody who failed is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// How often.
    pub interval: Duration,
    /// Which name's NS records are asked for.
    pub domain: Name,
    /// Whether the bit RD is set.
    pub recursion_desired: bool,
}
