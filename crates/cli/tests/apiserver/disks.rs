//! Starts that fail with one clear line, and disks that fail while the server runs.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;
use testkit::answers::{Call, Client, OwnServer};

use super::machine::{Folder, Machine, SIGNALBOX};
use super::replay::block_on;

const COLLECTION: &str = "/api/v1/namespaces/default/configmaps";
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts a server that cannot start, and answers what it says.
#[track_caller]
fn refusal(words: &[&str]) -> String {
    let mut child = Command::new(SIGNALBOX)
        .arg("apiserver")
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it runs with {words:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success(), "{words:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The one line that says what is wrong has all parts.
#[track_caller]
fn check(words: &[&str], parts: &[&str]) {
    let said = refusal(words);
    let wrong: Vec<&str> =
        said.lines().filter(|line| line.contains("error:") || line.starts_with("signalbox:")).collect();
    assert!(wrong.len() == 1 && parts.iter().all(|part| wrong[0].contains(part)), "{words:?}: {said}");
}

#[test]
fn bad_flags_are_named() {
    let folder = Folder::new();
    let data = folder.path().join("data").display().to_string();
    let data = data.as_str();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let ranges = "--service-cluster-ip-range";
    let ports = "--service-node-port-range";
    check(&["--data", data, "--listen", &taken], &["--listen", &taken, "in use"]);
    check(&["--data", data, "--listen", "nowhere"], &["--listen", "nowhere"]);
    check(&["--data", data, ranges, "10.96.0.0"], &[ranges, "10.96.0.0"]);
    check(&["--data", data, ranges, "10.96.0.0/33"], &[ranges, "10.96.0.0/33"]);
    check(&["--data", data, ranges, "10.96.0.0/16,10.97.0.0/16"], &[ranges, "one family"]);
    check(&["--data", data, ranges, "10.96.0.0/16,fd00::/112,fd01::/112"], &[ranges, "not 3"]);
    check(&["--data", data, ranges, "10.96.0.1/32"], &[ranges, "10.96.0.1/32"]);
    check(&["--data", data, ports, "32767-30000"], &[ports, "32767-30000"]);
    check(&["--data", data, ports, "0-70000"], &[ports, "0-70000"]);
    check(&["--data", data, "--token-auth-file", "/nowhere"], &["/nowhere", "no such file"]);
    check(&["--data", data, "--grant", "x"], &["grant", "\"x\""]);
    check(&["--data", "/proc/nowhere"], &["--data", "/proc/nowhere"]);
    check(&["--data", "/dev/null"], &["--data", "/dev/null"]);
}

#[test]
fn a_directory_belongs_to_one_server() {
    let machine = Machine::start();
    let data = machine.folder.path().join("data").display().to_string();
    check(&["--data", &data, "--listen", "127.0.0.1:0"], &["objects.redb", "another process has it open"]);
}

#[test]
fn what_is_damaged_is_named_and_not_served() {
    let mut machine = Machine::start();
    let data = machine.folder.path().join("data");
    block_on(async {
        let mut client = Client::new(machine.server.access());
        for number in 0..50 {
            let object =
                json!({"metadata": {"name": format!("a{number}")}, "data": {"text": "precious".repeat(50)}});
            assert_eq!(client.call(&Call::json(Method::POST, COLLECTION, &object)).await.unwrap().code, 201);
        }
    });
    machine.server.kill();
    let file = data.join("objects.redb");
    let whole = fs::read(&file).unwrap();
    let shown = data.display().to_string();
    let words = ["--data", shown.as_str(), "--listen", "127.0.0.1:0"];
    let at = whole.windows(8).position(|window| window == b"precious").unwrap();
    let flipped = [&whole[..at], b"PRECIOUS", &whole[at + 8..]].concat();
    for (what, bytes) in [
        ("a value changed", flipped),
        ("the beginning is gone", [&vec![0; 4096][..], &whole[4096..]].concat()),
        ("half of it is gone", whole[..whole.len() / 2].to_vec()),
        ("all of it is gone", Vec::new()),
        ("it is something else", b"something else\n".repeat(10_000)),
    ] {
        fs::write(&file, bytes).unwrap();
        let said = refusal(&words);
        assert!(
            said.contains("objects.redb")
                && said.contains("damaged")
                && said.contains("nothing of it is served"),
            "{what}: {said}"
        );
        assert_eq!(said.lines().filter(|line| line.starts_with("signalbox:")).count(), 1, "{what}: {said}");
    }
    fs::write(&file, &whole).unwrap();
    let key = fs::read(data.join("pki/ca.key")).unwrap();
    fs::write(data.join("pki/ca.key"), "nothing").unwrap();
    check(&words, &["ca.key"]);
    fs::write(data.join("pki/ca.key"), key).unwrap();
    fs::set_permissions(data.join("pki/ca.key"), fs::Permissions::from_mode(0o644)).unwrap();
    check(&words, &["ca.key", "644"]);
    fs::set_permissions(data.join("pki/ca.key"), fs::Permissions::from_mode(0o600)).unwrap();
    machine.server.restart().unwrap();
}

/// A file system of its own that goes when it is dropped.
struct Small(Folder);

impl Small {
    /// `None`, after a loud line, without root.
    fn mount(size: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED (needs root): a disk that is full");
            return None;
        }
        let folder = Folder::new();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "tmpfs"])
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(mounted.success());
        Some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.path()).status());
    }
}

#[test]
fn a_full_disk_refuses_writes_and_is_written_again_when_there_is_room() {
    let Some(disk) = Small::mount("12m") else { return };
    let folder = Folder::new();
    let ballast = disk.path().join("ballast");
    // The log and the tokens are elsewhere: beside the data's name.
    let data = folder.path().join("data");
    std::os::unix::fs::symlink(disk.path(), &data).unwrap();
    let mut server = OwnServer::start(Path::new(SIGNALBOX), &data, &[]).unwrap();
    let create = |name: String| {
        Call::json(
            Method::POST,
            COLLECTION,
            &json!({"metadata": {"name": name}, "data": {"text": "x".repeat(60_000)}}),
        )
    };
    let mut written = Vec::new();
    block_on(async {
        let mut client = Client::new(server.access());
        written.push("first".to_owned());
        assert_eq!(client.call(&create("first".to_owned())).await.unwrap().code, 201);
        fs::write(&ballast, vec![1; 64 << 20]).unwrap_err();
        let mut refused = 0;
        for number in 0..200 {
            let name = format!("full-{number}");
            let answer = client.call(&create(name.clone())).await.unwrap();
            match answer.code {
                201 => written.push(name),
                code => {
                    let status = answer.json();
                    assert_eq!((code, &status["kind"]), (500, &json!("Status")), "{status}");
                    let message = status["message"].as_str().unwrap();
                    assert!(message.contains("failed to write to the store"), "{message}");
                    refused += 1;
                }
            }
            if refused == 5 {
                break;
            }
        }
        assert_eq!(refused, 5, "the disk is full");
        // What is there is served, and what was refused is not there.
        let list = client.call(&Call::new(Method::GET, COLLECTION)).await.unwrap().json();
        let count = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|item| item["metadata"]["name"] != "kube-root-ca.crt")
            .count();
        assert_eq!(count, written.len());
        fs::remove_file(&ballast).unwrap();
        let begin = Instant::now();
        loop {
            let answer = client.call(&create("roomy".to_owned())).await.unwrap();
            if answer.code == 201 {
                break;
            }
            assert!(begin.elapsed() < PATIENCE, "{}", answer.json());
        }
        written.push("roomy".to_owned());
    });
    server.kill();
    server.restart().unwrap();
    block_on(async {
        let mut client = Client::new(server.access());
        for name in &written {
            let got = client.call(&Call::new(Method::GET, &format!("{COLLECTION}/{name}"))).await.unwrap();
            assert_eq!(got.code, 200, "{name}");
        }
        let got = client.call(&Call::new(Method::GET, &format!("{COLLECTION}/full-199"))).await.unwrap();
        assert_eq!(got.code, 404);
    });
    assert!(server.log().contains("the store's disk does not take writes"));
}
