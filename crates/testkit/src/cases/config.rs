//! What cases change in the configuration of the proxy.

use super::yaml::{Fields, Yaml};
use super::{CaseError, wrong};

/// The part of a `KubeProxyConfiguration` that cases set; what is `None` is as in every other case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Set to "" for a proxy that cannot tell local traffic.
    pub cluster_cidr: Option<String>,
    pub node_port_addresses: Option<Vec<String>>,
    /// What the tables of the modes say, by the mode's name.
    pub modes: Vec<(String, ModeConfig)>,
    /// Another mode than the one under test.
    pub other_mode: bool,
}

/// The part of the configuration that each mode has for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModeConfig {
    pub masquerade_all: bool,
    /// How often everything is written again, in the notation of Go.
    pub sync_period: Option<String>,
}

impl ProxyConfig {
    pub(super) fn parse(tree: &Yaml) -> Result<Self, CaseError> {
        let mut fields = Fields::of(tree, "config")?;
        let cluster_cidr = fields.take_text("clusterCIDR")?;
        let addresses = fields.take("nodePortAddresses");
        let read = |list: &Yaml| -> Result<Vec<String>, CaseError> {
            list.list("nodePortAddresses")?.iter().map(|item| item.text("nodePortAddresses")).collect()
        };
        let node_port_addresses = addresses.as_ref().map(read).transpose()?;
        let mut modes = Vec::new();
        for mode in ["iptables", "nftables", "ipvs"] {
            if let Some(tree) = fields.take(mode) {
                modes.push((mode.to_owned(), ModeConfig::parse(&tree)?));
            }
        }
        let other_mode = match fields.take_text("mode")?.as_deref() {
            None => false,
            Some("other") => true,
            Some(mode) => return Err(wrong(format!("config.mode {mode}"))),
        };
        fields.end()?;
        Ok(Self { cluster_cidr, node_port_addresses, modes, other_mode })
    }

    /// Answers what the table of a mode says.
    pub fn of_mode(&self, mode: &str) -> ModeConfig {
        self.modes.iter().find(|(name, _)| name == mode).map(|(_, config)| config.clone()).unwrap_or_default()
    }
}

impl ModeConfig {
    fn parse(tree: &Yaml) -> Result<Self, CaseError> {
        let mut fields = Fields::of(tree, "config of the mode")?;
        let masquerade_all = fields.take("masqueradeAll").map(|v| v.bool("masqueradeAll")).transpose()?;
        let sync_period = fields.take_text("syncPeriod")?;
        fields.end()?;
        Ok(Self { masquerade_all: masquerade_all.unwrap_or(false), sync_period })
    }
}
