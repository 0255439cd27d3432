//! `pods/NAME/exec`, `attach` and `portforward`: connections that become others.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::stage::{Far, Near, Stage, body, everything, head, lines, run, some};

const PODS: &str = "/api/v1/namespaces/default/pods";
const SPDY: &str = "Connection: Upgrade\nUpgrade: SPDY/3.1\nX-Stream-Protocol-Version: v4.channel.k8s.io";
const WEBSOCKET: &str = "Connection: keep-alive, Upgrade\nUpgrade: websocket\nSec-WebSocket-Key: a2V5\n\
                         Sec-WebSocket-Version: 13\nSec-WebSocket-Protocol: v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0";
const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
                          X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n";

/// Both ends of a connection that became another.
async fn opened(stage: &Stage) -> (Near, Far) {
    let lines = format!("POST {PODS}/p/exec?command=sh&stdout=true HTTP/1.1\n{SPDY}");
    let (mut near, mut far) = tokio::join!(stage.send("admin", &lines), stage.kubelet());
    head(&mut far.stream).await;
    far.stream.write_all(SWITCHED).await.unwrap();
    let answer = head(&mut near).await;
    assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answer}");
    (near, far)
}

#[test]
fn a_request_is_passed_on_as_it_is() {
    run(async {
        let stage = Stage::new().await;
        for (what, wanted) in [
            (
                format!("POST {PODS}/p/exec?command=echo&command=a+b&stdout=1&container=c HTTP/1.1\n{SPDY}"),
                "POST /exec/default/p/c?command=echo&command=a+b&output=1 HTTP/1.1
connection: Upgrade
host: api.example
upgrade: SPDY/3.1
x-forwarded-for: 127.0.0.1
x-stream-protocol-version: v4.channel.k8s.io",
            ),
            (
                format!(
                    "GET {PODS}/p/attach?stdin=true&tty=true HTTP/1.1\n{WEBSOCKET}\nX-Forwarded-For: 10.9.9.9"
                ),
                "GET /attach/default/p/c?input=1&tty=1 HTTP/1.1
connection: keep-alive, Upgrade
host: api.example
sec-websocket-key: a2V5
sec-websocket-protocol: v5.channel.k8s.io
sec-websocket-version: 13
upgrade: websocket
x-forwarded-for: 10.9.9.9, 127.0.0.1",
            ),
            (
                format!(
                    "GET {PODS}/p/portforward?ports=80 HTTP/1.1\n{SPDY}\nImpersonate-User: admin\nImpersonate-Group: system:masters"
                ),
                "GET /portForward/default/p?port=80 HTTP/1.1
connection: Upgrade
host: api.example
upgrade: SPDY/3.1
x-forwarded-for: 127.0.0.1
x-stream-protocol-version: v4.channel.k8s.io",
            ),
        ] {
            let (_near, mut far) = tokio::join!(stage.send("admin", &what), stage.kubelet());
            assert_eq!(lines(&head(&mut far.stream).await).join("\n"), wanted);
            assert_eq!(far.user, "O=system:masters, CN=kube-apiserver-kubelet-client");
        }
    });
}

#[test]
fn any_bytes_go_both_ways_at_once() {
    run(async {
        let stage = Stage::new().await;
        let (near, far) = opened(&stage).await;
        let all: Vec<u8> =
            (0..3_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let (mut near_reads, mut near_writes) = tokio::io::split(near);
        let (mut far_reads, mut far_writes) = tokio::io::split(far.stream);
        let count = all.len();
        let (there, back, (), ()) = tokio::join!(
            some(&mut far_reads, count),
            some(&mut near_reads, count),
            async { near_writes.write_all(&all).await.unwrap() },
            async { far_writes.write_all(&all).await.unwrap() },
        );
        assert!(there == all && back == all);
    });
}

#[test]
fn what_comes_with_the_head_is_not_lost() {
    run(async {
        let stage = Stage::new().await;
        let lines = format!("POST {PODS}/p/exec?command=sh&stdout=true HTTP/1.1\n{SPDY}");
        let (mut near, mut far) = tokio::join!(stage.send("admin", &lines), stage.kubelet());
        // A client that is in a hurry does not wait for the answer.
        near.write_all(b"early").await.unwrap();
        head(&mut far.stream).await;
        far.stream.write_all(&[SWITCHED, b"at once"].concat()).await.unwrap();
        head(&mut near).await;
        assert_eq!(some(&mut near, 7).await, b"at once");
        assert_eq!(some(&mut far.stream, 5).await, b"early");
    });
}

#[test]
fn one_side_may_end_before_the_other() {
    run(async {
        let stage = Stage::new().await;
        let (mut near, mut far) = opened(&stage).await;
        near.write_all(b"that was all").await.unwrap();
        near.shutdown().await.unwrap();
        assert_eq!(everything(&mut far.stream).await, "that was all");
        far.stream.write_all(b"the answer").await.unwrap();
        far.stream.shutdown().await.unwrap();
        assert_eq!(everything(&mut near).await, "the answer");
        let (mut near, mut far) = opened(&stage).await;
        far.stream.write_all(b"bye").await.unwrap();
        far.stream.shutdown().await.unwrap();
        assert_eq!(everything(&mut near).await, "bye");
        near.write_all(b"late").await.unwrap();
        near.shutdown().await.unwrap();
        assert_eq!(everything(&mut far.stream).await, "late");
    });
}

#[test]
fn whoever_goes_takes_the_other_side_with_it() {
    run(async {
        let stage = Stage::new().await;
        let (near, mut far) = opened(&stage).await;
        drop(near);
        assert_eq!(everything(&mut far.stream).await, "");
        let (mut near, far) = opened(&stage).await;
        drop(far);
        assert_eq!(everything(&mut near).await, "");
        let (mut near, mut far) = opened(&stage).await;
        stage.stop.send_replace(true);
        assert_eq!(everything(&mut near).await, "");
        assert_eq!(everything(&mut far.stream).await, "");
    });
}

#[test]
fn who_reads_nothing_holds_the_other_side_back() {
    run(async {
        let stage = Stage::new().await;
        let (near, mut far) = opened(&stage).await;
        let (piece, mut sent) = ([7; 65536], 0);
        while let Ok(written) = timeout(Duration::from_millis(500), far.stream.write(&piece)).await {
            sent += written.unwrap();
            assert!(sent < 40_000_000, "somebody holds it all");
        }
        let (mut reads, mut writes) = tokio::io::split(near);
        writes.write_all(b"still here").await.unwrap();
        let (mut far_reads, _far_writes) = tokio::io::split(far.stream);
        assert_eq!(some(&mut far_reads, 10).await, b"still here", "the other way is open");
        let mut buffer = [0; 65536];
        assert!(reads.read(&mut buffer).await.unwrap() > 0);
    });
}

#[test]
fn an_answer_that_is_no_upgrade_is_passed_back() {
    run(async {
        let stage = Stage::new().await;
        for (answer, wanted) in [
            ("403 Forbidden\r\nContent-Length: 4\r\nX-Reason: y\r\n\r\nno!\n", "HTTP/1.1 403 Forbidden"),
            ("200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 500 Internal Server Error"),
        ] {
            let lines = format!("GET {PODS}/p/exec?command=sh HTTP/1.1\n{WEBSOCKET}");
            let (mut near, mut far) = tokio::join!(stage.send("admin", &lines), stage.kubelet());
            head(&mut far.stream).await;
            far.stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).await.unwrap();
            let said = head(&mut near).await;
            assert!(said.starts_with(wanted), "{said}");
            if wanted.contains("403") {
                assert!(said.contains("x-reason: y\r\n"), "{said}");
                assert_eq!(some(&mut near, 4).await, b"no!\n");
            } else {
                let body = body(&mut near, &said).await;
                assert!(body.contains("invalid upgrade response: status code 200"), "{body}");
            }
        }
    });
}

#[test]
fn refusals_are_kubernetes_own() {
    run(async {
        let stage = Stage::new().await;
        for (what, wanted) in [
            (format!("POST {PODS}/p/exec?command=sh HTTP/1.1"), "400 Upgrade request required"),
            (format!("POST {PODS}/new/attach HTTP/1.1\n{SPDY}"), "400 pod new does not have a host assigned"),
            (format!("GET {PODS}/nope/portforward HTTP/1.1\n{SPDY}"), "404 pods \"nope\" not found"),
            (
                format!("POST {PODS}/lost/exec HTTP/1.1\n{SPDY}"),
                "500 error dialing backend: dial tcp 127.0.0.1:1: connect: connection refused",
            ),
            (
                format!("PUT {PODS}/p/exec HTTP/1.1\n{SPDY}"),
                "405 the server does not allow this method on the requested resource",
            ),
        ] {
            // An upgrade and `close` do not go together: the connection is ended here.
            let mut near = stage.send("admin", &what).await;
            let answer = head(&mut near).await;
            let body = body(&mut near, &answer).await;
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(format!("{} {}", body["code"], body["message"].as_str().unwrap()), wanted);
        }
        for part in ["exec", "attach", "portforward"] {
            let wanted = format!(
                "403 pods \"p\" is forbidden: User \"eve\" cannot get resource \"pods/{part}\" in API group \"\" in the namespace \"default\""
            );
            assert_eq!(stage.refused("reader", &format!("GET {PODS}/p/{part} HTTP/1.1")).await, wanted);
        }
    });
}
