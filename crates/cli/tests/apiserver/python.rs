//! Kubernetes' client library for Python: typed calls, and an informer's list and watch across a restart.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::machine::{Machine, ROOT, brought};

#[test]
fn a_client_library_works() {
    let python = PathBuf::from(format!("{ROOT}/target/tools/python/bin/python"));
    let Some(python) = brought(Some(python).filter(|python| python.exists()), "Python with kubernetes")
    else {
        return;
    };
    let mut machine = Machine::start();
    let mut child = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/apiserver/client.py"))
        .arg(machine.server.kubeconfig())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut told = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // The script asks for what only this side can do.
        if line == "restart, please" {
            machine.server.restart().unwrap();
            writeln!(stdin, "done").unwrap();
        }
        told.push(line);
    }
    assert!(child.wait().unwrap().success(), "{}", told.join("\n"));
    assert_eq!(told.last().map(String::as_str), Some("all is well"), "{}", told.join("\n"));
}
