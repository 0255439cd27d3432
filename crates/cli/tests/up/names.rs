//! Names in pods: every form of a Service's name, as the C library's resolver asks for it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::stage::Stage;

/// What `getent` in a pod answers for a name: the first words of its lines; nothing for a name that is not known.
fn look_up(stage: &Stage, database: &str, name: &str) -> Vec<String> {
    let (is_found, stdout, stderr) = stage.kubectl(&format!("exec client -- getent {database} {name}"));
    assert!(is_found || stderr.contains("exit code 2"), "{name}: {stdout}{stderr}\n{}", stage.everything());
    let mut first: Vec<_> =
        stdout.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    first.sort();
    first.dedup();
    first
}

/// Waits until a name means this.
#[track_caller]
fn means(stage: &Stage, name: &str, expected: &[&str]) {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let found = look_up(stage, "ahostsv4", name);
        if found == expected {
            return;
        }
        assert!(Instant::now() < end, "{name}: {found:?} instead of {expected:?}\n{}", stage.everything());
    }
}

#[test]
fn pods_resolve_every_form_of_a_services_name() {
    let Some(stage) = Stage::isolated(&["--nodes=2"]) else { return };
    let service = stage.backend(2);
    let address = service.ip().to_string();
    stage.sleeper("client");
    let resolver = stage.ok("exec client -- cat /etc/resolv.conf");
    assert!(resolver.contains("nameserver 10.96.0.10"), "{resolver}");
    assert!(
        resolver.contains("search default.svc.cluster.local svc.cluster.local cluster.local"),
        "{resolver}"
    );
    for name in [
        "backend",
        "backend.default",
        "backend.default.svc",
        "backend.default.svc.cluster.local",
        "backend.default.svc.cluster.local.",
        "BackEnd.Default.svc.cluster.local",
    ] {
        means(&stage, name, &[&address]);
    }
    // Programs use them like any other.
    let said = stage.ok("exec client -- curl -s http://backend/name");
    assert!(said.starts_with("backend-"), "{said}");
    // Back from the address to the name.
    let (_, names, _) = stage.kubectl(&format!("exec client -- getent hosts {address}"));
    assert!(names.contains("backend.default.svc.cluster.local"), "{names}");
    // What there is not is not, at once and whatever is asked.
    let begin = Instant::now();
    for name in ["nobody", "nobody.default.svc.cluster.local", "backend.elsewhere.svc.cluster.local"] {
        means(&stage, name, &[]);
    }
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());

    // Headless: the pods themselves. Another namespace. A name for a name.
    stage.ok("create service clusterip peers --clusterip=None --tcp=8080:8080");
    stage.ok("label service peers app=backend --overwrite");
    stage.ok(r#"patch service peers -p '{"spec":{"selector":{"app":"backend"}}}'"#);
    let mut pods: Vec<_> = stage
        .ok("get pods -l app=backend -o jsonpath={.items[*].status.podIP}")
        .split(' ')
        .map(str::to_owned)
        .collect();
    pods.sort();
    means(&stage, "peers", &pods.iter().map(String::as_str).collect::<Vec<_>>());
    stage.ok("create namespace other");
    stage.ok("-n other create service clusterip there --tcp=80:80");
    let there = stage.ok("-n other get service there -o jsonpath={.spec.clusterIP}");
    means(&stage, "there.other", &[&there]);
    means(&stage, "there", &[]);
    stage.ok("create service externalname alias --external-name=backend.default.svc.cluster.local");
    means(&stage, "alias", &[&address]);

    // It follows.
    stage.ok("delete service backend");
    means(&stage, "backend", &[]);
}

/// A name that stays is there all the time, whatever else comes and goes, and while the API server's process is not there.
#[test]
fn a_name_that_stays_is_always_there() {
    let Some(stage) = Stage::isolated(&[]) else { return };
    let service = stage.backend(1);
    stage.sleeper("client");
    means(&stage, "backend", &[&service.ip().to_string()]);
    let script = "for i in $(seq 400); do getent ahostsv4 backend >/dev/null || echo lost; done; echo end";
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| stage.ok(&format!("exec client -- sh -c '{script}'")));
        let mut round = 0;
        while !asking.is_finished() {
            round += 1;
            stage.ok(&format!("create service clusterip other-{round} --tcp=80:80"));
            stage.ok(&format!("delete service other-{round}"));
        }
        assert!(round > 1);
        assert_eq!(asking.join().unwrap(), "end");
    });
}

/// Each node answers for itself, and TCP works as well.
#[test]
fn every_node_answers() {
    let Some(stage) = Stage::isolated(&["--nodes=2"]) else { return };
    let service = stage.backend(1);
    let dig = std::process::Command::new("which").arg("dig").output();
    if super::machine::brought(dig.is_ok_and(|found| found.status.success()).then(|| "dig".into()), "dig")
        .is_none()
    {
        return;
    }
    let name = "backend.default.svc.cluster.local";
    for node in ["node-1", "node-2"] {
        let place = stage.up.node(node).unwrap();
        for transport in ["+notcp", "+tcp"] {
            let end = Instant::now() + Duration::from_secs(20);
            loop {
                let mut dig = place.command(std::path::Path::new("/usr/bin/dig"));
                let output =
                    dig.args(["+short", "+time=1", transport, "@10.96.0.10", name]).output().unwrap();
                let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                if text.parse::<IpAddr>().is_ok_and(|address| address == service.ip()) {
                    break;
                }
                assert!(Instant::now() < end, "{node} {transport}: {text}\n{}", stage.everything());
            }
        }
    }
}
