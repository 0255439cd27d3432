//! All recorded answers, as `cargo xtask conformance --api` plays them.

use std::path::Path;
use std::sync::Mutex;

use testkit::answers::{self, Case, Lists, OwnServer, Setup, Tell};

use super::machine::{Folder, ROOT, SIGNALBOX, brought};

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
    summary.passed
}
