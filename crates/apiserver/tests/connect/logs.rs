//! `pods/NAME/log`.

use tokio::io::AsyncWriteExt;

use super::stage::{Stage, everything, head, kubelet_certificate, lines, run, some};

const LOG: &str = "GET /api/v1/namespaces/default/pods";

#[test]
fn what_a_container_said_is_passed_on() {
    run(async {
        let stage = Stage::new().await;
        let sent = format!("{LOG}/p/log?tailLines=5&pretty=true HTTP/1.1\nConnection: close");
        let (mut near, mut far) = tokio::join!(stage.send("reader", &sent), stage.kubelet());
        assert_eq!(far.address, "127.0.0.1:10250".parse().unwrap());
        assert_eq!(far.user, "O=system:masters, CN=kube-apiserver-kubelet-client");
        let asked = head(&mut far.stream).await;
        assert_eq!(
            lines(&asked),
            ["GET /containerLogs/default/p/c?tailLines=5 HTTP/1.1", "host: 127.0.0.1:10250"]
        );
        far.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<b>\xff\n").await.unwrap();
        far.stream.shutdown().await.unwrap();
        let said = head(&mut near).await;
        assert!(
            said.starts_with("HTTP/1.1 200 OK\r\n") && said.contains("content-type: text/plain\r\n"),
            "{said}"
        );
        assert!(everything(&mut near).await.contains("<b>\u{fffd}\n"));
    });
}

#[test]
fn a_log_is_followed_as_it_comes_until_the_client_goes() {
    run(async {
        let stage = Stage::new().await;
        let sent = format!("{LOG}/p/log?follow=true HTTP/1.1");
        let (mut near, mut far) = tokio::join!(stage.send("admin", &sent), stage.kubelet());
        head(&mut far.stream).await;
        far.stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        head(&mut near).await;
        for line in ["one\n", "two\n"] {
            far.stream.write_all(format!("4\r\n{line}\r\n").as_bytes()).await.unwrap();
            assert_eq!(some(&mut near, 9).await, format!("4\r\n{line}\r\n").as_bytes());
        }
        drop(near);
        assert_eq!(everything(&mut far.stream).await, "");
    });
}

#[test]
fn a_log_is_followed_until_the_server_stops() {
    run(async {
        let stage = Stage::new().await;
        let sent = format!("{LOG}/p/log?follow=true HTTP/1.1");
        let (mut near, mut far) = tokio::join!(stage.send("admin", &sent), stage.kubelet());
        head(&mut far.stream).await;
        far.stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        head(&mut near).await;
        stage.stop.send_replace(true);
        assert_eq!(everything(&mut near).await, "", "it is broken off");
        assert_eq!(everything(&mut far.stream).await, "");
    });
}

#[test]
fn a_client_that_reads_nothing_holds_the_kubelet_back() {
    run(async {
        let stage = Stage::new().await;
        let sent = format!("{LOG}/p/log HTTP/1.1");
        let (mut near, mut far) = tokio::join!(stage.send("admin", &sent), stage.kubelet());
        head(&mut far.stream).await;
        far.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").await.unwrap();
        let mut sent = 0;
        let piece = [b'x'; 65536];
        while let Ok(written) =
            tokio::time::timeout(std::time::Duration::from_millis(500), far.stream.write(&piece)).await
        {
            sent += written.unwrap();
            assert!(sent < 40_000_000, "somebody holds it all");
        }
        head(&mut near).await;
        // Not all that TLS took is on its way.
        let read = some(&mut near, sent / 2).await;
        let count = read.iter().filter(|byte| **byte == b'x').count();
        // The rest says how long the chunks are.
        assert!(count > read.len() / 10 * 9, "{count} of {}", read.len());
    });
}

#[test]
fn a_pod_without_a_node_has_said_nothing() {
    run(async {
        let answer = Stage::new().await.asked("reader", &format!("{LOG}/new/log HTTP/1.1")).await;
        assert!(answer.starts_with("HTTP/1.1 204 No Content\r\n"), "{answer}");
    });
}

#[test]
fn refusals_are_kubernetes_own() {
    run(async {
        let stage = Stage::new().await;
        for (what, wanted) in [
            ("nope/log", "404 pods \"nope\" not found"),
            ("p/log?container=d", "400 container d is not valid for pod p"),
            (
                "lost/log?follow=1",
                "500 Get \"https://127.0.0.1:1/containerLogs/default/lost/c?follow=true\": dial tcp 127.0.0.1:1: connect: connection refused",
            ),
        ] {
            assert_eq!(stage.refused("reader", &format!("{LOG}/{what} HTTP/1.1")).await, wanted);
        }
        for (line, wanted) in [
            ("POST", "405 the server does not allow this method on the requested resource"),
            ("DELETE", "405 the server does not allow this method on the requested resource"),
        ] {
            let sent = format!("{line} /api/v1/namespaces/default/pods/p/log HTTP/1.1");
            assert_eq!(stage.refused("admin", &sent).await, wanted);
        }
        for (answer, wanted) in [
            ("400 Bad Request\r\nContent-Length: 9\r\n\r\ncontainer", "400 container"),
            ("500 X\r\n\r\nboom", "500 Internal error occurred: boom"),
            ("404 X\r\n\r\n", "404 the server could not find the requested resource ( pods/log p)"),
            (
                "502 X\r\n\r\na\"b",
                "502 an error on the server (\"a\\\"b\") has prevented the request from succeeding ( pods/log p)",
            ),
        ] {
            let sent = format!("{LOG}/p/log HTTP/1.1");
            let kubelet = async {
                let mut far = stage.kubelet().await;
                head(&mut far.stream).await;
                far.stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).await.unwrap();
                far.stream.shutdown().await.unwrap();
            };
            let (refused, ()) = tokio::join!(stage.refused("admin", &sent), kubelet);
            assert_eq!(refused, wanted);
        }
    });
}

#[test]
fn a_kubelet_is_who_it_must_be() {
    run(async {
        let sent = format!("{LOG}/p/log HTTP/1.1");
        let trusting = Stage::with(Some(kubelet_certificate().0.clone())).await;
        let (_near, far) = tokio::join!(trusting.send("admin", &sent), trusting.kubelet());
        assert_eq!(far.user, "O=system:masters, CN=kube-apiserver-kubelet-client");
        let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let stage = Stage::with(Some(other.cert.pem())).await;
        let (refused, ()) = tokio::join!(stage.refused("admin", &sent), stage.stranger());
        assert!(
            refused.starts_with(
                "500 Get \"https://127.0.0.1:10250/containerLogs/default/p/c\": tls: invalid peer certificate"
            ),
            "{refused}"
        );
        let skipping = format!("{LOG}/p/log?insecureSkipTLSVerifyBackend=true HTTP/1.1");
        let (_near, mut far) = tokio::join!(stage.send("admin", &skipping), stage.kubelet());
        assert!(head(&mut far.stream).await.starts_with("GET /containerLogs/default/p/c HTTP/1.1"));
    });
}
