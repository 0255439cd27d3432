//! All recorded answers, as `cargo xtask conformance --api` plays them.

use std::path::Path;
use std::sync::Mutex;

use testkit::answers::{self, Access, Case, Client, Lists, OwnServer, Setup, Tell};

use super::machine::{Folder, ROOT, SIGNALBOX, brought};
use super::replay::{block_on, list};

#[test]
fn recorded_answers_are_given() {
    let passed = play(|case| !case.needs_kubectl());
    assert!(passed > 350, "{passed}");
}

#[test]
fn kubectl_prints_what_was_recorded() {
    if brought(answers::installed_kubectl(), "kubectl").is_some() {
        let passed = play(Case::needs_kubectl);
        assert!(passed > 30, "{passed}");
    }
}

/// Plays some of the cases against a server of their own; answers how many passed.
fn play(is_wanted: fn(&Case) -> bool) -> usize {
    let list =
        |name: &str| std::fs::read_to_string(format!("{ROOT}/conformance/api/{name}")).unwrap_or_default();
    let mut cases = answers::load(&Path::new(ROOT).join("conformance/api/cases")).unwrap();
    let lists = Lists::parse(&list("better.txt"), &list("expected-failures.txt"), &cases).unwrap();
    cases.retain(is_wanted);
    let folder = Folder::new();
    let server = OwnServer::for_recorded(Path::new(SIGNALBOX), &folder.path().join("data")).unwrap();
    let access = server.access().clone();
    let server = Mutex::new(server);
    let restart = |_: &str| server.lock().unwrap().restart();
    let kubectl = answers::installed_kubectl();
    let setup = Setup { access, kubectl, compact: Some(&restart), home: folder.path().join("home") };
    let mut told = Vec::new();
    let mut tell = Tell { to: &mut |line| told.push(line.to_owned()), verbose: false };
    let summary = answers::run(&cases, &setup, &lists, &mut tell).unwrap();
    println!("{}\n{summary}", told.join("\n"));
    assert_eq!(summary.failures, [""; 0], "{summary}");
    nothing_is_left(&setup.access);
    summary.passed
}

/// The cases removed what they made, with finalizers and without controllers.
fn nothing_is_left(access: &Access) {
    for (path, expected) in [
        ("/api/v1/namespaces", &["default", "kube-node-lease", "kube-public", "kube-system"][..]),
        ("/api/v1/services", &["kubernetes"]),
        ("/api/v1/configmaps", &[]),
        ("/api/v1/pods", &[]),
        ("/api/v1/nodes", &[]),
        ("/apis/apps/v1/deployments", &[]),
    ] {
        let left = block_on(list(&mut Client::new(access), path, None)).unwrap();
        assert_eq!(left.objects.keys().collect::<Vec<_>>(), expected, "{path}");
    }
}
