//! The Kubernetes objects of `deploy/`, and what they promise to each other and to the program.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use testkit::apiserver::Record;

/// The objects, in the order of the files.
pub(super) struct Manifests(Vec<Value>);

impl Manifests {
    /// Reads the files that `deploy/kustomization.yaml` names.
    pub(super) fn read(project: &Path) -> Result<Self> {
        let folder = project.join("deploy");
        let kustomization =
            fs::read_to_string(folder.join("kustomization.yaml")).context("kustomization.yaml")?;
        let kustomization: Value = serde_saphyr::from_str(&kustomization).context("kustomization.yaml")?;
        let mut texts = Vec::new();
        for name in kustomization["resources"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            texts.push(fs::read_to_string(folder.join(name)).with_context(|| name.to_owned())?);
        }
        Self::parse(&texts.join("\n---\n"))
    }

    fn parse(text: &str) -> Result<Self> {
        let objects: Result<Vec<Value>, _> = text.split("\n---\n").map(serde_saphyr::from_str).collect();
        Ok(Self(objects.context("a manifest")?))
    }

    pub(super) fn of_kind(&self, kind: &str) -> Result<&Value> {
        match self.0.iter().filter(|object| object["kind"] == kind).collect::<Vec<_>>()[..] {
            [object] => Ok(object),
            [] | [_, _, ..] => bail!("not exactly one {kind}"),
        }
    }

    /// The DaemonSet's only container.
    pub(super) fn container(&self) -> Result<&Value> {
        let containers = &self.of_kind("DaemonSet")?["spec"]["template"]["spec"]["containers"];
        containers.get(0).filter(|_| containers.get(1).is_none()).context("not exactly one container")
    }

    /// Whether the ClusterRole allows a request.
    pub(super) fn allow(&self, request: &Record) -> Result<bool> {
        let Some((group, resource, verb)) = meaning(request) else { return Ok(true) };
        let rules = self.of_kind("ClusterRole")?["rules"].as_array().context("a role without rules")?;
        let has = |rule: &Value, list: &str, wanted: &str| {
            rule[list].as_array().is_some_and(|list| list.iter().any(|word| word == wanted))
        };
        Ok(rules.iter().any(|rule| {
            has(rule, "apiGroups", &group) && has(rule, "resources", &resource) && has(rule, "verbs", verb)
        }))
    }
}

/// Group, resource and verb of a request, as RBAC sees it; `None` for paths that are no resource.
pub(super) fn meaning(request: &Record) -> Option<(String, String, &'static str)> {
    let mut parts = request.path.trim_matches('/').split('/');
    let group = match parts.next()? {
        "api" => "",
        "apis" => parts.next()?,
        _ => return None,
    };
    let _version = parts.next()?;
    let mut rest: Vec<&str> = parts.collect();
    if let ["namespaces", _, _, ..] = rest[..] {
        rest.drain(..2);
    }
    let resource = *rest.first()?;
    let is_object = rest.len() > 1;
    let verb = match request.method.as_str() {
        "GET" if request.parameter("watch").is_some_and(|watch| watch != "false") => "watch",
        "GET" if is_object => "get",
        "GET" => "list",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" if is_object => "delete",
        "DELETE" => "deletecollection",
        _ => return None,
    };
    Some((group.to_owned(), resource.to_owned(), verb))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::process::Command;
    use std::time::Duration;
    use testkit::apiserver::{ApiServer, Behaviour, Options, Resource, WatchList};

    fn manifests() -> Manifests {
        Manifests::read(crate::root().unwrap()).unwrap()
    }

    /// What `kubectl kustomize` makes of a folder; `None`, after a loud line, without kubectl.
    fn rendered(folder: &Path) -> Option<Manifests> {
        if Command::new("kubectl").args(["version", "--client"]).output().is_err() {
            eprintln!("SKIPPED (needs kubectl): what kustomize makes of deploy/");
            return None;
        }
        let output = Command::new("kubectl").arg("kustomize").arg(folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(Manifests::parse(&String::from_utf8(output.stdout).unwrap()).unwrap())
    }

    /// Each object with its place and name.
    fn names(manifests: &Manifests) -> BTreeSet<String> {
        let name = |object: &Value| {
            let place = object["metadata"]["namespace"].as_str().unwrap_or_default();
            format!(
                "{} {place}/{}",
                object["kind"].as_str().unwrap(),
                object["metadata"]["name"].as_str().unwrap()
            )
        };
        manifests.0.iter().map(name).collect()
    }

    #[test]
    fn everything_is_named_as_kubeadm_names_it() {
        let expected = [
            "ClusterRole /signalbox",
            "ClusterRoleBinding /signalbox",
            "ConfigMap kube-system/kube-proxy",
            "DaemonSet kube-system/kube-proxy",
            "ServiceAccount kube-system/kube-proxy",
        ];
        let manifests = manifests();
        assert_eq!(names(&manifests), expected.map(str::to_owned).into());
        let set = manifests.of_kind("DaemonSet").unwrap();
        let labels = serde_json::json!({"k8s-app": "kube-proxy"});
        for at in ["/metadata/labels", "/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
            assert_eq!(set.pointer(at), Some(&labels), "{at}");
        }
        let binding = manifests.of_kind("ClusterRoleBinding").unwrap();
        let role = manifests.of_kind("ClusterRole").unwrap();
        let account = manifests.of_kind("ServiceAccount").unwrap();
        assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
        assert_eq!(binding["subjects"][0]["name"], account["metadata"]["name"]);
        assert_eq!(binding["subjects"][0]["namespace"], account["metadata"]["namespace"]);
        assert_eq!(set["spec"]["template"]["spec"]["serviceAccountName"], account["metadata"]["name"]);
    }

    #[test]
    fn kustomize_makes_the_same_objects_with_this_version_of_the_image() {
        let Some(rendered) = rendered(&crate::root().unwrap().join("deploy")) else { return };
        let read = manifests();
        assert_eq!(names(&rendered), names(&read));
        for kind in ["ClusterRole", "ClusterRoleBinding", "ConfigMap", "ServiceAccount"] {
            assert_eq!(rendered.of_kind(kind).unwrap(), read.of_kind(kind).unwrap());
        }
        let mut container = rendered.container().unwrap().clone();
        assert_eq!(container["image"], concat!("signalbox:", env!("CARGO_PKG_VERSION")));
        container["image"] = "signalbox".into();
        assert_eq!(&container, read.container().unwrap());
    }

    /// What kustomize makes of `deploy/` after these replacements in its kustomization.yaml.
    fn changed(name: &str, replacements: &[(&str, &str)]) -> Option<Manifests> {
        let folder = std::env::temp_dir().join(format!("signalbox-deploy-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for entry in fs::read_dir(crate::root().unwrap().join("deploy")).unwrap().map(Result::unwrap) {
            if entry.path().extension().is_some_and(|e| e == "yaml") {
                fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
            }
        }
        let mut text = fs::read_to_string(folder.join("kustomization.yaml")).unwrap();
        for (from, to) in replacements {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        fs::write(folder.join("kustomization.yaml"), text).unwrap();
        let changed = rendered(&folder);
        fs::remove_dir_all(&folder).unwrap();
        changed
    }

    #[test]
    fn names_take_a_flag_a_capability_and_a_role_more() {
        let replacements = [
            ("# patches:", "patches:"),
            ("# - path: names.yaml", "- path: names.yaml"),
            ("- daemonset.yaml", "- daemonset.yaml\n- rbac-names.yaml"),
        ];
        let Some(patched) = changed("names", &replacements) else { return };
        let mut expected = manifests().container().unwrap().clone();
        expected["image"] = concat!("signalbox:", env!("CARGO_PKG_VERSION")).into();
        expected["command"].as_array_mut().unwrap().push("--dns".into());
        expected["securityContext"]["capabilities"]["add"] =
            serde_json::json!(["NET_ADMIN", "NET_BIND_SERVICE", "SYS_RESOURCE"]);
        assert_eq!(patched.container().unwrap(), &expected);
        let roles: Vec<&Value> = patched.0.iter().filter(|object| object["kind"] == "ClusterRole").collect();
        let role = roles.iter().find(|role| role["metadata"]["name"] == "signalbox-names").unwrap();
        let rules =
            serde_json::json!([{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"]}]);
        assert_eq!(role["rules"], rules);
    }

    #[test]
    fn the_patch_makes_settings_in_a_container_of_its_own_and_changes_nothing_else() {
        let replacements = [("# patches:", "patches:"), ("# - path: settings.yaml", "- path: settings.yaml")];
        let Some(patched) = changed("settings", &replacements) else { return };
        let mut expected = manifests().container().unwrap().clone();
        let image: Value = concat!("signalbox:", env!("CARGO_PKG_VERSION")).into();
        expected["image"] = image.clone();
        assert_eq!(patched.container().unwrap(), &expected);
        let pod = &patched.of_kind("DaemonSet").unwrap()["spec"]["template"]["spec"];
        let [settings] = &pod["initContainers"].as_array().unwrap()[..] else { panic!("{pod}") };
        assert_eq!(settings["image"], image);
        assert_eq!(
            settings["securityContext"],
            serde_json::json!({"privileged": true, "readOnlyRootFilesystem": true})
        );
        let words = settings["command"].as_array().unwrap();
        assert!(words.contains(&"--init-only".into()), "{words:?}");
        // The same program with the same configuration, from the same place.
        for word in words.iter().filter(|word| *word != "--init-only") {
            assert!(expected["command"].as_array().unwrap().contains(word), "{word}");
        }
        assert!(expected["volumeMounts"].as_array().unwrap().contains(&settings["volumeMounts"][0]));
    }

    #[test]
    fn the_manifest_grants_what_the_cases_run_with() {
        let manifests = manifests();
        let context = &manifests.container().unwrap()["securityContext"];
        let mut granted: Vec<_> = context["capabilities"]["add"].as_array().unwrap().iter().collect();
        granted.sort_by_key(|name| name.as_str());
        let expected: Vec<_> = crate::contain::CAPABILITIES.iter_names().map(|(name, _)| name).collect();
        assert_eq!(granted, expected);
        assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]));
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["privileged"], Value::Null);
    }

    #[test]
    fn the_configuration_is_kubeadms_but_for_the_mode() {
        let manifests = manifests();
        let text = manifests.of_kind("ConfigMap").unwrap()["data"]["config.conf"].as_str().unwrap();
        let ours: Value = serde_saphyr::from_str(text).unwrap();
        let kubeadm = crate::root().unwrap().join("crates/cli/tests/kubeadm.yaml");
        let mut expected: Value = serde_saphyr::from_str(&fs::read_to_string(kubeadm).unwrap()).unwrap();
        expected["mode"] = "nftables".into();
        assert_eq!(ours, expected);
    }

    /// What the source really asks, of servers that stream lists and of servers that do not.
    fn asked() -> Vec<Record> {
        let mut asked = Vec::new();
        for watch_list in [WatchList::Served, WatchList::Forbidden] {
            let behaviour = Behaviour { watch_list, ..Behaviour::default() };
            let server = ApiServer::start(Options { behaviour, ..Options::default() }).unwrap();
            let config = watch::ApiConfig::new(None, Some(server.url()), "n1");
            let events_config = config.clone();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (sink, mut events) = tokio::sync::mpsc::channel(100);
                let source = tokio::spawn(watch::run(config, watch::Progress::default(), sink));
                let mut lists = 0;
                while lists < objects::Kind::ALL.len() {
                    let event = tokio::time::timeout(Duration::from_secs(20), events.recv()).await;
                    lists += usize::from(matches!(event, Ok(Some(objects::Event::ListFinished(_)))));
                }
                // The watches that follow the lists.
                tokio::time::sleep(Duration::from_millis(500)).await;
                source.abort();
                // An event, and the same once more.
                let (recorder, recording) = watch::record_events(events_config);
                let recording = tokio::spawn(recording);
                let starting = || watch::Happening {
                    kind: watch::EventType::Normal,
                    regarding: watch::Regarding::Node,
                    reason: "Starting",
                    action: "StartKubeProxy",
                    note: String::new(),
                };
                recorder.record(starting());
                while server.list(Resource::Events).is_empty() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                recorder.record(starting());
                drop(recorder);
                recording.await.unwrap();
            });
            asked.extend(server.take_requests());
        }
        asked
    }

    #[test]
    fn the_role_allows_what_is_asked_and_nothing_that_is_not() {
        let manifests = manifests();
        let asked = asked();
        for request in &asked {
            assert!(manifests.allow(request).unwrap(), "{request:?}");
        }
        let used: BTreeSet<_> = asked.iter().filter_map(meaning).collect();
        let mut granted = BTreeSet::new();
        let words = |rule: &Value, list: &str| -> Vec<String> {
            rule[list].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        for rule in manifests.of_kind("ClusterRole").unwrap()["rules"].as_array().unwrap() {
            for (group, resource) in words(rule, "apiGroups").iter().flat_map(|group| {
                words(rule, "resources").into_iter().map(move |resource| (group.clone(), resource))
            }) {
                granted
                    .extend(words(rule, "verbs").into_iter().map(|v| (group.clone(), resource.clone(), v)));
            }
        }
        let used: BTreeSet<_> = used.into_iter().map(|(g, r, verb)| (g, r, verb.to_owned())).collect();
        assert_eq!(granted, used);
    }

    #[test]
    fn requests_mean_what_rbac_takes_them_for() {
        let meant = |method: &str, path: &str, query: &[(&str, &str)]| {
            let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let request = Record {
                method: method.into(),
                path: path.into(),
                query,
                accept: String::new(),
                accept_encoding: String::new(),
                authorization: String::new(),
            };
            meaning(&request).map(|(group, resource, verb)| format!("{verb} {resource}.{group}"))
        };
        let check =
            |method, path, expected: &str| assert_eq!(meant(method, path, &[]).as_deref(), Some(expected));
        check("GET", "/api/v1/services", "list services.");
        check("GET", "/api/v1/nodes/n1", "get nodes.");
        check("POST", "/apis/events.k8s.io/v1/namespaces/default/events", "create events.events.k8s.io");
        check("PATCH", "/api/v1/namespaces/default/events/x", "patch events.");
        assert_eq!(meant("GET", "/api/v1/nodes", &[("watch", "true")]).as_deref(), Some("watch nodes."));
        assert_eq!(meant("GET", "/healthz", &[]), None);
    }
}
