//! A directory of manifests as people and the kubelet change it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Fold, Log, PATIENCE};
use objects::{Event, Kind, Object};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

struct World {
    directory: PathBuf,
    fold: Fold,
    log: Log,
    receiver: mpsc::Receiver<Event>,
    source: JoinHandle<Result<(), watch::Error>>,
    _logging: tracing::subscriber::DefaultGuard,
}

impl World {
    fn start(prepare: impl FnOnce(&Path)) -> Self {
        let directory = common::temporary("manifests");
        fs::create_dir(&directory).unwrap();
        prepare(&directory);
        Self::at(directory)
    }

    fn at(directory: PathBuf) -> Self {
        let (log, logging) = Log::collect();
        let (sink, receiver) = mpsc::channel(16);
        let source = tokio::spawn(watch::run_manifests(directory.clone(), sink));
        Self { directory, fold: Fold::default(), log, receiver, source, _logging: logging }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.join(name), text).unwrap();
    }

    /// Takes events until the Services are these, written as `name:port`.
    async fn until(&mut self, expected: &[&str]) {
        let start = Instant::now();
        while self.services() != expected || self.fold.synced.len() < 4 {
            let log = || self.log.lines().join("\n");
            assert!(start.elapsed() < PATIENCE, "{:?}, not {expected:?}\n{}", self.services(), log());
            if let Ok(event) = tokio::time::timeout(Duration::from_millis(20), self.receiver.recv()).await {
                self.fold.take(event.expect("the source lives"));
            }
        }
    }

    fn services(&self) -> Vec<String> {
        let port = |object: &Object| match object {
            Object::Service(service) => {
                Some(format!("{}:{}", service.key.name(), service.ports.first().map_or(0, |port| port.port)))
            }
            Object::EndpointSlice(_) | Object::Node(_) | Object::ServiceCidr(_) => None,
        };
        self.fold.objects.values().filter_map(port).collect()
    }

    /// Takes the events of this long.
    async fn during(&mut self, time: Duration) -> usize {
        let end = Instant::now() + time;
        let mut events = 0;
        while let Ok(event) =
            tokio::time::timeout(end.saturating_duration_since(Instant::now()), self.receiver.recv()).await
        {
            self.fold.take(event.expect("the source lives"));
            events += 1;
        }
        events
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.source.abort();
        drop(fs::remove_dir_all(&self.directory));
    }
}

fn service(name: &str, port: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: 10.96.0.1, ports: [{{port: {port}}}]}}\n"
    )
}

#[tokio::test]
async fn files_are_read_and_followed() {
    let mut world = World::start(|directory| {
        fs::write(directory.join("a.yaml"), format!("{}---\n{}", service("one", "1"), service("two", "2")))
            .unwrap();
        fs::write(directory.join("b.yml"), service("three", "3")).unwrap();
        let json = r#"{"kind":"Service","apiVersion":"v1","metadata":{"name":"four"},"spec":{"clusterIP":"10.96.0.4","ports":[{"port":4}]}}"#;
        fs::write(directory.join("c.json"), json).unwrap();
        fs::write(directory.join("notes.txt"), "nonsense: [").unwrap();
        fs::write(directory.join(".hidden.yaml"), "nonsense: [").unwrap();
        fs::create_dir(directory.join("sub.yaml")).unwrap();
    });
    world.until(&["four:4", "one:1", "three:3", "two:2"]).await;
    assert!(world.log.warnings("").is_empty(), "{:?}", world.log.lines());
    world.write("a.yaml", &service("one", "11"));
    world.until(&["four:4", "one:11", "three:3"]).await;
    // As editors do: write beside, rename over.
    world.write("b.yml.tmp", &service("three", "33"));
    fs::rename(world.directory.join("b.yml.tmp"), world.directory.join("b.yml")).unwrap();
    world.until(&["four:4", "one:11", "three:33"]).await;
    fs::remove_file(world.directory.join("c.json")).unwrap();
    world.until(&["one:11", "three:33"]).await;
    fs::rename(world.directory.join("b.yml"), world.directory.join("b.off")).unwrap();
    world.until(&["one:11"]).await;
    // The same text again is no change.
    world.write("a.yaml", &service("one", "11"));
    assert_eq!(world.during(Duration::from_millis(200)).await, 0);
    assert_eq!(world.fold.lists[&Kind::Service], 1);
}

#[tokio::test]
async fn a_broken_file_keeps_saying_what_it_said() {
    let mut world = World::start(|directory| {
        fs::write(directory.join("a.yaml"), service("one", "1")).unwrap();
        fs::write(directory.join("b.yaml"), "kind: [").unwrap();
    });
    world.until(&["one:1"]).await;
    world.log.wait_for("b.yaml").await;
    world.write("a.yaml", &format!("{}---\nkind: Service\nmetadata: {{name: bad\n", service("one", "2")));
    world.log.wait_for("a.yaml").await;
    let warnings = world.log.warnings("a.yaml");
    assert!(warnings[0].contains("document 2") && warnings[0].contains("line"), "{warnings:?}");
    assert_eq!(world.during(Duration::from_millis(100)).await, 0);
    world.write("a.yaml", &format!("{}---\n{}", service("one", "1"), service("two", "eighty")));
    world.log.wait_for("spec.ports[0].port").await;
    world.write("a.yaml", &service("one", "3"));
    world.until(&["one:3"]).await;
    world.log.wait_for("the manifest is fine now").await;
}

#[tokio::test]
async fn the_first_definition_counts() {
    let mut world = World::start(|directory| {
        fs::write(directory.join("b.yaml"), service("one", "2")).unwrap();
        fs::write(directory.join("a.yaml"), service("one", "1")).unwrap();
    });
    world.until(&["one:1"]).await;
    let warnings = world.log.warnings("defined twice");
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("kept=a.yaml") && warnings[0].contains("ignored=b.yaml"), "{warnings:?}");
    fs::remove_file(world.directory.join("a.yaml")).unwrap();
    world.until(&["one:2"]).await;
}

#[tokio::test]
async fn a_mounted_config_map_switches_as_a_whole() {
    let mut world = World::start(|directory| {
        fs::create_dir(directory.join("..1")).unwrap();
        fs::write(directory.join("..1/a.yaml"), service("one", "1")).unwrap();
        fs::write(directory.join("..1/b.yaml"), service("two", "2")).unwrap();
        symlink("..1", directory.join("..data")).unwrap();
        symlink("..data/a.yaml", directory.join("a.yaml")).unwrap();
        symlink("..data/b.yaml", directory.join("b.yaml")).unwrap();
    });
    world.until(&["one:1", "two:2"]).await;
    let directory = world.directory.clone();
    fs::create_dir(directory.join("..2")).unwrap();
    fs::write(directory.join("..2/a.yaml"), service("one", "3")).unwrap();
    fs::write(directory.join("..2/c.yaml"), service("three", "3")).unwrap();
    symlink("..2", directory.join("..data_tmp")).unwrap();
    fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
    symlink("..data/c.yaml", directory.join("c.yaml")).unwrap();
    fs::remove_file(directory.join("b.yaml")).unwrap();
    fs::remove_dir_all(directory.join("..1")).unwrap();
    world.until(&["one:3", "three:3"]).await;
}

#[tokio::test]
async fn a_directory_that_is_missing_or_comes_back() {
    let directory = common::temporary("manifests");
    let mut world = World::at(directory.clone());
    world.log.wait_for("waiting for the directory").await;
    assert_eq!(world.during(Duration::from_millis(100)).await, 0);
    fs::create_dir(&directory).unwrap();
    world.write("a.yaml", &service("one", "1"));
    world.until(&["one:1"]).await;
    // Moved away: what it said stays; another one in its place: what that says.
    let aside = common::temporary("aside");
    fs::rename(&directory, &aside).unwrap();
    world.log.wait_for("its objects stay in force").await;
    assert_eq!(world.services(), ["one:1"]);
    fs::create_dir(&directory).unwrap();
    world.write("b.yaml", &service("two", "2"));
    world.until(&["two:2"]).await;
    fs::remove_dir_all(&directory).unwrap();
    world.until(&[]).await;
    fs::rename(&aside, &directory).unwrap();
    world.until(&["one:1"]).await;
    assert_eq!(world.fold.lists[&Kind::Service], 1);
}

#[tokio::test]
async fn half_written_files_are_not_read() {
    use std::io::Write;
    let mut world =
        World::start(|directory| fs::write(directory.join("a.yaml"), service("one", "1")).unwrap());
    world.until(&["one:1"]).await;
    let mut file = fs::File::create(world.directory.join("a.yaml")).unwrap();
    world.write("b.yaml", &service("two", "2"));
    world.until(&["one:1", "two:2"]).await;
    file.write_all(service("one", "9").as_bytes()).unwrap();
    assert_eq!(world.during(Duration::from_millis(150)).await, 0);
    drop(file);
    world.until(&["one:9", "two:2"]).await;
}

#[tokio::test]
async fn lists_slices_and_scalars_are_read_as_kubernetes_does() {
    let mut world = World::start(|directory| {
        let list = "kind: List\napiVersion: v1\nitems:\n- kind: Service\n  apiVersion: v1\n  metadata: {name: a, namespace: shop}\n  spec: {clusterIP: 10.96.0.1, ports: [{port: 0o20}, {name: b, port: 8e1}]}\n\
                    - kind: ServiceList\n  apiVersion: v1\n  items:\n  - metadata: {name: b}\n    spec: {clusterIP: 10.96.0.2, ports: [{port: 010}]}\n\
                    - {kind: Deployment, apiVersion: apps/v1, metadata: {name: web}}\n";
        fs::write(directory.join("a.yaml"), list).unwrap();
        let slice = "kind: EndpointSlice\napiVersion: discovery.k8s.io/v1\nmetadata: {name: a}\naddressType: IPv4\nendpoints: [{addresses: [10.244.1.5]}]\n";
        fs::write(directory.join("b.yaml"), slice).unwrap();
        fs::write(directory.join("c.yaml"), "# nothing\n---\n---\n").unwrap();
    });
    world.until(&["b:8", "a:16"]).await;
    assert_eq!(world.fold.names(Kind::Service), ["default/b", "shop/a"]);
    assert_eq!(world.fold.names(Kind::EndpointSlice), ["default/a"]);
    let Object::Service(service) =
        world.fold.objects.values().find(|o| &*common::key_of(o).name == "shop/a").unwrap()
    else {
        panic!("no Service")
    };
    assert_eq!(service.ports[1].port, 80);
    assert!(world.log.warnings("").is_empty(), "{:?}", world.log.lines());
}

#[tokio::test]
async fn a_field_of_the_wrong_type_is_named_with_file_document_and_object() {
    let mut world =
        World::start(|directory| fs::write(directory.join("a.yaml"), service("one", "1")).unwrap());
    world.until(&["one:1"]).await;
    let wrong = "apiVersion: v1\nkind: Service\nmetadata: {name: two, namespace: shop}\nspec: {ports: [{port: 1, protocol: [TCP]}]}\n";
    world.write("a.yaml", &format!("{}---\n# none\n---\n{wrong}", service("one", "2")));
    world.log.wait_for("a manifest has a mistake").await;
    let warnings = world.log.warnings("");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    for part in ["a.yaml", "document 2", "Service shop/two", "spec.ports[0].protocol: invalid type"] {
        assert!(warnings[0].contains(part), "{part} is not in {warnings:?}");
    }
    assert_eq!(world.during(Duration::from_millis(100)).await, 0);
    assert_eq!(world.services(), ["one:1"]);
}

#[tokio::test]
async fn objects_that_move_to_another_file_are_not_deleted_in_between() {
    let mut world = World::start(|directory| {
        fs::write(directory.join("b.yaml"), service("one", "1")).unwrap();
        fs::write(directory.join("c.yaml"), service("two", "2")).unwrap();
    });
    world.until(&["one:1", "two:2"]).await;
    // Backwards and forwards in the order of names.
    for (old, new) in [("b.yaml", "a.yaml"), ("a.yaml", "d.yaml")] {
        fs::rename(world.directory.join(old), world.directory.join(new)).unwrap();
        let mut deleted = Vec::new();
        let end = Instant::now() + Duration::from_millis(300);
        while let Ok(event) =
            tokio::time::timeout(end.saturating_duration_since(Instant::now()), world.receiver.recv()).await
        {
            let event = event.expect("the source lives");
            deleted.extend(matches!(event, Event::Deleted(_)).then(|| event.clone()));
            world.fold.take(event);
        }
        assert_eq!(deleted, []);
        assert_eq!(world.services(), ["one:1", "two:2"]);
    }
    assert!(world.log.warnings("").is_empty(), "{:?}", world.log.lines());
    // It is the renamed file that counts.
    world.write("d.yaml", &service("one", "9"));
    world.until(&["one:9", "two:2"]).await;
}
