//! kubectl as people use it, with the kubeconfig that the server writes.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use testkit::answers;

use super::machine::{Machine, brought};

const MANIFEST: &str = "\
apiVersion: v1
kind: Namespace
metadata:
  name: shop
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
  namespace: shop
data:
  colour: red
---
# The front door.
apiVersion: v1
kind: Service
metadata:
  name: door
  namespace: shop
spec:
  type: NodePort
  selector: {app: door}
  ports:
  - {name: http, port: 80, targetPort: 8080}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: door
  namespace: shop
spec:
  replicas: 2
  selector:
    matchLabels: {app: door}
  template:
    metadata:
      labels: {app: door}
    spec:
      containers:
      - name: door
        image: registry.example/door:1
        ports:
        - containerPort: 8080
";

/// kubectl and a server for it.
pub(crate) struct Desk {
    machine: Machine,
    program: PathBuf,
}

impl Desk {
    pub(crate) fn new() -> Option<Self> {
        let program = brought(answers::installed_kubectl(), "kubectl")?;
        Some(Self { machine: Machine::start(), program })
    }

    fn command(&self, line: &str) -> Command {
        let home = self.machine.folder.path().join("home");
        std::fs::create_dir_all(&home).unwrap();
        let mut command = Command::new(&self.program);
        command.args(line.split_whitespace()).current_dir(&home).env("HOME", &home).env("TZ", "UTC");
        command.env("KUBECONFIG", self.machine.server.kubeconfig()).env_remove("KUBE_EDITOR");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command that must succeed and warn of nothing; answers what it printed.
    #[track_caller]
    pub(crate) fn ok(&self, line: &str, input: &str) -> String {
        let (is_success, stdout, stderr) = finish(self.command(line).spawn().unwrap(), input);
        assert!(is_success && stderr.is_empty(), "kubectl {line}\n{stdout}{stderr}");
        stdout
    }

    /// Runs a command; answers whether it succeeded, and what it printed and complained about.
    pub(crate) fn tries(&self, line: &str) -> (bool, String, String) {
        finish(self.command(line).spawn().unwrap(), "")
    }

    #[track_caller]
    pub(crate) fn prints(&self, line: &str, expected: &str) {
        assert_eq!(self.ok(line, "").trim_end(), expected, "kubectl {line}");
    }

    /// Runs a command that must fail; answers what it complained about.
    #[track_caller]
    pub(crate) fn fails(&self, line: &str, input: &str) -> String {
        let (is_success, stdout, stderr) = finish(self.command(line).spawn().unwrap(), input);
        assert!(!is_success, "kubectl {line} succeeded\n{stdout}{stderr}");
        stderr
    }
}

fn finish(mut child: Child, input: &str) -> (bool, String, String) {
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn manifests_are_applied_changed_and_deleted() {
    let Some(desk) = Desk::new() else { return };
    let created = "namespace/shop created\nconfigmap/settings created\nservice/door created\ndeployment.apps/door created\n";
    assert_eq!(desk.ok("apply -f -", MANIFEST), created);
    let unchanged = created.replace("created", "unchanged");
    assert_eq!(desk.ok("apply -f -", MANIFEST), unchanged);
    let port = desk.ok("-n shop get service door -o jsonpath={.spec.ports[0].nodePort}", "");

    let changed = MANIFEST.replace("colour: red", "colour: blue").replace("replicas: 2", "replicas: 5");
    let configured = unchanged
        .replace("settings unchanged", "settings configured")
        .replace("deployment.apps/door unchanged", "deployment.apps/door configured");
    assert!(desk.ok_diff(&changed).contains("+  colour: blue"));
    assert_eq!(desk.ok("apply -f -", &changed), configured);
    desk.prints("-n shop get cm settings -o jsonpath={.data.colour}", "blue");
    desk.prints("-n shop get deploy door -o jsonpath={.spec.replicas}", "5");
    desk.prints("-n shop get service door -o jsonpath={.spec.ports[0].nodePort}", &port);

    let wrong = MANIFEST.replace("replicas: 2", "replica: 2");
    let complaint = desk.fails("apply -f -", &wrong);
    assert!(complaint.contains("unknown field \"spec.replica\""), "{complaint}");
    let wrong = MANIFEST.replace("port: 80,", "port: 80000,");
    let complaint = desk.fails("apply -f -", &wrong);
    assert!(complaint.contains("spec.ports[0].port: Invalid value: 80000"), "{complaint}");

    // The namespace may take the others with it before they are asked for.
    let deleted = desk.ok("delete -f - --ignore-not-found --timeout=20s", MANIFEST);
    assert!(deleted.contains("namespace \"shop\" deleted"), "{deleted}");
    desk.prints("get cm,svc,deploy -A -o name --field-selector=metadata.namespace=shop", "");
    assert!(desk.fails("get namespace shop", "").contains("NotFound"));
}

impl Desk {
    /// `kubectl diff` ends with 1 where something differs.
    fn ok_diff(&self, manifest: &str) -> String {
        let (is_same, stdout, stderr) = finish(self.command("diff -f -").spawn().unwrap(), manifest);
        assert!(!is_same && stderr.is_empty(), "{stdout}{stderr}");
        stdout
    }
}

#[test]
fn managers_meet_in_conflicts() {
    let Some(desk) = Desk::new() else { return };
    let manifest = |colour: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata: {{colour: {colour}}}\n")
    };
    let apply = |manager: &str| format!("apply --server-side --field-manager={manager} -f -");
    assert_eq!(desk.ok(&apply("one"), &manifest("red")), "configmap/c serverside-applied\n");
    assert_eq!(desk.ok(&apply("two"), &manifest("red")), "configmap/c serverside-applied\n");
    let complaint = desk.fails(&apply("two"), &manifest("blue"));
    assert!(complaint.contains("conflict with \"one\": .data.colour"), "{complaint}");
    let forced = desk.ok(&format!("{} --force-conflicts", apply("two")), &manifest("blue"));
    assert_eq!(forced, "configmap/c serverside-applied\n");
    desk.prints("get cm c -o jsonpath={.data.colour}", "blue");
}

#[test]
fn objects_are_made_and_changed_by_hand() {
    let Some(desk) = Desk::new() else { return };
    desk.prints("create service clusterip web --tcp=80:8080", "service/web created");
    desk.prints("create configmap c --from-literal=k=v", "configmap/c created");
    desk.prints("create deployment d --image=i --replicas=1", "deployment.apps/d created");
    desk.prints("create secret generic s --from-literal=p=q", "secret/s created");
    desk.prints("create serviceaccount a", "serviceaccount/a created");
    assert!(desk.fails("create configmap c", "").contains("\"c\" already exists"));

    desk.prints("label service web tier=front", "service/web labeled");
    assert!(desk.fails("label service web tier=back", "").contains("--overwrite"));
    desk.prints("label service web tier=back --overwrite", "service/web labeled");
    desk.prints("annotate service web note=this", "service/web annotated");
    desk.prints("get svc -l tier=back -o jsonpath={.items[*].metadata.annotations.note}", "this");
    desk.prints("label service web tier-", "service/web unlabeled");

    desk.prints(
        r#"patch service web -p {"spec":{"ports":[{"port":80,"targetPort":9090}]}}"#,
        "service/web patched",
    );
    desk.prints(r#"patch service web --type=merge -p {"spec":{"type":"NodePort"}}"#, "service/web patched");
    let json = r#"patch service web --type=json -p [{"op":"replace","path":"/spec/ports/0/targetPort","value":"http"}]"#;
    desk.prints(json, "service/web patched");
    desk.prints("get svc web -o jsonpath={.spec.type}/{.spec.ports[*].targetPort}", "NodePort/http");

    desk.prints("scale deployment d --replicas=3", "deployment.apps/d scaled");
    desk.prints("get deployment d -o jsonpath={.spec.replicas}", "3");
    desk.prints("set image deployment/d i=other", "deployment.apps/d image updated");
    desk.prints("expose deployment d --port=81 --name=front", "service/front exposed");
    desk.prints("get svc front -o jsonpath={.spec.selector.app}:{.spec.ports[0].port}", "d:81");

    desk.prints("delete svc web", "service \"web\" deleted");
    desk.prints("delete cm --all --now", "configmap \"c\" deleted");
    desk.prints("get svc,cm -o name", "service/front\nservice/kubernetes");
}

#[test]
fn an_editor_changes_objects() {
    let Some(desk) = Desk::new() else { return };
    desk.ok("create configmap c --from-literal=k=old", "");
    let edit = |editor: &str| {
        let mut command = desk.command("edit configmap c");
        finish(command.env("KUBE_EDITOR", editor).spawn().unwrap(), "")
    };
    let (is_success, stdout, _) = edit("sed -i s/old/new/");
    assert_eq!((is_success, stdout.as_str()), (true, "configmap/c edited\n"));
    desk.prints("get cm c -o jsonpath={.data.k}", "new");
    let (is_success, stdout, stderr) = edit("true");
    assert!(is_success, "{stderr}");
    assert!(format!("{stdout}{stderr}").contains("no changes made"), "{stdout}{stderr}");
}

#[test]
fn what_is_printed_is_accepted_back() {
    let Some(desk) = Desk::new() else { return };
    // What is created is not annotated with what was applied.
    desk.ok("create -f -", MANIFEST);
    for (what, said) in [
        ("service door", "service/door replaced\n"),
        ("configmap settings", "configmap/settings replaced\n"),
        ("deployment door", "deployment.apps/door replaced\n"),
    ] {
        let before = desk.ok(&format!("-n shop get {what} -o yaml"), "");
        assert_eq!(desk.ok("replace -f -", &before), said);
        // Nothing was changed, so it is the same revision.
        assert_eq!(desk.ok(&format!("-n shop get {what} -o yaml"), ""), before);
        let json = desk.ok(&format!("-n shop get {what} -o json"), "");
        assert_eq!(desk.ok("replace -f -", &json), said);
    }
    let old = desk.ok("-n shop get cm settings -o yaml", "");
    desk.ok("-n shop label cm settings x=y", "");
    let complaint = desk.fails("replace -f -", &old);
    assert!(complaint.contains("the object has been modified"), "{complaint}");
}

#[test]
fn objects_are_described_and_explained() {
    let Some(desk) = Desk::new() else { return };
    desk.ok("apply -f -", MANIFEST);
    let described = desk.ok("-n shop describe service door", "");
    for expected in [
        "Name:                     door",
        "Selector:                 app=door",
        "TargetPort:               8080/TCP",
    ] {
        assert!(described.contains(expected), "{expected}\n{described}");
    }
    let described = desk.ok("-n shop describe deployment door", "");
    assert!(described.contains("Image:") && described.contains("registry.example/door:1"), "{described}");
    assert!(desk.ok("describe namespace shop", "").contains("Status:       Active"));
    let explained = desk.ok("explain service.spec.ports", "");
    for expected in [
        "KIND:       Service",
        "FIELD: ports <[]ServicePort>",
        "nodePort\t<integer>",
        "port\t<integer> -required-",
    ] {
        assert!(explained.contains(expected), "{expected}\n{explained}");
    }
    assert!(desk.ok("explain endpointslice.endpoints.conditions", "").contains("serving\t<boolean>"));
    assert!(desk.fails("explain service.nope", "").contains("field \"nope\" does not exist"));
    let resources = desk.ok("api-resources", "");
    for expected in ["services", "endpointslices", "deployments", "leases"] {
        assert!(resources.lines().any(|line| line.starts_with(expected)), "{expected}\n{resources}");
    }
    assert!(desk.ok("get --raw /version", "").contains("v1.36"));
}

#[test]
fn changes_are_watched_and_waited_for() {
    let Some(desk) = Desk::new() else { return };
    desk.ok("create configmap first --from-literal=k=v", "");
    let mut command = desk
        .command("get configmaps -w --output-watch-events --no-headers --field-selector=metadata.name!=x");
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || {
        let line = lines.next().unwrap().unwrap();
        line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(next(), "ADDED first");
    desk.ok("create configmap x", "");
    desk.ok("create configmap second", "");
    desk.ok("label configmap second a=b", "");
    desk.ok("delete configmap second", "");
    for expected in ["ADDED second", "MODIFIED second", "DELETED second"] {
        assert_eq!(next(), expected);
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let waiting = desk.command("wait --for=delete configmap/first --timeout=20s").spawn().unwrap();
    desk.ok("delete configmap first", "");
    assert!(finish(waiting, "").0);
    let waiting = desk.command("wait --for=jsonpath={.data.k}=w configmap/x --timeout=20s").spawn().unwrap();
    desk.ok(r#"patch configmap x -p {"data":{"k":"w"}}"#, "");
    let (is_success, stdout, stderr) = finish(waiting, "");
    assert_eq!((is_success, stdout.as_str()), (true, "configmap/x condition met\n"), "{stderr}");
    assert!(desk.fails("wait --for=create configmap/never --timeout=1s", "").contains("timed out"));
}
