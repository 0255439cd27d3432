//! What a change of the configuration means for a process that runs.

use serde_json::Value;

use crate::Configuration;

/// Fields that are only looked at when the process starts, whole objects included.
const AT_START: [&str; 8] = [
    "bindAddressHardFail",
    "clientConnection",
    "enableProfiling",
    "healthzBindAddress",
    "hostnameOverride",
    "logging.format",
    "metricsBindAddress",
    "mode",
];

/// The fields in which two configurations differ, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// Those that take effect at once.
    pub live: Vec<String>,
    /// Those that need a new process.
    pub at_start: Vec<String>,
}

/// Compares two configurations field by field.
pub fn changes(before: &Configuration, after: &Configuration) -> Changed {
    let mut fields = Vec::new();
    differences(&before.json(), &after.json(), "", &mut fields);
    let is_at_start = |field: &String| {
        AT_START.iter().any(|known| {
            field.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    let (at_start, live) = fields.into_iter().partition(is_at_start);
    Changed { live, at_start }
}

fn differences(before: &Value, after: &Value, path: &str, fields: &mut Vec<String>) {
    let (Some(old), Some(new)) = (before.as_object(), after.as_object()) else {
        if before != after {
            fields.push(path.to_owned());
        }
        return;
    };
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let dot = if path.is_empty() { "" } else { "." };
        let value = |of: &serde_json::Map<String, Value>| of.get(name).cloned().unwrap_or_default();
        differences(&value(old), &value(new), &format!("{path}{dot}{name}"), fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::File;

    #[track_caller]
    fn check(lines: &str, live: &[&str], at_start: &[&str]) {
        let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
        let file = |text: &str| File::parse(&format!("{head}{text}")).expect("no mistakes").configuration;
        let changed = changes(&file(""), &file(lines));
        assert_eq!(
            (changed.live, changed.at_start),
            (
                live.iter().map(ToString::to_string).collect(),
                at_start.iter().map(ToString::to_string).collect()
            ),
            "{lines}"
        );
    }

    #[test]
    fn fields_are_told_apart_by_when_they_take_effect() {
        check("", &[], &[]);
        check(
            "clusterCIDR: 10.0.0.0/8\nconntrack: {min: 1}\nfeatureGates: {A: true}",
            &["clusterCIDR", "conntrack.min", "featureGates.A"],
            &[],
        );
        check(
            "mode: nftables\nclientConnection: {kubeconfig: /k}\nlogging: {verbosity: 3, format: json}",
            &["logging.verbosity"],
            &["clientConnection.kubeconfig", "logging.format", "mode"],
        );
        check("bindAddress: '::'", &["bindAddress"], &["healthzBindAddress", "metricsBindAddress"]);
    }

    #[test]
    fn every_field_that_is_only_read_at_the_start_exists() {
        let all = Configuration::default().json();
        for field in AT_START {
            assert!(all.pointer(&format!("/{}", field.replace('.', "/"))).is_some(), "{field}");
        }
    }
}
