//! The flags of kube-proxy on Linux: names, meanings and defaults are its own, but for those marked as ours.
//!
//! Most of them are fields of the configuration by another name; [`FLAGS`] says which.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use serde_json::{Value, json};

use crate::configuration::{Configuration, default_addresses};
use crate::{Mistakes, Remark};

/// How a flag is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    /// `--flag`, `--flag=true` or `--flag=false`.
    Bool,
    Number,
    Float,
    /// A, B,C or repeated.
    List,
    /// `Name=true,...`.
    Gates,
}

/// A flag that stands for one or more fields of the configuration.
struct Flag {
    name: &'static str,
    fields: &'static [&'static str],
    form: Form,
    value_name: &'static str,
    help: &'static str,
}

const fn flag(
    name: &'static str,
    fields: &'static [&'static str],
    (form, value_name): (Form, &'static str),
    help: &'static str,
) -> Flag {
    Flag { name, fields, form, value_name, help }
}

const DURATION: (Form, &str) = (Form::Text, "DURATION");
const BOOL: (Form, &str) = (Form::Bool, "BOOL");
const COUNT: (Form, &str) = (Form::Number, "COUNT");

/// Every flag that stands for fields, in the order of the help.
#[rustfmt::skip]
const FLAGS: [Flag; 61] = [
    flag("kubeconfig", &["clientConnection.kubeconfig"], (Form::Text, "FILE"), "Read Services and EndpointSlices from the API server of this kubeconfig file"),
    flag("kube-api-content-type", &["clientConnection.contentType"], (Form::Text, "TYPE"), "Has no effect: protobuf is asked for, and JSON taken"),
    flag("kube-api-qps", &["clientConnection.qps"], (Form::Float, "RATE"), "Has no effect: requests are few and not limited"),
    flag("kube-api-burst", &["clientConnection.burst"], COUNT, "Has no effect: requests are few and not limited"),
    flag("config-sync-period", &["configSyncPeriod"], DURATION, "Has no effect: objects are not looked at again when nothing changed"),
    flag("hostname-override", &["hostnameOverride"], (Form::Text, "NAME"), "This node's name; empty: the host name"),
    flag("bind-address", &["bindAddress"], (Form::Text, "IP[,IP]"), "This node's primary address, of each family at most one, where the Node object should not decide"),
    flag("bind-address-hard-fail", &["bindAddressHardFail"], BOOL, "End when the health or metrics port cannot be served, instead of trying again"),
    flag("healthz-bind-address", &["healthzBindAddress"], (Form::Text, "IP[:PORT]"), "Where /healthz and /livez are served; empty: nowhere"),
    flag("metrics-bind-address", &["metricsBindAddress"], (Form::Text, "IP[:PORT]"), "Where /metrics and its like are served; empty: nowhere"),
    flag("profiling", &["enableProfiling"], BOOL, "Serve profiles on the metrics port, under /debug/"),
    flag("show-hidden-metrics-for-version", &["showHiddenMetricsForVersion"], (Form::Text, "VERSION"), "Has no effect: no metric is hidden"),
    flag("feature-gates", &["featureGates"], (Form::Gates, "NAME=BOOL,..."), "Has no effect: there are no feature gates"),
    flag("proxy-mode", &["mode"], (Form::Text, "MODE"), "How the kernel is programmed: nftables or iptables"),
    flag("nodeport-addresses", &["nodePortAddresses"], (Form::List, "primary|CIDR[,CIDR]"), "Where NodePorts answer; empty: on the primary address, in iptables mode on every address"),
    flag("cluster-cidr", &["clusterCIDR"], (Form::Text, "CIDR[,CIDR]"), "The pods' address range, at most one of each family; other sources are masqueraded at ClusterIPs"),
    flag("detect-local-mode", &["detectLocalMode"], (Form::Text, "MODE"), "How traffic of pods is recognised: ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix"),
    flag("pod-bridge-interface", &["detectLocal.bridgeInterface"], (Form::Text, "NAME"), "The pods' bridge, for the mode BridgeInterface"),
    flag("pod-interface-name-prefix", &["detectLocal.interfaceNamePrefix"], (Form::Text, "PREFIX"), "How the names of the pods' interfaces begin, for the mode InterfaceNamePrefix"),
    flag("masquerade-all", &["iptables.masqueradeAll", "nftables.masqueradeAll"], BOOL, "Masquerade all traffic to ClusterIPs, that of pods too"),
    flag("masquerade-bit", &["nftables.masqueradeBit"], (Form::Number, "BIT"), "The bit of the packet mark that says \"masquerade this\" in nftables mode, 0 to 31 (a flag of signalbox alone)"),
    flag("oom-score-adj", &["oomScoreAdj"], (Form::Number, "SCORE"), "This process's own oom_score_adj, -1000 to 1000"),
    flag("iptables-sync-period", &["iptables.syncPeriod", "nftables.syncPeriod"], DURATION, "A change that waits for twice as long is ill health"),
    flag("iptables-min-sync-period", &["iptables.minSyncPeriod", "nftables.minSyncPeriod"], DURATION, "The longest rest between two writes to the kernel"),
    flag("iptables-masquerade-bit", &["iptables.masqueradeBit"], (Form::Number, "BIT"), "The same bit in iptables mode"),
    flag("iptables-localhost-nodeports", &["iptables.localhostNodePorts"], BOOL, "Let NodePorts answer on 127.0.0.1 in iptables mode"),
    flag("ipvs-sync-period", &["ipvs.syncPeriod"], DURATION, "As --iptables-sync-period, in IPVS mode"),
    flag("ipvs-min-sync-period", &["ipvs.minSyncPeriod"], DURATION, "As --iptables-min-sync-period, in IPVS mode"),
    flag("ipvs-scheduler", &["ipvs.scheduler"], (Form::Text, "NAME"), "The scheduler in IPVS mode"),
    flag("ipvs-exclude-cidrs", &["ipvs.excludeCIDRs"], (Form::List, "CIDR,..."), "Virtual servers that are left alone in IPVS mode"),
    flag("ipvs-strict-arp", &["ipvs.strictARP"], BOOL, "Answer ARP only for addresses of the interface asked, in IPVS mode"),
    flag("ipvs-tcp-timeout", &["ipvs.tcpTimeout"], DURATION, "How long an idle TCP connection is remembered in IPVS mode"),
    flag("ipvs-tcpfin-timeout", &["ipvs.tcpFinTimeout"], DURATION, "How long a closed TCP connection is remembered in IPVS mode"),
    flag("ipvs-udp-timeout", &["ipvs.udpTimeout"], DURATION, "How long a UDP flow is remembered in IPVS mode"),
    flag("conntrack-max-per-core", &["conntrack.maxPerCore"], COUNT, "Tracked connections for each CPU; 0 leaves the kernel's limit as it is"),
    flag("conntrack-min", &["conntrack.min"], COUNT, "Tracked connections at least"),
    flag("conntrack-tcp-timeout-established", &["conntrack.tcpEstablishedTimeout"], DURATION, "How long an idle TCP connection is remembered; 0 leaves it as it is"),
    flag("conntrack-tcp-timeout-close-wait", &["conntrack.tcpCloseWaitTimeout"], DURATION, "How long a TCP connection that was closed on one side is remembered; 0 leaves it as it is"),
    flag("conntrack-tcp-be-liberal", &["conntrack.tcpBeLiberal"], BOOL, "Let TCP packets outside of the window belong to their connection"),
    flag("conntrack-udp-timeout", &["conntrack.udpTimeout"], DURATION, "How long a UDP flow without an answer is remembered; 0 leaves it as it is"),
    flag("conntrack-udp-timeout-stream", &["conntrack.udpStreamTimeout"], DURATION, "How long a UDP flow with answers is remembered; 0 leaves it as it is"),
    flag("v", &["logging.verbosity"], (Form::Number, "LEVEL"), "How much to log: 0 state changes, 2 reasons, 5 everything"),
    flag("vmodule", &["logging.vmodule"], (Form::List, "PATTERN=LEVEL,..."), "Has no effect: there are no source files of Go here"),
    flag("logging-format", &["logging.format"], (Form::Text, "FORMAT"), "The shape of a line in the log: text or json"),
    flag("log-flush-frequency", &["logging.flushFrequency"], DURATION, "Has no effect: nothing is held back"),
    flag("log-text-split-stream", &["logging.options.text.splitStream"], BOOL, "Has no effect: all goes to standard error"),
    flag("log-text-info-buffer-size", &["logging.options.text.infoBufferSize"], (Form::Text, "SIZE"), "Has no effect: nothing is held back"),
    flag("log-json-split-stream", &["logging.options.json.splitStream"], BOOL, "Has no effect: all goes to standard error"),
    flag("log-json-info-buffer-size", &["logging.options.json.infoBufferSize"], (Form::Text, "SIZE"), "Has no effect: nothing is held back"),
    flag("healthz-port", &[], (Form::Number, "PORT"), "Deprecated: the port of --healthz-bind-address; 0: nowhere"),
    flag("metrics-port", &[], (Form::Number, "PORT"), "Deprecated: the port of --metrics-bind-address; 0: nowhere"),
    flag("master", &[], (Form::Text, "URL"), "Address of the API server, overriding the one in the kubeconfig"),
    flag("manifests", &[], (Form::Text, "DIR"), "Read the objects from the YAML and JSON files of this directory instead and follow them (a flag of signalbox alone)"),
    flag("count-connections", &[], BOOL, "Count new connections to each Service, at 16 bytes a CPU and frontend (in iptables mode at a listing for each scrape), and show them as a metric (a flag of signalbox alone)"),
    flag("dns", &[], BOOL, "Answer names of the cluster on this node, and in place of the cluster's DNS as soon as all are known (a flag of signalbox alone)"),
    flag("dns-config", &[], (Form::Text, "FILE"), "What --dns answers and who is asked for other names: a Corefile, a ConfigMap with one, or a DNSConfiguration [default: kubeadm's] (a flag of signalbox alone)"),
    flag("dns-listen", &[], (Form::List, "none|IP,..."), "The addresses of this node alone at which --dns answers as well [default: 169.254.20.10] (a flag of signalbox alone)"),
    flag("dns-service", &[], (Form::Text, "NAMESPACE/NAME"), "The Service that is the cluster's DNS [default: kube-system/kube-dns] (a flag of signalbox alone)"),
    flag("boot-id-file", &[], (Form::Text, "FILES"), "Has no effect: only kube-proxy's library reads it"),
    flag("machine-id-file", &[], (Form::Text, "FILES"), "Has no effect: only kube-proxy's library reads it"),
    flag("config", &[], (Form::Text, "FILE"), "Read kube-proxy's configuration file; of the flags beside it only this node's name, the API server's address and those of logging count"),
];

/// What counts beside a configuration file.
const BESIDE: [&str; 19] = [
    "count-connections",
    "dns",
    "dns-config",
    "dns-listen",
    "dns-service",
    "config",
    "hostname-override",
    "master",
    "manifests",
    "boot-id-file",
    "machine-id-file",
    "v",
    "vmodule",
    "logging-format",
    "log-flush-frequency",
    "log-text-split-stream",
    "log-text-info-buffer-size",
    "log-json-split-stream",
    "log-json-info-buffer-size",
];

/// What is served nowhere when it is empty.
const EMPTY_MEANS_NOWHERE: [&str; 2] = ["healthz-bind-address", "metrics-bind-address"];

/// A command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--write-config-to`: write what the flags mean into this file, and end.
    pub write_config_to: Option<PathBuf>,
    /// `--cleanup`: remove all rules, and end.
    pub cleanup: bool,
    /// `--init-only`: make the kernel's settings, and end.
    pub init_only: bool,
    /// `--version`: say it, and end; `raw` with its parts.
    pub version: Option<String>,
    given: BTreeMap<String, Vec<String>>,
}

/// Answers the flags for a command that runs the node agent.
pub fn arguments() -> Vec<Arg> {
    let usual = Configuration::default().json();
    let mut all: Vec<Arg> = FLAGS.iter().map(|flag| argument(flag, &usual)).collect();
    all.push(path("write-config-to", "Write what the flags mean into this file, and end"));
    all.push(switch("cleanup", "Remove everything of signalbox and of kube-proxy from the kernel, and end"));
    let version = Arg::new("version").long("version").value_name("true|raw").help("Say the version, and end");
    all.push(version.num_args(0..=1).require_equals(true).default_missing_value("true"));
    all.push(switch(
        "init-only",
        "Make the kernel's settings, which takes more privileges than the rest, and end",
    ));
    all
}

fn argument(flag: &Flag, usual: &Value) -> Arg {
    let default = flag.fields.first().and_then(|field| usual.pointer(&pointer(field)));
    let default = default.map(shown).filter(|text| !text.is_empty());
    let help =
        default.map_or_else(|| flag.help.to_owned(), |text| format!("{} [default: {text}]", flag.help));
    let mut argument = Arg::new(flag.name)
        .long(flag.name)
        .value_name(flag.value_name)
        .help(help)
        // Of several the last one counts, as for Go's flags.
        .action(ArgAction::Append)
        .allow_hyphen_values(true);
    if flag.name == "v" {
        argument = argument.short('v');
    }
    if flag.form == Form::Bool {
        argument = argument.num_args(0..=1).require_equals(true).default_missing_value("true");
    }
    argument
}

fn path(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("FILE").help(help)
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    let one = Arg::new(name).long(name).value_name("BOOL").help(help).action(ArgAction::Append);
    one.num_args(0..=1).require_equals(true).default_missing_value("true").value_parser(boolean)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null | Value::Object(_) => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(","),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// What Go's flags take for true and false.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(format!("`{other}` is not true or false")),
    }
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        command.args(arguments())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let values = |flag: &Flag| {
            let values = matches.get_many::<String>(flag.name)?;
            Some((flag.name.to_owned(), values.cloned().collect()))
        };
        let is_on = |name| matches.get_many::<bool>(name).and_then(Iterator::last).copied().unwrap_or(false);
        Ok(Self {
            write_config_to: matches
                .get_one::<String>("write-config-to")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            cleanup: is_on("cleanup"),
            init_only: is_on("init-only"),
            version: matches.get_one::<String>("version").filter(|text| *text != "false").cloned(),
            given: FLAGS.iter().filter_map(values).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Flags {
    /// Answers the configuration file.
    pub fn config(&self) -> Option<PathBuf> {
        self.last("config").map(PathBuf::from)
    }

    /// Answers the directory of manifests that stands for an API server.
    pub fn manifests(&self) -> Option<PathBuf> {
        self.last("manifests").map(PathBuf::from)
    }

    /// Answers whether new connections to each Service are counted.
    pub fn count_connections(&self) -> bool {
        self.last("count-connections").is_some_and(|text| boolean(text).unwrap_or(false))
    }

    /// Answers whether a flag of two values is on.
    pub(crate) fn is_on(&self, name: &str) -> Result<bool, Remark> {
        self.last(name).map_or(Ok(false), boolean).map_err(|reason| Remark::new(dashed(name), reason))
    }

    /// Answers the address of the API server.
    pub fn master(&self) -> Option<String> {
        self.last("master").map(str::to_owned)
    }

    /// Answers what they mean without a configuration file.
    pub fn configuration(&self) -> Result<Configuration, Mistakes> {
        self.over(Configuration::default(), |_| true, true)
    }

    /// Answers what a file means with those flags that count beside it.
    pub fn beside(&self, file: Configuration) -> Result<Configuration, Mistakes> {
        self.over(file, |flag| BESIDE.contains(&flag.name), false)
    }

    /// Answers the flags that count for nothing beside a file.
    pub fn ignored_beside(&self) -> Vec<Remark> {
        let ignored = self.given.keys().filter(|name| !BESIDE.contains(&name.as_str()));
        ignored.map(|name| Remark::new(dashed(name), "counts for nothing beside --config")).collect()
    }

    /// Answers every flag with the value it has, given or not, sorted by name.
    pub fn values(&self) -> Vec<(&'static str, String)> {
        let usual = Configuration::default().json();
        let value = |flag: &Flag| {
            let default = || flag.fields.first().and_then(|field| usual.pointer(&pointer(field))).map(shown);
            let given = self.given.get(flag.name).map(|values| match flag.form {
                Form::List | Form::Gates => values.join(","),
                Form::Text | Form::Bool | Form::Number | Form::Float => {
                    values.last().cloned().unwrap_or_default()
                }
            });
            (flag.name, given.or_else(default).unwrap_or_default())
        };
        let written =
            self.write_config_to.as_ref().map_or_else(String::new, |path| path.display().to_string());
        let mut all: Vec<_> = FLAGS.iter().map(value).collect();
        all.extend([
            ("cleanup", self.cleanup.to_string()),
            ("init-only", self.init_only.to_string()),
            ("write-config-to", written),
        ]);
        all.sort_unstable();
        all
    }

    /// Answers mistakes by the names of the flags for the fields, where there are such flags.
    pub fn name(Mistakes(mistakes): Mistakes) -> Mistakes {
        let name = |mistake: Remark| {
            let field = mistake.field.split('[').next().unwrap_or_default();
            let flag = FLAGS.iter().find(|flag| flag.fields.contains(&field));
            let field = flag.map(|flag| dashed(flag.name));
            Remark { field: field.unwrap_or(mistake.field), reason: mistake.reason }
        };
        let mut named: Vec<Remark> = mistakes.into_iter().map(name).collect();
        // One flag may stand for two fields.
        let mut seen = std::collections::BTreeSet::new();
        named.retain(|mistake| seen.insert(mistake.clone()));
        Mistakes(named)
    }

    pub(crate) fn last(&self, name: &str) -> Option<&str> {
        self.given.get(name)?.last().map(String::as_str).filter(|value| !value.is_empty())
    }

    fn over(
        &self,
        below: Configuration,
        counts: impl Fn(&Flag) -> bool,
        alone: bool,
    ) -> Result<Configuration, Mistakes> {
        let mut fields = below.json();
        let mut mistakes = Vec::new();
        if alone {
            let address = self.last("bind-address").unwrap_or_default();
            let (mut health, mut metrics) = default_addresses(address);
            // Without their ports, so that the deprecated flags may say them.
            for (flag, default) in [("healthz-port", &mut health), ("metrics-port", &mut metrics)] {
                if self.last(flag).is_some_and(|port| port != "0") && self.write_config_to.is_none() {
                    *default = default.rsplit_once(':').map_or_else(String::new, |(host, _)| host.to_owned());
                }
            }
            put(&mut fields, "healthzBindAddress", health.into());
            put(&mut fields, "metricsBindAddress", metrics.into());
        }
        for flag in FLAGS.iter().filter(|flag| counts(flag) && !flag.fields.is_empty()) {
            let Some(values) = self.given.get(flag.name) else { continue };
            // An empty text is none, but where that is a meaning of its own.
            let is_none = flag.form == Form::Text && values.last().is_some_and(String::is_empty);
            if is_none && !EMPTY_MEANS_NOWHERE.contains(&flag.name) {
                continue;
            }
            match value(flag.form, values) {
                Ok(value) => flag.fields.iter().for_each(|field| put(&mut fields, field, value.clone())),
                Err(reason) => mistakes.push(Remark::new(dashed(flag.name), reason)),
            }
        }
        if let Some(Err(reason)) = self.last("count-connections").map(boolean) {
            mistakes.push(Remark::new("--count-connections", reason));
        }
        if alone && self.write_config_to.is_none() {
            mistakes.extend(self.deprecated_port("healthz-port", "healthzBindAddress", &mut fields));
            mistakes.extend(self.deprecated_port("metrics-port", "metricsBindAddress", &mut fields));
        }
        let both = ["kubeconfig", "master"].into_iter().filter(|name| alone && self.last(name).is_some());
        if self.last("manifests").is_some() {
            mistakes.extend(both.map(|name| {
                Remark::new(dashed(name), "cannot be used with --manifests, which needs no API server")
            }));
        }
        if !mistakes.is_empty() {
            return Err(Mistakes(mistakes));
        }
        Ok(serde_json::from_value(fields)
            .expect("every flag has the form of its fields, which a test checks"))
    }

    fn deprecated_port(&self, flag: &str, field: &str, fields: &mut Value) -> Option<Remark> {
        let text = self.last(flag)?;
        let Ok(port) = text.parse::<u16>() else {
            return Some(Remark::new(dashed(flag), format!("`{text}` is no port")));
        };
        let address = fields.pointer(&pointer(field)).and_then(Value::as_str).unwrap_or_default();
        // As kube-proxy has it, a port that the address names itself counts more.
        let address = match address.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(_) if port == 0 => String::new(),
            Ok(alone) => SocketAddr::new(alone, port).to_string(),
            Err(_) if port == 0 => String::new(),
            Err(_) => address.to_owned(),
        };
        put(fields, field, address.into());
        None
    }
}

fn dashed(name: &str) -> String {
    if name.len() == 1 { format!("-{name}") } else { format!("--{name}") }
}

fn pointer(field: &str) -> String {
    format!("/{}", field.replace('.', "/"))
}

/// Sets a field; objects on the way are made.
fn put(fields: &mut Value, field: &str, value: Value) {
    let mut place = fields;
    for name in field.split('.') {
        place = &mut place[name];
    }
    *place = value;
}

/// Decimal, or with `0x` hexadecimal.
fn number(text: &str) -> Result<i64, std::num::ParseIntError> {
    match text.strip_prefix("0x") {
        Some(hexadecimal) => i64::from_str_radix(hexadecimal, 16),
        None => text.parse(),
    }
}

fn value(form: Form, values: &[String]) -> Result<Value, String> {
    let last = values.last().map_or("", String::as_str);
    let parts =
        || values.iter().flat_map(|value| value.split(',')).map(str::trim).filter(|part| !part.is_empty());
    match form {
        Form::Text => Ok(last.into()),
        Form::Bool => boolean(last).map(Value::from),
        Form::Number => number(last).map(Value::from).map_err(|_| format!("`{last}` is not a whole number")),
        Form::Float => match last.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(json!(number)),
            Ok(_) | Err(_) => Err(format!("`{last}` is not a number")),
        },
        Form::List => Ok(parts().collect()),
        Form::Gates => {
            let gate = |part: &str| {
                let (name, value) =
                    part.split_once('=').ok_or_else(|| format!("`{part}` is not Name=true or Name=false"))?;
                Ok((name.to_owned(), Value::Bool(boolean(value)?)))
            };
            parts().map(gate).collect::<Result<serde_json::Map<_, _>, String>>().map(Value::Object)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{File, Settings, yaml};

    fn flags(line: &str) -> Flags {
        let command = <Flags as clap::Args>::augment_args(Command::new("proxy"));
        let words = std::iter::once("proxy").chain(line.split_whitespace());
        let matches = command.try_get_matches_from(words).expect("flags of this test parse");
        Flags::from_arg_matches(&matches).expect("they are texts")
    }

    #[track_caller]
    fn mistakes(line: &str, wanted: &[&str]) {
        let said = match flags(line).configuration() {
            Err(mistakes) => Some(mistakes),
            Ok(configuration) => Settings::new(&configuration, "host").err().map(Flags::name),
        };
        let said: Vec<String> =
            said.map(|Mistakes(said)| said.iter().map(ToString::to_string).collect()).unwrap_or_default();
        assert_eq!(said, wanted, "{line}");
    }

    /// As kubeadm writes it.
    const KUBEADM: &str = include_str!("../../cli/tests/kubeadm.yaml");

    /// kube-proxy 1.36 on Linux.
    const UPSTREAM: &str = "version config write-config-to cleanup init-only feature-gates boot-id-file machine-id-file kubeconfig master \
        kube-api-content-type kube-api-burst kube-api-qps config-sync-period hostname-override bind-address \
        bind-address-hard-fail healthz-bind-address metrics-bind-address healthz-port metrics-port profiling \
        show-hidden-metrics-for-version proxy-mode nodeport-addresses cluster-cidr detect-local-mode \
        pod-bridge-interface pod-interface-name-prefix oom-score-adj iptables-masquerade-bit masquerade-all \
        iptables-localhost-nodeports iptables-sync-period iptables-min-sync-period ipvs-sync-period \
        ipvs-min-sync-period ipvs-scheduler ipvs-exclude-cidrs ipvs-strict-arp ipvs-tcp-timeout ipvs-tcpfin-timeout \
        ipvs-udp-timeout conntrack-max-per-core conntrack-min conntrack-tcp-timeout-established \
        conntrack-tcp-timeout-close-wait conntrack-tcp-be-liberal conntrack-udp-timeout \
        conntrack-udp-timeout-stream v vmodule logging-format log-flush-frequency log-text-split-stream \
        log-text-info-buffer-size log-json-split-stream log-json-info-buffer-size";

    #[test]
    fn every_flag_of_kube_proxy_is_there_and_few_of_our_own() {
        let arguments = arguments();
        let ours: std::collections::BTreeSet<&str> = arguments.iter().filter_map(Arg::get_long).collect();
        let upstream: std::collections::BTreeSet<&str> = UPSTREAM.split_whitespace().collect();
        assert_eq!(upstream.difference(&ours).collect::<Vec<_>>(), Vec::<&&str>::new());
        assert_eq!(
            ours.difference(&upstream).collect::<Vec<_>>(),
            [
                &"count-connections",
                &"dns",
                &"dns-config",
                &"dns-listen",
                &"dns-service",
                &"manifests",
                &"masquerade-bit"
            ]
        );
    }

    #[test]
    fn every_flag_has_the_form_of_its_fields() {
        let usual = Configuration::default();
        for flag in FLAGS.iter().filter(|flag| !flag.fields.is_empty()) {
            let text = match flag.form {
                Form::Text => "x",
                Form::Bool => "true",
                Form::Number | Form::Float => "7",
                Form::List => "x,y",
                Form::Gates => "X=true",
            };
            let changed = flags(&format!("--{}={text}", flag.name)).configuration().expect("well-formed");
            for field in flag.fields {
                let (is, was) = (changed.json(), usual.json());
                let is_usual = is.pointer(&pointer(field)) == was.pointer(&pointer(field));
                assert!(!is_usual || text == "true", "--{}: {field}", flag.name);
            }
            // What is no field would be lost on the way.
            let again = File::parse(&yaml(&changed)).expect("written by us");
            assert_eq!(again.warnings, [], "--{}", flag.name);
            assert_eq!(again.configuration.json(), changed.json(), "--{}", flag.name);
        }
        assert!(BESIDE.iter().all(|name| FLAGS.iter().any(|flag| flag.name == *name)));
    }

    #[test]
    fn kubeadms_file_means_the_defaults() {
        let file = File::parse(KUBEADM).expect("kubeadm makes no mistakes");
        assert_eq!(file.warnings, []);
        let usual = "--cluster-cidr=10.244.0.0/16 --kubeconfig=/var/lib/kube-proxy/kubeconfig.conf";
        let mut usual = flags(usual).configuration().expect("no mistakes");
        // It spells out sizes of buffers that we do not have.
        usual.logging.options = file.configuration.logging.options.clone();
        assert_eq!(file.configuration, usual);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let line = "--config-sync-period=1m --nodeport-addresses=10.0.0.0/8 --nodeport-addresses fd00::/8 --feature-gates=A=true,B=false \
            --kube-api-qps=2.5 --oom-score-adj -5 -v=3 --masquerade-all --log-json-info-buffer-size=1Mi --vmodule=a=1";
        let configuration = flags(line).configuration().expect("no mistakes");
        let file = File::parse(&yaml(&configuration)).expect("written by us");
        assert_eq!((file.configuration, file.warnings), (configuration, Vec::new()));
    }

    #[test]
    fn mistakes_name_the_flag() {
        mistakes("", &[]);
        mistakes(
            "--conntrack-min=x --profiling=perhaps --feature-gates=A",
            &[
                "--profiling: `perhaps` is not true or false",
                "--feature-gates: `A` is not Name=true or Name=false",
                "--conntrack-min: `x` is not a whole number",
            ],
        );
        mistakes(
            "--cluster-cidr 10.0.0.0/8,x --masquerade-bit 32 --nodeport-addresses primary,10.0.0.0/8 --iptables-sync-period=0",
            &[
                "--iptables-sync-period: must be longer than 0",
                "--cluster-cidr: `x` is not an address range such as 10.244.0.0/16",
                "--masquerade-bit: 32 is not a bit of the mark, 0 to 31",
                "--nodeport-addresses: `primary` stands alone or not at all",
            ],
        );
        mistakes(
            "--manifests=/tmp --kubeconfig=/k --master=http://x",
            &[
                "--kubeconfig: cannot be used with --manifests, which needs no API server",
                "--master: cannot be used with --manifests, which needs no API server",
            ],
        );
    }

    #[test]
    fn ports_follow_the_family_and_the_deprecated_flags() {
        let ports = |line: &str| {
            let configuration = flags(line).configuration().expect("no mistakes");
            (configuration.healthz_bind_address, configuration.metrics_bind_address)
        };
        let both = |health: &str, metrics: &str| (health.to_owned(), metrics.to_owned());
        assert_eq!(ports("--bind-address=::"), both("[::]:10256", "[::1]:10249"));
        assert_eq!(
            ports("--bind-address=:: --healthz-bind-address=127.0.0.1"),
            both("127.0.0.1", "[::1]:10249")
        );
        assert_eq!(ports("--healthz-port=1 --metrics-port=0"), both("0.0.0.0:1", ""));
        assert_eq!(
            ports("--healthz-bind-address=127.0.0.1:5 --healthz-port=6"),
            both("127.0.0.1:5", "127.0.0.1:10249")
        );
        assert_eq!(
            ports("--healthz-bind-address=fd00::1 --healthz-port=6"),
            both("[fd00::1]:6", "127.0.0.1:10249")
        );
        assert_eq!(ports("--bind-address=:: --metrics-port=6"), both("[::]:10256", "[::1]:6"));
        assert_eq!(ports("--healthz-bind-address= --healthz-port=6").0, "");
        assert_eq!(ports("--healthz-bind-address="), both("", "127.0.0.1:10249"));
    }

    #[test]
    fn beside_a_file_few_flags_count() {
        let given = flags("--config=/c --hostname-override=n --proxy-mode=x -v 4 --cluster-cidr=10.0.0.0/8");
        let both = given.beside(Configuration::default()).expect("no mistakes");
        let named =
            |text: &str| Configuration { hostname_override: text.to_owned(), ..Configuration::default() };
        let wanted = named("n");
        let empty = flags("--hostname-override= --bind-address= --detect-local-mode= --write-config-to=");
        assert_eq!(
            (empty.beside(named("of-the-file")), empty.write_config_to),
            (Ok(named("of-the-file")), None)
        );
        assert_eq!(Configuration { logging: wanted.logging.clone(), ..both.clone() }, wanted);
        assert_eq!(both.logging.verbosity, 4);
        let ignored: Vec<String> = given.ignored_beside().iter().map(ToString::to_string).collect();
        assert_eq!(
            ignored,
            [
                "--cluster-cidr: counts for nothing beside --config",
                "--proxy-mode: counts for nothing beside --config"
            ]
        );
    }
}
