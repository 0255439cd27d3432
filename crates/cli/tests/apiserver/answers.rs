//! All recorded answers, as `cargo xtask conformance --api` plays them.

use std::path::Path;
use std::sync::Mutex;

use testkit::answers::{self, Lists, OwnServer, Setup, Tell};

use super::machine::{Folder, ROOT, SIGNALBOX, brought};

#[test]
fn recorded_answers_are_given() {
    let list =
        |name: &str| std::fs::read_to_string(format!("{ROOT}/conformance/api/{name}")).unwrap_or_default();
    let cases = answers::load(&Path::new(ROOT).join("conformance/api/cases")).unwrap();
    let lists = Lists::parse(&list("better.txt"), &list("expected-failures.txt"), &cases).unwrap();
    let folder = Folder::new();
    let server = OwnServer::for_recorded(Path::new(SIGNALBOX), &folder.path().join("data")).unwrap();
    let access = server.access().clone();
    let server = Mutex::new(server);
    let restart = |_: &str| server.lock().unwrap().restart();
    let kubectl = brought(answers::installed_kubectl(), "kubectl");
    let setup = Setup { access, kubectl, compact: Some(&restart), home: folder.path().join("home") };
    let mut told = Vec::new();
    let mut tell = Tell { to: &mut |line| told.push(line.to_owned()), verbose: false };
    let summary = answers::run(&cases, &setup, &lists, &mut tell).unwrap();
    println!("{}\n{summary}", told.join("\n"));
    assert_eq!(summary.failures, [""; 0], "{summary}");
    assert!(summary.passed > 350, "{summary}");
}
