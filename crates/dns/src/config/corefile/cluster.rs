//! `kubernetes`: the cluster's names.

use std::path::PathBuf;

use super::super::words::{self, TTLS};
use super::super::{Api, Fallthrough, Kubernetes, PodMode, Server};
use super::Reading;
use super::tree::Line;

/// CoreDNS' time to live of the cluster's names.
const TTL: u32 = 5;
/// What selects a part of the objects: all are watched here, with the proxy's own cache.
const NOT_SELECTED: [&str; 2] = ["labels", "namespace_labels"];

impl Reading {
    pub(super) fn kubernetes(&mut self, line: &Line, server: &mut Server) {
        let zones = self.zones_or(&line.arguments, server);
        let mut kubernetes = Kubernetes {
            zones,
            api: None,
            pods: PodMode::Disabled,
            ttl: TTL,
            namespaces: Vec::new(),
            endpoint_pod_names: false,
            ignores_empty_services: false,
            fallthrough: Fallthrough::Never,
        };
        for property in &line.block {
            self.no_block(property);
            self.kubernetes_property(property, &mut kubernetes);
        }
        server.kubernetes = Some(kubernetes);
    }

    fn kubernetes_property(&mut self, line: &Line, kubernetes: &mut Kubernetes) {
        match line.name.text.as_str() {
            "pods" => {
                let Some(word) = self.only_argument(line) else { return };
                kubernetes.pods = self.take(word, words::pod_mode(&word.text)).unwrap_or_default();
            }
            "ttl" => {
                let Some(word) = self.only_argument(line) else { return };
                kubernetes.ttl = self.take(word, words::number(&word.text, TTLS)).unwrap_or(TTL);
            }
            "namespaces" => {
                let Some(words) = self.arguments(line, (1, usize::MAX)) else { return };
                kubernetes.namespaces.extend(words.iter().map(|word| word.text.clone()));
            }
            "endpoint_pod_names" => kubernetes.endpoint_pod_names |= self.arguments(line, (0, 0)).is_some(),
            "noendpoints" => {
                self.wrong(
                    &line.name,
                    "`noendpoints` is not understood: headless Services would have no names",
                );
            }
            "fallthrough" => kubernetes.fallthrough = words::fallthrough(self.zones(&line.arguments)),
            "ignore" => {
                let Some(word) = self.only_argument(line) else { return };
                if word.text != "empty_service" {
                    return self
                        .wrong(word, format!("`{}` is not understood, only empty_service", word.text));
                }
                kubernetes.ignores_empty_services = true;
            }
            "tls" => self.wrong(&line.name, "`tls` is not understood: keys are given in a `kubeconfig`"),
            "endpoint" | "kubeconfig" => self.api(line, &mut kubernetes.api),
            // The deprecated way to say what is usual by now.
            "upstream" if line.arguments.is_empty() => {}
            name if NOT_SELECTED.contains(&name) => {
                self.wrong(
                    &line.name,
                    format!("`{name}` is not understood: all Services of the cluster have names"),
                );
            }
            _ => self.unknown(line, "kubernetes"),
        }
    }

    fn api(&mut self, line: &Line, api: &mut Option<Api>) {
        let name = line.name.text.as_str();
        if api.is_some() {
            return self.wrong(&line.name, format!("`{name}`: the API server is given already"));
        }
        if name == "kubeconfig" && line.arguments.len() == 2 {
            return self.wrong(&line.arguments[1], "only the current context of the file is understood");
        }
        let Some(word) = self.only_argument(line) else { return };
        if name == "kubeconfig" {
            *api = Some(Api::Kubeconfig(PathBuf::from(&word.text)));
            return;
        }
        let is_url = ["http://", "https://"].iter().any(|scheme| word.text.starts_with(scheme));
        *api = Some(Api::Endpoint(if is_url { word.text.clone() } else { format!("http://{}", word.text) }));
    }
}
