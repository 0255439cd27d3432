//! The proxy under test: how its command line and its configuration come from a case's configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use testkit::cases::ProxyConfig;

/// The pods' ranges, as every case has them unless it says otherwise.
const POD_CIDRS: &str = "10.244.0.0/16,fd00:10:244::/48";

/// A command with `{placeholders}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<String>);

/// What is filled in, besides `{flags}`: each placeholder's name and value.
pub(super) type Values = BTreeMap<&'static str, String>;

impl Template {
    /// Splits a command like a shell does, as far as quotes go.
    pub(super) fn parse(command: &str) -> Result<Self> {
        let mut words = Vec::new();
        let mut word: Option<String> = None;
        let mut quote = None;
        for c in command.chars() {
            match quote {
                Some(q) if c == q => quote = None,
                Some(_) => word.get_or_insert_default().push(c),
                None if c == '\'' || c == '"' => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                None if c.is_whitespace() => words.extend(word.take()),
                None => word.get_or_insert_default().push(c),
            }
        }
        words.extend(word);
        if quote.is_some() || words.is_empty() {
            bail!("not a command: {command}");
        }
        Ok(Self(words))
    }

    /// The product's own `proxy` command.
    pub(super) fn product(binary: &Path) -> Self {
        Self(vec![binary.display().to_string(), "proxy".into(), "{flags}".into()])
    }

    /// Fills everything in. The word `{flags}` becomes many.
    pub(super) fn command(&self, values: &Values, flags: &[String]) -> Result<Vec<String>> {
        let mut words = Vec::new();
        for word in &self.0 {
            if word == "{flags}" {
                words.extend(flags.iter().cloned());
                continue;
            }
            let filled = values
                .iter()
                .fold(word.clone(), |word, (name, value)| word.replace(&format!("{{{name}}}"), value));
            if filled.contains('{') {
                let known: Vec<_> = values.keys().collect();
                bail!("{word}: unknown placeholder; known are flags and {known:?}");
            }
            words.push(filled);
        }
        Ok(words)
    }
}

/// The flags of kube-proxy's names that mean the same as the configuration.
///
/// How often rules are synchronised is left out: it is no promise to anybody, and the cases judge no times.
pub(super) fn flags(config: &ProxyConfig, mode: &str, (node, kubeconfig): (&str, &Path)) -> Vec<String> {
    let mut flags = vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--hostname-override={node}"),
        format!("--proxy-mode={mode}"),
        format!("--cluster-cidr={}", config.cluster_cidr.as_deref().unwrap_or(POD_CIDRS)),
        "--v=2".into(),
    ];
    if let Some(addresses) = &config.node_port_addresses {
        flags.push(format!("--nodeport-addresses={}", addresses.join(",")));
    }
    if config.of_mode(mode).masquerade_all {
        flags.push("--masquerade-all".into());
    }
    flags
}

/// The same as a `KubeProxyConfiguration`, for proxies that read a file. JSON is YAML, too.
pub(super) fn configuration(config: &ProxyConfig, mode: &str, kubeconfig: &Path) -> Value {
    let mut file = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": mode,
        "clientConnection": {"kubeconfig": kubeconfig.display().to_string()},
        "clusterCIDR": config.cluster_cidr.as_deref().unwrap_or(POD_CIDRS),
        "conntrack": {"maxPerCore": 0, "min": 0},
        "metricsBindAddress": "127.0.0.1:10249",
        "healthzBindAddress": "0.0.0.0:10256",
    });
    if let Some(addresses) = &config.node_port_addresses {
        file["nodePortAddresses"] = json!(addresses);
    }
    for mode in ["iptables", "nftables"] {
        let of_mode = config.of_mode(mode);
        file[mode] = json!({"minSyncPeriod": "200ms"});
        if of_mode.masquerade_all {
            file[mode]["masqueradeAll"] = json!(true);
        }
        if let Some(period) = of_mode.sync_period {
            file[mode]["syncPeriod"] = json!(period);
        }
    }
    file
}

/// Builds the product and answers where its binary is.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let words = ["build", "--quiet", "--release", "-p", "cli"];
    let status = Command::new(cargo).args(words).current_dir(root).status().context("running cargo")?;
    if !status.success() {
        bail!("cargo {} ended with {status}", words.join(" "));
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    let binary = target.join("release/signalbox");
    if !binary.is_file() {
        bail!("{} was not built", binary.display());
    }
    Ok(binary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::cases::ModeConfig;

    fn values() -> Values {
        Values::from([("node", "n1".to_owned()), ("config", "/c".to_owned())])
    }

    #[track_caller]
    fn check(command: &str, expected: &[&str]) {
        let flags = ["--a".to_owned(), "--b".to_owned()];
        assert_eq!(Template::parse(command).unwrap().command(&values(), &flags).unwrap(), expected);
    }

    #[test]
    fn fills_templates() {
        check(
            "agent --config {config} '--name=x {node}' \"\"",
            &["agent", "--config", "/c", "--name=x n1", ""],
        );
        check("agent {flags} --last", &["agent", "--a", "--b", "--last"]);
        assert!(Template::parse("agent 'x").is_err());
        assert!(Template::parse("agent {nodes}").unwrap().command(&values(), &[]).is_err());
    }

    #[test]
    fn flags_say_what_the_configuration_says() {
        let node = ("n1", Path::new("/k"));
        let usual = ["--kubeconfig=/k", "--hostname-override=n1", "--proxy-mode=nftables"];
        let config = ProxyConfig::default();
        let mut expected = usual.to_vec();
        expected.extend(["--cluster-cidr=10.244.0.0/16,fd00:10:244::/48", "--v=2"]);
        assert_eq!(flags(&config, "nftables", node), expected);
        let all = ModeConfig { masquerade_all: true, sync_period: Some("2s".into()) };
        let config = ProxyConfig {
            cluster_cidr: Some(String::new()),
            node_port_addresses: Some(vec!["0.0.0.0/0".into(), "::/0".into()]),
            modes: vec![("nftables".into(), all)],
            other_mode: false,
        };
        let mut expected = usual.to_vec();
        expected.extend([
            "--cluster-cidr=",
            "--v=2",
            "--nodeport-addresses=0.0.0.0/0,::/0",
            "--masquerade-all",
        ]);
        assert_eq!(flags(&config, "nftables", node), expected);
        let file = configuration(&config, "nftables", node.1);
        assert_eq!(
            file["nftables"],
            json!({"minSyncPeriod": "200ms", "masqueradeAll": true, "syncPeriod": "2s"})
        );
        assert_eq!(file["nodePortAddresses"], json!(["0.0.0.0/0", "::/0"]));
    }
}
