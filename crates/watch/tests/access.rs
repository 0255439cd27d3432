//! How the source gets in: credentials that rotate, kubeconfig and service account, what is denied and what the server
//! does not have.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod common;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{World, fill, hasty, service};
use objects::{Event, Kind};
use serde_json::{Value, json};
use testkit::apiserver::{ApiServer, Behaviour, Fault, FaultRule, Options, Refusal, Resource};

/// A source with a kubeconfig of its own making.
struct Plain {
    log: common::Log,
    kubeconfig: PathBuf,
    receiver: tokio::sync::mpsc::Receiver<Event>,
    source: tokio::task::JoinHandle<Result<(), watch::Error>>,
    _logging: tracing::subscriber::DefaultGuard,
}

impl Plain {
    fn start(kubeconfig: &str) -> Self {
        let (log, logging) = common::Log::collect();
        let path = common::temporary("kubeconfig");
        std::fs::write(&path, kubeconfig).unwrap();
        let mut config = watch::ApiConfig::new(Some(path.clone()), None, "n1");
        config.timing = hasty();
        let (sink, receiver) = tokio::sync::mpsc::channel(1000);
        let source = tokio::spawn(watch::run(config, watch::Progress::default(), sink));
        Self { log, kubeconfig: path, receiver, source, _logging: logging }
    }

    async fn until_synced(&mut self) {
        let mut lists = 0;
        while lists < 4 {
            let event = tokio::time::timeout(common::PATIENCE, self.receiver.recv()).await.unwrap().unwrap();
            lists += u32::from(matches!(event, Event::ListFinished(_)));
        }
    }

    /// Waits until an object of this name comes.
    async fn until_applied(&mut self, name: &str) {
        loop {
            let event = tokio::time::timeout(common::PATIENCE, self.receiver.recv()).await.unwrap().unwrap();
            assert!(!matches!(event, Event::Deleted(_)), "{event:?}");
            if let Event::Applied(object) = &event
                && &*common::key_of(object).name == name
            {
                return;
            }
        }
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.source.abort();
        drop(std::fs::remove_file(&self.kubeconfig));
    }
}

/// A server that wants a token, and a source that takes it from a file.
fn token_world(token: &str) -> ((ApiServer, PathBuf), Plain) {
    let behaviour = Behaviour { token: Some(token.into()), ..Behaviour::default() };
    let server = ApiServer::start(Options { tls: true, behaviour, ..Options::default() }).unwrap();
    fill(&server);
    let token_file = common::temporary("token");
    std::fs::write(&token_file, format!("{token}\n")).unwrap();
    let mut kubeconfig: Value = serde_json::from_str(&server.kubeconfig()).unwrap();
    kubeconfig["users"][0]["user"] = json!({"tokenFile": token_file});
    let plain = Plain::start(&kubeconfig.to_string());
    ((server, token_file), plain)
}

#[tokio::test]
async fn first_contact_explains_itself() {
    let server = ApiServer::start(Options { tls: true, ..Options::default() }).unwrap();
    let good: Value = serde_json::from_str(&server.kubeconfig()).unwrap();
    let check = |change: &dyn Fn(&mut Value), says: &'static str, remedy: &'static str| {
        let mut kubeconfig = good.clone();
        change(&mut kubeconfig);
        let plain = Plain::start(&kubeconfig.to_string());
        async move {
            plain.log.wait_for(says).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            let warnings = plain.log.warnings("");
            assert_eq!(warnings.len(), 1, "{warnings:#?}");
            assert!(warnings[0].contains(says) && warnings[0].contains(remedy), "{warnings:#?}");
        }
    };
    let other = ApiServer::start(Options { tls: true, ..Options::default() }).unwrap();
    let other: Value = serde_json::from_str(&other.kubeconfig()).unwrap();
    let ca = other["clusters"][0]["cluster"]["certificate-authority-data"].clone();
    check(
        &|config| config["clusters"][0]["cluster"]["certificate-authority-data"] = ca.clone(),
        "cannot trust the server",
        "certificate-authority",
    )
    .await;
    check(
        &|config| config["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:1"),
        "cannot reach the server",
        "check that the API server runs",
    )
    .await;
    check(
        &|config| config["clusters"][0]["cluster"]["server"] = json!("https://no-such-host.invalid:6443"),
        "cannot find the server's address",
        "name servers",
    )
    .await;
    server.change(|behaviour| behaviour.token = Some("secret".into()));
    check(&|_| {}, "refused the credentials", "check the token").await;
}

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_read_is_an_error_at_once() {
    let (sink, _receiver) = tokio::sync::mpsc::channel(1);
    let config = watch::ApiConfig::new(Some("/nonexistent/kubeconfig".into()), None, "n1");
    let error = watch::run(config, watch::Progress::default(), sink).await.unwrap_err().to_string();
    assert!(error.contains("/nonexistent/kubeconfig") && error.contains("check the kubeconfig"), "{error}");
}

#[tokio::test]
async fn master_overrides_the_server_of_the_kubeconfig() {
    let server = ApiServer::start(Options::default()).unwrap();
    let (sink, mut receiver) = tokio::sync::mpsc::channel(100);
    let config = watch::ApiConfig::new(None, Some(server.address().to_string()), "n1");
    let source = tokio::spawn(watch::run(config, watch::Progress::default(), sink));
    let event = tokio::time::timeout(common::PATIENCE, receiver.recv()).await.unwrap().unwrap();
    assert!(matches!(event, Event::ListStarted(_)));
    drop(receiver);
    let ended = tokio::time::timeout(common::PATIENCE, source).await.expect("ends when nobody listens");
    ended.unwrap().unwrap();
}

#[tokio::test]
async fn a_token_that_rotates_is_read_again() {
    let ((server, token_file), mut world) = token_world("first");
    world.until_synced().await;
    server.change(|behaviour| behaviour.token = Some("second".into()));
    world.log.wait_for("refused the credentials").await;
    std::fs::write(&token_file, "second\n").unwrap();
    world.log.wait_for("the API server answers again").await;
    server.apply(service("later"));
    world.until_applied("shop/later").await;
    let lines = world.log.lines();
    assert!(!lines.iter().any(|line| line.contains("second")), "a token in the log: {lines:?}");
    std::fs::remove_file(&token_file).unwrap();
}

#[tokio::test]
async fn the_last_token_serves_while_its_file_is_gone() {
    let ((mut server, token_file), mut world) = token_world("only");
    world.until_synced().await;
    std::fs::remove_file(&token_file).unwrap();
    server.stop();
    server.apply(service("later"));
    server.restart().unwrap();
    world.until_applied("shop/later").await;
    assert!(world.log.warnings("token file").is_empty(), "{:?}", world.log.lines());
}

#[tokio::test]
async fn a_kubeconfig_with_new_credentials_is_read_again() {
    let behaviour = Behaviour { token: Some("first".into()), ..Behaviour::default() };
    let server = ApiServer::start(Options { tls: true, behaviour, ..Options::default() }).unwrap();
    fill(&server);
    let mut world = Plain::start(&server.kubeconfig());
    world.until_synced().await;
    server.change(|behaviour| behaviour.token = Some("second".into()));
    world.log.wait_for("refused the credentials").await;
    // As somebody who writes it in two steps: meanwhile it is broken.
    std::fs::write(&world.kubeconfig, "apiVersion: [").unwrap();
    world.log.wait_for("failed to load the credentials").await;
    std::fs::write(&world.kubeconfig, server.kubeconfig()).unwrap();
    world.log.wait_for("the API server answers again").await;
    server.apply(service("later"));
    world.until_applied("shop/later").await;
}

#[tokio::test]
async fn a_server_without_service_cidrs_has_none_until_it_has_some() {
    let behaviour = Behaviour { service_cidrs: false, ..Behaviour::default() };
    let mut world = World::start(Options { behaviour, ..Options::default() }, fill);
    world.until("all kinds synced", |world| world.fold.synced.len() == 4).await;
    assert!(world.fold.names(Kind::ServiceCidr).is_empty());
    assert!(world.progress.snapshot()[3].missing);
    world.during(Duration::from_millis(700)).await;
    let said = world.log.lines().iter().filter(|line| line.contains("going on without ServiceCIDRs")).count();
    assert_eq!(said, 1);
    world.server.change(|behaviour| behaviour.service_cidrs = true);
    world.until_equal().await;
    assert_eq!(world.fold.names(Kind::ServiceCidr), ["kubernetes"]);
}

#[tokio::test]
async fn a_server_that_keeps_its_service_cidrs_to_itself_has_none() {
    let forbidden =
        Refusal::new(403, "Forbidden", "servicecidrs is forbidden: User \"proxy\" cannot list it");
    let mut world = World::start(Options::default(), |server| {
        fill(server);
        server.inject(FaultRule::new(Fault::refusal(&forbidden)).on(Resource::ServiceCidrs));
    });
    world.until("all kinds synced", |world| world.fold.synced.len() == 4).await;
    assert!(world.fold.names(Kind::ServiceCidr).is_empty());
    world.during(Duration::from_millis(700)).await;
    let warnings = world.log.warnings("");
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].contains("going on without ServiceCIDRs") && warnings[0].contains("cannot list it"));
    assert!(warnings[0].contains("system:node-proxier"), "{warnings:?}");
    let requests = world.server.take_requests();
    let asked = requests.iter().filter(|record| record.path.ends_with("/servicecidrs")).count();
    assert!((2..=8).contains(&asked), "asked {asked} times, not rarely");
    world.server.clear_faults();
    world.until_equal().await;
}

#[tokio::test]
async fn service_cidrs_that_were_shown_stay_when_the_server_hides_them() {
    let forbidden = Fault::refusal(&Refusal::new(403, "Forbidden", "not for you"));
    let mut world = World::start(Options::default(), fill);
    world.until_equal().await;
    for hidden in [true, false] {
        match hidden {
            true => world.server.change(|behaviour| behaviour.service_cidrs = false),
            false => world.server.inject(FaultRule::new(forbidden.clone()).on(Resource::ServiceCidrs)),
        }
        world.server.stop();
        world.server.restart().unwrap();
        world.log.wait_for(if hidden { "does not have this resource" } else { "not for you" }).await;
        world.during(Duration::from_millis(300)).await;
        assert_eq!(world.fold.names(Kind::ServiceCidr), ["kubernetes"]);
        world.server.change(|behaviour| behaviour.service_cidrs = true);
        world.server.clear_faults();
        world.until_equal().await;
    }
}

#[tokio::test]
async fn a_kind_that_is_denied_is_named_with_a_remedy_and_the_others_go_on() {
    let message = "endpointslices.discovery.k8s.io is forbidden: User \"proxy\" cannot list resource";
    let forbidden = Fault::refusal(&Refusal::new(403, "Forbidden", message));
    let mut world = World::start(Options::default(), |server| {
        fill(server);
        server.inject(FaultRule::new(forbidden.clone()).on(Resource::EndpointSlices));
    });
    world.until("the others synced", |world| world.fold.synced.len() == 3).await;
    world.server.apply(service("later"));
    world.until("goes on", |world| world.fold.names(Kind::Service).len() == 3).await;
    world.during(Duration::from_millis(500)).await;
    let warnings = world.log.warnings("");
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    for part in [
        "kind=EndpointSlice",
        "/apis/discovery.k8s.io/v1/endpointslices",
        "cannot list resource",
        "system:node-proxier",
    ] {
        assert!(warnings[0].contains(part), "{part} is not in {warnings:?}");
    }
    assert!(!world.progress.snapshot()[1].synced && world.progress.snapshot()[1].errors > 1);
    world.server.clear_faults();
    world.until_equal().await;
    world.log.wait_for("watching works again").await;
    // Once delivered, slices stay while they are denied.
    world.server.inject(FaultRule::new(forbidden).on(Resource::EndpointSlices));
    world.server.stop();
    world.server.restart().unwrap();
    world.during(Duration::from_millis(500)).await;
    assert_eq!(world.fold.names(Kind::EndpointSlice), ["shop/api", "shop/web"]);
}

/// Mounts a service account as the kubelet does, in a mount namespace of its own, and runs [`inside_a_pod`] there.
#[test]
fn the_service_account_of_a_pod_is_used_and_its_token_read_again() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED (needs root): the_service_account_of_a_pod_is_used_and_its_token_read_again");
        return;
    }
    let behaviour = Behaviour { token: Some("first".into()), ..Behaviour::default() };
    let mut server = ApiServer::start(Options { tls: true, behaviour, ..Options::default() }).unwrap();
    fill(&server);
    let account = common::temporary("serviceaccount");
    std::fs::create_dir(&account).unwrap();
    for (name, text) in
        [("token", "first"), ("namespace", "kube-system"), ("ca.crt", server.ca_pem().unwrap())]
    {
        std::fs::write(account.join(name), text).unwrap();
    }
    let script = "mount -t tmpfs sbwatch /run\n\
                  mkdir -p /run/secrets/kubernetes.io/serviceaccount\n\
                  mount --bind \"$1\" /run/secrets/kubernetes.io/serviceaccount\n\
                  exec \"$2\" --exact inside_a_pod --ignored --nocapture";
    let mut pod = Command::new("unshare")
        .args(["--mount", "sh", "-euc", script, "sh"])
        .arg(&account)
        .arg(std::env::current_exe().unwrap())
        .env("KUBERNETES_SERVICE_HOST", server.address().ip().to_string())
        .env("KUBERNETES_SERVICE_PORT", server.address().port().to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    for line in BufReader::new(pod.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.contains("SYNCED") {
            std::fs::write(account.join("token"), "second").unwrap();
            server.change(|behaviour| behaviour.token = Some("second".into()));
            server.stop();
            server.apply(service("later"));
            server.restart().unwrap();
        }
        said.push_str(&line);
        said.push('\n');
    }
    let ended = pod.wait().unwrap();
    std::fs::remove_dir_all(&account).unwrap();
    assert!(ended.success() && said.contains("SYNCED") && said.contains("FOLLOWED"), "{ended}\n{said}");
}

#[tokio::test]
#[ignore = "a part of the_service_account_of_a_pod_is_used_and_its_token_read_again, which runs it"]
async fn inside_a_pod() {
    let (log, _logging) = common::Log::collect();
    let mut config = watch::ApiConfig::new(None, None, "n1");
    config.timing = hasty();
    let (sink, mut receiver) = tokio::sync::mpsc::channel(1000);
    let source = tokio::spawn(watch::run(config, watch::Progress::default(), sink));
    let mut fold = common::Fold::default();
    let mut told = false;
    while !fold.names(Kind::Service).contains(&"shop/later".to_owned()) {
        let event = tokio::time::timeout(common::PATIENCE, receiver.recv()).await;
        fold.take(event.unwrap_or_else(|_| panic!("{:#?}", log.lines())).expect("the source lives"));
        if fold.synced.len() == 4 && !told {
            assert_eq!(fold.names(Kind::Service), ["shop/api", "shop/web"]);
            println!("SYNCED");
            told = true;
        }
    }
    println!("FOLLOWED");
    source.abort();
}
