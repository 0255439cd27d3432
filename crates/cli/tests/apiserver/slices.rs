//! All recorded histories of slices, with the controller against the API server, as `cargo xtask conformance --slices` plays
//! them.

use std::path::Path;

use testkit::answers::{self, Lists, OwnController, OwnServer, Setup, Tell};

use super::machine::{Folder, ROOT, SIGNALBOX};

#[test]
fn recorded_histories_give_the_recorded_slices() {
    let cases = answers::load(&Path::new(ROOT).join("conformance/slices")).unwrap();
    let folder = Folder::new();
    let server = OwnServer::for_recorded(Path::new(SIGNALBOX), &folder.path().join("data")).unwrap();
    let _controller = OwnController::start(&server, &[]).unwrap();
    let access = server.access().clone();
    let setup = Setup { access, kubectl: None, compact: None, home: folder.path().join("home") };
    let mut told = Vec::new();
    let mut tell = Tell { to: &mut |line| told.push(line.to_owned()), verbose: false };
    let summary = answers::run(&cases, &setup, &Lists::default(), &mut tell).unwrap();
    println!("{}\n{summary}", told.join("\n"));
    assert_eq!(summary.failures, [""; 0], "{summary}");
    assert_eq!((summary.passed, summary.skipped), (cases.len(), 0));
}
