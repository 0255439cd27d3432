//! Who may not: no credentials, wrong ones, expired ones, and those who may only look.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use ::apiserver::access::authority::Subject;
use ::apiserver::access::{Authority, Names};
use ::apiserver::body::time::Instant;
use http::Method;
use testkit::answers::{Call, Client, OwnServer, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::machine::{Folder, Machine, SIGNALBOX};
use super::replay::block_on;

const COLLECTION: &str = "/api/v1/namespaces/default/configmaps";

/// What a client with a certificate is answered to a request; nothing: the connection ends.
async fn answer(url: &str, client: Option<(&str, &str)>, request: &str) -> String {
    let address = url.trim_start_matches("https://");
    let text = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    let mut answer = Vec::new();
    let exchange = async {
        let mut stream = connect(address, "http/1.1", client).await?;
        stream.write_all(text.as_bytes()).await?;
        stream.read_to_end(&mut answer).await
    };
    // In TLS 1.3 the client learns from its first read that its certificate is no good.
    drop(tokio::time::timeout(Duration::from_secs(10), exchange).await.expect("it ends"));
    String::from_utf8_lossy(&answer).into_owned()
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join("pki").join(name)).unwrap()
}

/// `signalbox` with these words.
fn signalbox(words: &[&str]) -> Output {
    Command::new(SIGNALBOX).args(words).output().unwrap()
}

#[test]
fn strangers_see_whether_it_lives_and_nothing_else() {
    let machine = Machine::start();
    block_on(async {
        let mut client = Client::new(machine.server.access());
        for (path, code) in [
            ("/healthz", 200),
            ("/livez", 200),
            ("/readyz", 200),
            ("/version", 200),
            ("/api", 403),
            ("/metrics", 403),
            ("/openapi/v2", 403),
            ("/", 403),
            ("/nowhere", 403),
            (COLLECTION, 403),
        ] {
            let call = Call { anonymous: true, ..Call::new(Method::GET, path) };
            assert_eq!(client.call(&call).await.unwrap().code, code, "{path}");
        }
        for token in ["x", "Bearer", "a.b.c", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJzeXN0ZW06YWRtaW4ifQ.", "\u{e9}"]
        {
            let mut call = Call { anonymous: true, ..Call::new(Method::GET, "/version") };
            call.headers.push(("Authorization".to_owned(), format!("Bearer {token}")));
            let answer = client.call(&call).await.unwrap();
            assert_eq!(
                (answer.code, answer.json()["reason"].as_str()),
                (401, Some("Unauthorized")),
                "{token}"
            );
        }
    });
}

#[test]
fn certificates_count_only_if_this_server_signed_them_and_in_their_time() {
    let (machine, folder) = (Machine::start(), Folder::new());
    let data = machine.folder.path().join("data");
    let other = OwnServer::start(Path::new(SIGNALBOX), &folder.path().join("other"), &[]).unwrap();
    drop(other);
    // The same authority a year and more ago, in a copy.
    let past = copied(&machine);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let then = Instant { seconds: i64::try_from(now).unwrap() - 400 * 86_400, nanos: 0 };
    let authority = Authority::open(&past, &Names::default(), then).unwrap();
    let expired = authority.issue(&Subject::admin(), 30, then).unwrap();
    let url = &machine.server.access().url;
    block_on(async {
        let get = format!("GET {COLLECTION}");
        let own = (read(&data, "admin.crt"), read(&data, "admin.key"));
        let answered = answer(url, Some((&own.0, &own.1)), &get).await;
        assert!(answered.starts_with("HTTP/1.1 200"), "{answered}");
        let strange = folder.path().join("other");
        let strange = (read(&strange, "admin.crt"), read(&strange, "admin.key"));
        assert_eq!(answer(url, Some((&strange.0, &strange.1)), &get).await, "");
        assert_eq!(answer(url, Some((&expired.certificate, &expired.key)), &get).await, "");
    });
}

#[test]
fn who_may_only_look_cannot_write() {
    let machine = Machine::start();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let now = Instant { seconds: i64::try_from(now).unwrap(), nanos: 0 };
    let authority = Authority::open(&copied(&machine), &Names::default(), now).unwrap();
    let [reader, proxy] =
        [Subject::reader("eve"), Subject::proxy()].map(|who| authority.issue(&who, 1, now).unwrap());
    block_on(async {
        let url = &machine.server.access().url;
        for (who, request, code) in [
            (&reader, format!("GET {COLLECTION}"), "200"),
            (&reader, "GET /api/v1/secrets".to_owned(), "403"),
            (&reader, format!("POST {COLLECTION}"), "403"),
            (&reader, format!("PATCH {COLLECTION}/kube-root-ca.crt"), "403"),
            (&reader, format!("DELETE {COLLECTION}"), "403"),
            (&reader, "POST /api/v1/namespaces".to_owned(), "403"),
            (&proxy, "GET /api/v1/services".to_owned(), "200"),
            (&proxy, "GET /apis/discovery.k8s.io/v1/endpointslices".to_owned(), "200"),
            (&proxy, "DELETE /api/v1/namespaces/default/services/kubernetes".to_owned(), "403"),
            (&proxy, "GET /api/v1/secrets".to_owned(), "403"),
            (&proxy, format!("GET {COLLECTION}"), "403"),
        ] {
            let answered = answer(url, Some((&who.certificate, &who.key)), &request).await;
            assert!(answered.starts_with(&format!("HTTP/1.1 {code}")), "{request}: {answered}");
        }
    });
}

/// A copy of the server's keys: an authority that can do nothing to the server's own files.
fn copied(machine: &Machine) -> std::path::PathBuf {
    let copy = machine.folder.path().join("copy");
    std::fs::create_dir_all(copy.join("pki")).unwrap();
    for file in std::fs::read_dir(machine.folder.path().join("data/pki")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.join("pki").join(file.file_name())).unwrap();
    }
    copy
}

#[test]
fn kubeconfigs_of_every_role_are_made_while_the_server_runs() {
    let machine = Machine::start();
    let data = machine.folder.path().join("data").display().to_string();
    let before = read(Path::new(&data), "server.crt");
    for (role, user) in
        [("admin", "kubernetes-admin"), ("node-proxy", "system:kube-proxy"), ("readonly", "reader")]
    {
        let made = signalbox(&["kubeconfig", "--data", &data, "--role", role]);
        let text = String::from_utf8(made.stdout).unwrap();
        assert!(made.status.success() && text.contains(&machine.server.access().url), "{text}");
        assert!(text.contains(&format!("- name: \"{user}\"")), "{text}");
    }
    assert_eq!(read(Path::new(&data), "server.crt"), before);
    let nowhere = machine.folder.path().display().to_string();
    let refused = signalbox(&["kubeconfig", "--data", &nowhere, "--role", "admin", "--server", "https://x"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains("ca.crt") && said.contains("no such file"), "{said}");
}
