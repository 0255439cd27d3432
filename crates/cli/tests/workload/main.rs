//! Pods as processes, with real ones: addresses, probes, restarts, ends, logs, and what is left when the program that runs
//! them is killed.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod asked;
mod kubectl;
mod volumes;
mod world;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use workload::{ExecOptions, LogOptions};

use world::World;

const PYTHON: &str = "/usr/bin/python3";
/// Prints the beginning of what the other container serves.
const GET: &str =
    "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/etc/').read(9).decode(), end='')";
const HEALTH: &str = include_str!("health.py");

fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready") == "True"
}

fn condition<'a>(pod: &'a Value, name: &str) -> &'a str {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.filter(|one| one["type"] == name).find_map(|one| one["status"].as_str()).unwrap_or_default()
}

fn shell(name: &str, script: &str) -> Value {
    json!({"name": name, "image": "none", "command": ["sh", "-c", script]})
}

#[test]
fn containers_share_an_address_and_probes_of_every_kind_are_answered() {
    let Some(world) = World::start(&["web=/usr/bin/python3 -m http.server"]) else { return };
    let mut web = json!({"name": "web", "image": "web:1.2", "args": ["8080"],
        "ports": [{"name": "http", "containerPort": 8080}],
        "startupProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 1, "failureThreshold": 30},
        "readinessProbe": {"httpGet": {"port": "http", "path": "/etc/"}, "periodSeconds": 1}});
    web["livenessProbe"] =
        json!({"exec": {"command": ["sh", "-c", "test \"$HERE\" = yes"]}, "periodSeconds": 1});
    web["env"] = json!([{"name": "HERE", "value": "yes"}]);
    let health = json!({"name": "health", "image": "none", "command": [PYTHON, "-c", HEALTH, "9090"],
        "readinessProbe": {"grpc": {"port": 9090, "service": "shop"}, "periodSeconds": 1}});
    let uid = world.pod("both", json!({"containers": [web, health], "terminationGracePeriodSeconds": 1}));
    let pod = world.await_pod("both", "ready", is_ready);

    let address = pod["status"]["podIP"].as_str().unwrap().to_owned();
    assert_eq!(pod["status"]["podIPs"], json!([{"ip": address}, {"ip": "fd00:1::2"}]));
    assert_eq!(pod["status"]["hostIP"], "192.0.2.1");
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(pod["status"]["qosClass"], "BestEffort");
    let asked = world.log(&uid, "health", LogOptions::default());
    assert!(asked.starts_with("asked b'\\n\\x04shop'"), "{asked}");

    // The other container is reached at this one's loopback; the pod at its port from within.
    let said = exec(&world, (&uid, "health"), &[PYTHON, "-c", GET]);
    assert_eq!(said, (0, "<!DOCTYPE".to_owned()));
    let got = world.tokio.block_on(async {
        let mut stream = world.people().dial(&uid, 8080).await.unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let mut got = String::new();
        stream.read_to_string(&mut got).await.unwrap();
        got
    });
    assert!(got.starts_with("HTTP/1.0 200"), "{got}");
    world.delete("both");
    world.until("the pod is gone", || world.read("both").is_none().then_some(()));
    world.until("no trace is left", || world.traces(&uid).is_empty().then_some(()));
}

/// Runs a command in a container and answers its exit code and output.
fn exec(world: &World, container: (&str, &str), words: &[&str]) -> (i32, String) {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    world.tokio.block_on(async {
        let mut process = world.people().exec(container, &words, ExecOptions::default()).unwrap();
        let mut said = String::new();
        process.stdout.take().unwrap().read_to_string(&mut said).await.unwrap();
        (process.wait().await.unwrap(), said)
    })
}

#[test]
fn commands_run_in_containers_with_and_without_a_terminal() {
    let Some(world) = World::start(&[]) else { return };
    let mut main = shell("main", "read word; echo \"heard $word\"; sleep 1000");
    main["stdin"] = true.into();
    let uid = world.pod("talk", json!({"containers": [main], "terminationGracePeriodSeconds": 1}));
    world.await_pod("talk", "ready", is_ready);
    assert_eq!(exec(&world, (&uid, "main"), &["sh", "-c", "hostname; exit 3"]), (3, "talk\n".to_owned()));
    world.tokio.block_on(async {
        let words = ["sh", "-c", "stty size; read word; echo \"<$word>\""].map(str::to_owned);
        let options = ExecOptions { stdin: true, tty: true };
        let mut process = world.people().exec((&uid, "main"), &words, options).unwrap();
        process.resize(100, 40).unwrap();
        process.stdin.as_mut().unwrap().write_all(b"hello\n").await.unwrap();
        let mut said = Vec::new();
        // A terminal ends with an error.
        let _ = process.stdout.as_mut().unwrap().read_to_end(&mut said).await;
        assert!(String::from_utf8_lossy(&said).contains("<hello>\r\n"), "{}", String::from_utf8_lossy(&said));
        assert_eq!(process.wait().await.unwrap(), 0);

        let mut attached = world.people().attach(&uid, "main").await.unwrap();
        attached.stdin.as_mut().unwrap().write_all(b"you\n").await.unwrap();
        attached.stdin.as_mut().unwrap().flush().await.unwrap();
        let piece = attached.output.recv().await.unwrap();
        assert_eq!(&piece.text[..], b"heard you\n");
    });
}

#[test]
fn containers_initialise_in_order_with_their_environment() {
    let Some(world) = World::start(&[]) else { return };
    world.create(
        "/api/v1/namespaces/default/configmaps",
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"COLOUR": "red"}}),
    );
    world.create(
        "/api/v1/namespaces/default/secrets",
        &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "word"}, "stringData": {"key": "open"}}),
    );
    let field =
        |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let mut main =
        shell("main", "echo $(GREETING) $COLOUR $WORD $APP $NODE $(IP) '$(NOT)'; pwd; cat /etc/resolv.conf");
    main["workingDir"] = "/usr/bin".into();
    main["envFrom"] = json!([{"configMapRef": {"name": "settings"}}]);
    main["env"] = json!([
        field("NAME", "metadata.name"), field("APP", "metadata.labels['app']"), field("NODE", "spec.nodeName"),
        field("IP", "status.podIP"), {"name": "GREETING", "value": "I-am-$(NAME)"},
        {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "word", "key": "key"}}}]);
    let spec = json!({"restartPolicy": "Never", "dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.53"]},
        "initContainers": [shell("one", "sleep 0.3; date +%s%N"), shell("two", "date +%s%N")],
        "containers": [main]});
    let uid = world.pod("once", spec);
    let pod = world.await_pod("once", "over", |pod| pod["status"]["phase"] == "Succeeded");
    let said = world.log(&uid, "main", LogOptions::default());
    let address = pod["status"]["podIP"].as_str().unwrap();
    let expected = format!("I-am-once red open x node-1 {address} $(NOT)");
    assert_eq!(said.lines().next().unwrap(), expected, "{said}");
    assert!(said.ends_with("/usr/bin\nnameserver 192.0.2.53\n"), "{said}");
    let time = |name: &str| world.log(&uid, name, LogOptions::default()).trim().parse::<u64>().unwrap();
    assert!(time("one") < time("two"));
    assert_eq!((condition(&pod, "Initialized"), condition(&pod, "Ready")), ("True", "False"));
    let network = format!("sb-{uid}");
    world.until("its network is gone", || (!world.traces(&uid).contains(&network)).then_some(()));
}

#[test]
fn failures_are_restarted_and_what_has_no_program_is_told() {
    let Some(world) = World::start(&[]) else { return };
    let spec = json!({"terminationGracePeriodSeconds": 1, "containers": [shell("fails", "echo run; exit 3"),
        {"name": "unknown", "image": "nobody/knows"}]});
    let uid = world.pod("bad", spec);
    let state = |pod: &Value, index: usize| {
        pod["status"]["containerStatuses"][index]["state"]["waiting"]["reason"]
            .as_str()
            .unwrap_or("")
            .to_owned()
    };
    let pod = world.await_pod("bad", "backing off", |pod| state(pod, 0) == "CrashLoopBackOff");
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!(status["restartCount"], 1);
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(state(&pod, 1), "ErrImagePull");
    assert_eq!(pod["status"]["phase"], "Pending");
    assert_eq!(world.log(&uid, "fails", LogOptions { previous: true, ..LogOptions::default() }), "run\n");
    world.until("the events are there", || {
        let events = world.get("/api/v1/namespaces/default/events")?;
        let told = events.to_string();
        let wanted = ["no program stands for", "Back-off restarting failed container fails"];
        wanted.iter().all(|text| told.contains(text)).then_some(())
    });
}

#[test]
fn a_pod_ends_gracefully_or_by_force() {
    let Some(world) = World::start(&[]) else { return };
    let mut polite =
        shell("polite", "trap 'sleep 0.5; echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done");
    polite["lifecycle"] =
        json!({"preStop": {"exec": {"command": ["sh", "-c", "echo stopping > /proc/1/fd/1; sleep 0.5"]}}});
    let deaf = shell("deaf", "trap '' TERM; sleep 1000 & while :; do sleep 0.05; done");
    let host = json!({"hostNetwork": true, "terminationGracePeriodSeconds": 3, "containers": [polite, deaf]});
    let uid = world.pod("end", host);
    let pod = world.await_pod("end", "ready", is_ready);
    assert_eq!(pod["status"]["podIP"], "192.0.2.1");
    let begin = Instant::now();
    let follow = LogOptions { follow: true, timestamps: true, ..LogOptions::default() };
    world.delete("end");
    let said = world.log(&uid, "polite", follow);
    assert!(said.lines().count() == 2 && said.ends_with(" bye\n"), "{said}");
    assert!(begin.elapsed() > Duration::from_millis(900), "{:?}", begin.elapsed());
    let pod = world.read("end").expect("the other container has its time");
    assert!(pod["metadata"]["deletionTimestamp"].is_string());
    world.until("the pod is gone", || world.read("end").is_none().then_some(()));
    assert!(begin.elapsed() > Duration::from_millis(2900), "{:?}", begin.elapsed());
    world.until("no trace is left", || world.traces(&uid).is_empty().then_some(()));
}

#[test]
fn a_kill_of_the_program_harms_no_pod() {
    let Some(mut world) = World::start(&[]) else { return };
    let stays = shell("main", "echo $$$$; exec sleep 1000");
    let spec = |container: &Value| json!({"terminationGracePeriodSeconds": 1, "containers": [container]});
    let kept = world.pod("kept", spec(&stays));
    let unwanted = world.pod("unwanted", spec(&stays));
    let ends = world.pod("ends", spec(&shell("main", "sleep 2; exit 7")));
    for name in ["kept", "unwanted", "ends"] {
        world.await_pod(name, "ready", is_ready);
    }
    let process = world.until("it said its number", || {
        Some(world.log(&kept, "main", LogOptions::default())).filter(|said| !said.is_empty())
    });
    world.kill();
    world.delete("unwanted");
    std::thread::sleep(Duration::from_secs(2));
    world.run();
    world.until("what was deleted is gone", || world.read("unwanted").is_none().then_some(()));
    let pod = world
        .await_pod("ends", "restarted", |pod| pod["status"]["containerStatuses"][0]["restartCount"] == 1);
    let last = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!(last["exitCode"], 7, "what ended meanwhile is known");
    let pod = world.read("kept").unwrap();
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
    assert!(is_ready(&pod));
    assert_eq!(exec(&world, (&kept, "main"), &["readlink", &format!("/proc/{}/exe", process.trim())]).0, 0);
    world.until("no trace is left", || world.traces(&unwanted).is_empty().then_some(()));

    // A keeper that is killed takes its container with it, and the pod goes on.
    world.kill_keeper(&kept, "main");
    let pod = world.await_pod("kept", "restarted", |pod| {
        is_ready(pod) && pod["status"]["containerStatuses"][0]["restartCount"] == 1
    });
    assert_eq!(pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["reason"], "Unknown");

    // All ended from outside, they run again at the next start.
    world.kill();
    world.stop_all();
    let network = format!("sb-{kept}");
    assert!(!world.traces(&kept).iter().any(|trace| trace.starts_with("/proc") || *trace == network));
    world.run();
    world.await_pod("kept", "restarted", |pod| pod["status"]["containerStatuses"][0]["restartCount"] == 2);
    world.kill();
    assert_eq!(world.purge(), "removed 2 pods\n");
    assert_eq!(world.traces(&kept), Vec::<String>::new());
    assert_eq!(world.traces(&ends), Vec::<String>::new());
}

#[test]
fn kills_at_any_moment_leave_nothing() {
    const PODS: u32 = 8;
    let Some(mut world) = World::start(&[]) else { return };
    let mut main = shell("main", "exec sleep 1000");
    main["readinessProbe"] = json!({"exec": {"command": ["true"]}, "periodSeconds": 1});
    let spec = json!({"terminationGracePeriodSeconds": 1, "initContainers": [shell("init", "exit 0")],
        "containers": [main]});
    let name = |number: u32| format!("pod-{number}");
    let mut uids = Vec::new();
    for number in 0..PODS {
        uids.push(world.pod(&name(number), spec.clone()));
        std::thread::sleep(Duration::from_millis(u64::from(13 * number)));
        world.kill();
        world.run();
    }
    let mut addresses = std::collections::BTreeSet::new();
    for number in 0..PODS {
        let pod = world.await_pod(&name(number), "ready", is_ready);
        addresses.insert(pod["status"]["podIP"].as_str().unwrap().to_owned());
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "{pod}");
    }
    assert_eq!(addresses.len(), uids.len());
    for number in 0..PODS {
        world.delete(&name(number));
        std::thread::sleep(Duration::from_millis(u64::from(11 * number)));
        world.kill();
        world.run();
    }
    for (number, uid) in (0..PODS).zip(&uids) {
        world.until("the pod is gone", || world.read(&name(number)).is_none().then_some(()));
        world.until("no trace is left", || world.traces(uid).is_empty().then_some(()));
    }
}

#[test]
fn the_node_is_known_and_its_lease_renewed() {
    let Some(world) = World::start(&[]) else { return };
    let node = world.until("the node is ready", || world.get("/api/v1/nodes/node-1").filter(is_ready));
    assert_eq!(node["spec"]["podCIDRs"], json!(["10.244.1.0/24", "fd00:1::/64"]));
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], "node-1");
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-1";
    let lease = world.until("the lease is there", || world.get(lease));
    assert_eq!(lease["spec"]["holderIdentity"], "node-1");
}
