//! `kubernetes`: the cluster's names.

use std::path::PathBuf;

use super::super::words::{self, TTLS};
use super::super::{Api, Completion, Kubernetes, SearchPath, Server};
use super::Reading;
use super::tree::Line;

/// What selects a part of the namespaces: which of them are there would change with their labels.
const NOT_SELECTED: &str = "`namespace_labels` is not understood: namespaces are selected by `namespaces`";
/// How much a client of an API server may ask. There are four watches here, and nothing else.
const RATES: [&str; 3] = ["apiserver_qps", "apiserver_burst", "apiserver_max_inflight"];

impl Reading {
    pub(super) fn kubernetes(&mut self, line: &Line, server: &mut Server) {
        let zones = self.zones_or(&line.arguments, server);
        let mut kubernetes = Kubernetes::new(zones);
        let mut tls = None;
        for property in &line.block {
            self.no_block(property);
            if property.name.text == "tls" {
                let files = self.arguments(property, (3, 3));
                tls = files.map(|files| [0, 1, 2].map(|at| PathBuf::from(&files[at].text)));
            } else {
                self.kubernetes_property(property, &mut kubernetes);
            }
        }
        // Without an endpoint it means nothing, as in CoreDNS.
        if let Some(Api::Endpoint { tls: files, .. }) = &mut kubernetes.api {
            *files = tls;
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
                kubernetes.ttl = self.take(word, words::number(&word.text, TTLS)).unwrap_or(kubernetes.ttl);
            }
            "namespaces" => {
                let Some(words) = self.arguments(line, (1, usize::MAX)) else { return };
                kubernetes.namespaces.extend(words.iter().map(|word| word.text.clone()));
            }
            "endpoint_pod_names" => kubernetes.endpoint_pod_names |= self.arguments(line, (0, 0)).is_some(),
            "noendpoints" => kubernetes.has_endpoints &= self.arguments(line, (0, 0)).is_none(),
            "labels" => {
                let Some(words) = self.arguments(line, (1, usize::MAX)) else { return };
                let words: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
                kubernetes.labels = words.join(" ");
            }
            "startup_timeout" => {
                let Some(word) = self.only_argument(line) else { return };
                kubernetes.patience = self.take(word, words::time(&word.text)).unwrap_or(kubernetes.patience);
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
            "endpoint" | "kubeconfig" => self.api(line, &mut kubernetes.api),
            // The deprecated way to say what is usual by now.
            "upstream" if line.arguments.is_empty() => {}
            "namespace_labels" => self.wrong(&line.name, NOT_SELECTED),
            name if RATES.contains(&name) => {
                let Some(word) = self.only_argument(line) else { return };
                if word.text.parse::<f64>().is_err() {
                    self.wrong(word, format!("`{}` is no number", word.text));
                }
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
        if name == "kubeconfig" {
            let Some(word) = self.only_argument(line) else { return };
            *api = Some(Api::Kubeconfig(PathBuf::from(&word.text)));
            return;
        }
        // Several were a way to spread load once; CoreDNS takes the first, too.
        let Some([word, ..]) = self.arguments(line, (1, usize::MAX)) else { return };
        let is_url = ["http://", "https://"].iter().any(|scheme| word.text.starts_with(scheme));
        let url = if is_url { word.text.clone() } else { format!("http://{}", word.text) };
        *api = Some(Api::Endpoint { url, tls: None });
    }

    /// `autopath [ZONES...] @kubernetes|FILE`. It says something about the cluster's names.
    pub(super) fn autopath(&mut self, line: &Line, server: &mut Server) {
        self.no_block(line);
        let Some([zones @ .., by]) = self.arguments(line, (1, usize::MAX)) else { return };
        let zones = self.zones_or(zones, server);
        let by = match by.text.as_str() {
            "@kubernetes" => SearchPath::OfPods,
            other if other.starts_with('@') => {
                return self.wrong(by, format!("`{other}` is not understood, only @kubernetes"));
            }
            file => SearchPath::File(PathBuf::from(file)),
        };
        server.completes = Some(Completion { zones, by });
    }
}
