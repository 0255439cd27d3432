//! Volumes of pods, with real ones: what containers find in them, how that follows its objects, and that the host has
//! nothing of it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use serde_json::{Value, json};
use sys::netns::Namespace;
use workload::LogOptions;

use super::world::World;
use super::{PYTHON, exec, is_ready, shell};

const WHO_AM_I: &str = include_str!("who_am_i.py");
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// What a shell in a container says; it must succeed.
fn said(world: &World, container: (&str, &str), script: &str) -> String {
    let (code, said) = exec(world, container, &["sh", "-c", &format!("{{ {script}; }} 2>&1")]);
    assert_eq!(code, 0, "{script}: {said}");
    said.trim_end().to_owned()
}

fn mount(container: &mut Value, mounts: Value) {
    container["volumeMounts"] = mounts;
}

fn sleeper(name: &str) -> Value {
    shell(name, "exec sleep 1000")
}

/// A container that writes, one that reads, and volumes of every kind.
fn everything(host: &Path) -> Value {
    let (mut writer, mut reader) = (sleeper("writer"), sleeper("reader"));
    mount(
        &mut writer,
        json!([{"name": "shared", "mountPath": "/sb-data", "subPath": "sub"},
        {"name": "shared", "mountPath": "/etc/sb-whole"},
        {"name": "conf", "mountPath": "/sb-data/conf"},
        {"name": "conf", "mountPath": "/etc/sb-colour", "subPath": "colour"},
        {"name": "memory", "mountPath": "/var/run/sb/memory"},
        {"name": "root", "mountPath": "/sb-root", "readOnly": true},
        {"name": "host", "mountPath": "/sb-host", "subPath": "in"}]),
    );
    mount(
        &mut reader,
        json!([{"name": "shared", "mountPath": "/usr/share/sb/data", "subPathExpr": "$(WHERE)", "readOnly": true},
        {"name": "secret", "mountPath": "/run/sb-secret"}, {"name": "about", "mountPath": "/sb-about"},
        {"name": "all", "mountPath": "/sb-all"}, {"name": "maybe", "mountPath": "/sb-maybe"},
        {"name": "host", "mountPath": "/sb-host", "readOnly": true}]),
    );
    reader["env"] = json!([{"name": "WHERE", "value": "sub"}]);
    let labels = json!([{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]);
    let volumes = json!([{"name": "shared", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "conf", "configMap": {"name": "conf"}},
        {"name": "secret", "secret": {"secretName": "word", "defaultMode": 384}},
        {"name": "maybe", "configMap": {"name": "nothing", "optional": true}},
        {"name": "about", "downwardAPI": {"items": labels}},
        {"name": "all", "projected": {"sources": [{"configMap": {"name": "conf",
            "items": [{"key": "size", "path": "deep/size", "mode": 256}]}}, {"secret": {"name": "word"}}]}},
        {"name": "root", "hostPath": {"path": "/"}},
        {"name": "host", "hostPath": {"path": host, "type": "Directory"}}]);
    json!({"terminationGracePeriodSeconds": 1, "volumes": volumes, "containers": [writer, reader]})
}

#[test]
fn containers_find_their_volumes_and_the_host_nothing() {
    let Some(world) = World::start(&[]) else { return };
    let mounts = host_mounts();
    world.create(CONFIG_MAPS, &config_map("conf", json!({"colour": "red", "size": "big"})));
    world.create(
        "/api/v1/namespaces/default/secrets",
        &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "word"}, "stringData": {"key": "open"}}),
    );
    let host = std::env::temp_dir().join(format!("signalbox-host-path-{}", std::process::id()));
    std::fs::create_dir_all(host.join("in")).unwrap();
    std::fs::write(host.join("in/file"), "of the host").unwrap();
    let spec = everything(&host);
    let uid = world.pod("all", spec);
    world.await_pod("all", "ready", is_ready);
    let writer = |script: &str| said(&world, (&uid, "writer"), script);
    let reader = |script: &str| said(&world, (&uid, "reader"), script);

    writer("echo hello > /sb-data/file");
    assert_eq!(reader("cat /usr/share/sb/data/file"), "hello");
    assert_eq!(writer("cat /etc/sb-whole/sub/file"), "hello");
    assert!(reader("touch /usr/share/sb/data/x || true").contains("Read-only file system"));
    assert_eq!(
        writer("cat /sb-data/conf/colour /etc/sb-colour; readlink /sb-data/conf/colour"),
        "redred..data/colour"
    );
    assert!(writer("touch /sb-data/conf/x || true").contains("Read-only file system"));
    assert_eq!(reader("stat -Lc '%a %u' /run/sb-secret/key; cat /run/sb-secret/key"), "600 0\nopen");
    assert_eq!(reader("cat /sb-about/labels"), "app=\"x\"");
    assert_eq!(
        reader("stat -c %a /sb-all/..data/deep/size; cat /sb-all/deep/size /sb-all/key"),
        "400\nbigopen"
    );
    assert_eq!(reader("ls /sb-maybe"), "");
    assert_eq!(writer("stat -fc %T /var/run/sb/memory; stat -c %a /run/sb/memory"), "tmpfs\n777");
    assert!(writer("head -c 2000000 /dev/zero > /var/run/sb/memory/large || true").contains("No space left"));
    assert_eq!(writer("cat /sb-host/file; echo new > /sb-host/new"), "of the host");
    assert_eq!(std::fs::read_to_string(host.join("in/new")).unwrap(), "new\n");
    assert!(reader("touch /sb-host/x || true").contains("Read-only file system"));
    assert_eq!(writer(&format!("cat /sb-root/{}/in/file", host.display())), "of the host");
    // The rest of the file system is as it was.
    assert_eq!(
        writer(&format!(
            "{PYTHON} -c 'import os; print(len(os.openpty()))'; ls -d /usr/bin /tmp; echo > /dev/null"
        )),
        "2\n/tmp\n/usr/bin"
    );

    files_follow(&world, &uid);
    assert_eq!(world.mounts().len(), 1, "the one of memory");
    assert_eq!(world.modes(), [0o700, 0o700], "nobody else reads Secrets");
    assert_eq!(host_mounts(), mounts);
    nothing_on_host();
    world.delete("all");
    world.until("no trace is left", || world.traces(&uid).is_empty().then_some(()));
    assert_eq!(world.mounts(), Vec::<std::path::PathBuf>::new());
    nothing_on_host();
    std::fs::remove_dir_all(host).unwrap();
}

/// What an object says now its files say soon; a file alone stays as it is.
fn files_follow(world: &World, uid: &str) {
    let (writer, reader) = ((uid, "writer"), (uid, "reader"));
    world.update(
        &format!("{CONFIG_MAPS}/conf"),
        &config_map("conf", json!({"colour": "blue", "more": "yes"})),
    );
    world.until("the file follows", || {
        (said(world, writer, "cat /sb-data/conf/colour") == "blue").then_some(())
    });
    assert_eq!(said(world, writer, "ls /sb-data/conf"), "colour\nmore");
    assert_eq!(said(world, writer, "cat /etc/sb-colour"), "red");
    let mut pod = world.read("all").unwrap();
    pod["metadata"]["labels"]["more"] = "m".into();
    world.update("/api/v1/namespaces/default/pods/all", &pod);
    world.until("labels follow", || {
        said(world, reader, "cat /sb-about/labels").contains("more=\"m\"").then_some(())
    });
}

/// What is mounted on the host, but for what the tests that run meanwhile make.
fn host_mounts() -> Vec<std::path::PathBuf> {
    let mut found = sys::mount::mounts_below(Path::new("/"));
    let of_tests = [std::env::temp_dir(), "/run/netns".into()];
    found.retain(|path| !of_tests.iter().any(|folder| path.starts_with(folder)));
    found
}

/// None of the places that only containers have is there.
fn nothing_on_host() {
    for path in [
        "/sb-data",
        "/etc/sb-whole",
        "/etc/sb-colour",
        "/run/sb",
        "/usr/share/sb",
        "/run/sb-secret",
        "/sb-about",
        "/dev/termination-log",
        "/run/secrets/kubernetes.io",
        "/sb-host",
        "/sb-root",
    ] {
        assert!(!Path::new(path).exists(), "{path}");
    }
}

#[test]
fn a_pod_waits_for_what_is_missing_and_says_so() {
    let Some(world) = World::start(&[]) else { return };
    let volume = |name: &str, kind: &str, object: Value| json!({"name": name, kind: object});
    let spec = |volume: Value| {
        let mut main = sleeper("main");
        mount(&mut main, json!([{"name": volume["name"], "mountPath": "/sb-late"}]));
        json!({"terminationGracePeriodSeconds": 1, "volumes": [volume], "containers": [main]})
    };
    let late = world.pod("late", spec(volume("conf", "configMap", json!({"name": "late"}))));
    let never = world.pod("never", spec(volume("disk", "persistentVolumeClaim", json!({"claimName": "x"}))));
    let event = |text: &str| {
        world.until(text, || {
            let events = world.get("/api/v1/namespaces/default/events")?;
            let events = events["items"].as_array()?.clone();
            events.into_iter().find(|event| event["message"].as_str().is_some_and(|said| said.contains(text)))
        })
    };
    let told = event("MountVolume.SetUp failed for volume \"conf\" : configmap \"late\" not found");
    assert_eq!((told["reason"].as_str(), told["type"].as_str()), (Some("FailedMount"), Some("Warning")));
    event(
        "MountVolume.SetUp failed for volume \"disk\" : volumes of the kind persistentVolumeClaim are not possible here",
    );
    for name in ["late", "never"] {
        let pod = world.read(name).unwrap();
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
        assert_eq!(
            (&pod["status"]["phase"], waiting),
            (&"Pending".into(), &"ContainerCreating".into()),
            "{pod}"
        );
    }
    world.create(CONFIG_MAPS, &config_map("late", json!({"key": "now"})));
    world.await_pod("late", "ready", is_ready);
    assert_eq!(said(&world, (&late, "main"), "cat /sb-late/key"), "now");
    world.delete("never");
    world.until("no trace is left", || world.traces(&never).is_empty().then_some(()));
}

#[test]
fn the_token_of_a_pod_is_good_at_the_api_server() {
    let Some(world) = World::start(&[]) else { return };
    let (mut main, mut bare) = (shell("main", "exec sleep 1000"), sleeper("bare"));
    main["env"] = json!([{"name": "PORT", "value": world.server_port().to_string()}]);
    let uid = world.pod("asks", json!({"containers": [main], "terminationGracePeriodSeconds": 1}));
    bare["env"] = json!([]);
    let spec = json!({"containers": [bare], "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1});
    let without = world.pod("bare", spec);
    world.await_pod("asks", "ready", is_ready);
    // The pod reaches the server at its own loopback, at which the server's certificate is good.
    let port = world.server_port();
    let here = Namespace::named(&format!("sb-{uid}")).run(|| TcpListener::bind(("127.0.0.1", port)));
    pass_on(here.unwrap().unwrap(), port);
    let (code, said) = exec(&world, (&uid, "main"), &[PYTHON, "-c", WHO_AM_I]);
    assert_eq!((code, said.trim()), (0, "system:serviceaccount:default:default default asks"));
    let (_, said) =
        exec(&world, (&uid, "main"), &["sh", "-c", "echo $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT"]);
    let service = world.get("/api/v1/namespaces/default/services/kubernetes").unwrap();
    assert_eq!(said.trim(), format!("{} 443", service["spec"]["clusterIP"].as_str().unwrap()));

    world.await_pod("bare", "ready", is_ready);
    let (code, _) = exec(&world, (&without, "bare"), &["ls", "/var/run/secrets/kubernetes.io"]);
    assert_eq!(code, 2, "there is no such place");
}

/// Passes connections on to a port of this program's own loopback, for as long as the test runs.
fn pass_on(listener: TcpListener, port: u16) {
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let far = TcpStream::connect(("127.0.0.1", port)).unwrap();
            for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                std::thread::spawn(move || {
                    let mut bytes = [0; 4096];
                    while let Ok(count @ 1..) = from.read(&mut bytes) {
                        if to.write_all(&bytes[..count]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
}

#[test]
fn volumes_outlive_restarts_and_end_with_the_pod() {
    let Some(mut world) = World::start(&[]) else { return };
    let script = "cat /sb-a/runs /sb-m/runs; echo run >> /sb-a/runs; echo run >> /sb-m/runs; exec sleep 1000";
    let mut main = shell("main", script);
    mount(&mut main, json!([{"name": "a", "mountPath": "/sb-a"}, {"name": "m", "mountPath": "/sb-m"}]));
    let volumes = json!([{"name": "a", "emptyDir": {}}, {"name": "m", "emptyDir": {"medium": "Memory"}}]);
    let spec = json!({"terminationGracePeriodSeconds": 1, "volumes": volumes, "containers": [main]});
    let uid = world.pod("stays", spec);
    world.await_pod("stays", "ready", is_ready);
    world.until("it wrote", || (said(&world, (&uid, "main"), "cat /sb-m/runs") == "run").then_some(()));
    world.kill();
    world.kill_keeper(&uid, "main");
    world.run();
    world.await_pod("stays", "restarted", |pod| {
        is_ready(pod) && pod["status"]["containerStatuses"][0]["restartCount"] == 1
    });
    world.until("it wrote again", || {
        (said(&world, (&uid, "main"), "cat /sb-m/runs") == "run\nrun").then_some(())
    });
    assert_eq!(world.log(&uid, "main", LogOptions::default()), "run\nrun\n", "what the first run wrote");
    world.kill();
    assert_eq!(world.mounts().len(), 1);
    assert_eq!(world.purge(), "removed 1 pods\n");
    assert_eq!(world.mounts(), Vec::<std::path::PathBuf>::new());
    assert_eq!(world.traces(&uid), Vec::<String>::new());
}

#[test]
fn users_and_groups_may_use_volumes() {
    let Some(world) = World::start(&[]) else { return };
    world.create(CONFIG_MAPS, &config_map("conf", json!({"key": "value"})));
    let mut main = sleeper("main");
    mount(&mut main, json!([{"name": "a", "mountPath": "/sb-a"}, {"name": "conf", "mountPath": "/sb-conf"}]));
    let spec = json!({"terminationGracePeriodSeconds": 1, "containers": [main],
        "securityContext": {"runAsUser": 1234, "runAsGroup": 2345, "fsGroup": 3456, "supplementalGroups": [4567]},
        "volumes": [{"name": "a", "emptyDir": {}}, {"name": "conf", "configMap": {"name": "conf", "defaultMode": 256}}]});
    let uid = world.pod("user", spec);
    world.await_pod("user", "ready", is_ready);
    let said = |script: &str| said(&world, (&uid, "main"), script);
    assert_eq!(said("id -u; id -g; id -G"), "1234\n2345\n2345 3456 4567");
    assert_eq!(
        said("stat -c '%a %g' /sb-a; echo x > /sb-a/x; stat -c '%u %g' /sb-a/x"),
        "2777 3456\n1234 3456"
    );
    assert_eq!(said("cat /sb-conf/key; stat -Lc '%a %u %g' /sb-conf/key"), "value440 0 3456");
    let token = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    assert_eq!(said(&format!("stat -Lc '%a %u %g' {token}; test -s {token}")), "640 1234 3456");
}

#[test]
fn a_container_says_why_it_ended() {
    let Some(world) = World::start(&[]) else { return };
    let mut logs = shell("logs", "echo it was me; exit 4");
    logs["terminationMessagePolicy"] = "FallbackToLogsOnError".into();
    let mut other = shell("other", "echo elsewhere > /tmp/sb-why; echo logged; exit 5");
    other["terminationMessagePath"] = "/tmp/sb-why".into();
    // Over the directory in which the keeper writes as well.
    mount(&mut other, json!([{"name": "tmp", "mountPath": std::env::temp_dir()}]));
    let containers =
        json!([shell("says", "echo done > /dev/termination-log"), logs, other, shell("silent", "echo no")]);
    let volumes = json!([{"name": "tmp", "emptyDir": {}}]);
    world.pod("ends", json!({"restartPolicy": "Never", "volumes": volumes, "containers": containers}));
    let pod = world.await_pod("ends", "over", |pod| pod["status"]["phase"] == "Failed");
    let told: Vec<&str> = pod["status"]["containerStatuses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|status| status["state"]["terminated"]["message"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(told, ["done\n", "it was me\n", "elsewhere\n", ""]);
    let code =
        |index: usize| pod["status"]["containerStatuses"][index]["state"]["terminated"]["exitCode"].clone();
    assert_eq!([code(0), code(1), code(2), code(3)], [0, 4, 5, 0]);
    assert!(!Path::new("/tmp/sb-why").exists());
}
