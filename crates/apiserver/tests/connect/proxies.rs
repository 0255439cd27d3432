//! `proxy` of Pods, Services and nodes.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stage::{Stage, body, everything, head, lines, run, some};

const DEFAULT: &str = "/api/v1/namespaces/default";

/// Sends a request, answers it with an answer, and tells where it went, what came there, and what came back.
async fn passed(stage: &Stage, request: &str, answer: &str) -> (String, String, String) {
    let far = async {
        let mut far = stage.pod().await;
        let asked = lines(&head(&mut far.stream).await).join("\n");
        far.stream.write_all(answer.as_bytes()).await.unwrap();
        far.stream.shutdown().await.unwrap();
        (far.address.to_string(), asked)
    };
    let (back, (address, asked)) = tokio::join!(stage.asked("admin", request), far);
    (address, asked, back)
}

#[test]
fn requests_are_passed_on_without_what_is_not_meant_for_others() {
    run(async {
        let stage = Stage::new().await;
        for (request, address, wanted) in [
            (
                format!(
                    "GET {DEFAULT}/pods/p/proxy/a%20b/?x=1&y=%2F HTTP/1.1\nX-Mine: 1\nTE: trailers\nKeep-Alive: 5\n\
                     Cookie: c=d\nImpersonate-User: kubernetes-admin\nImpersonate-Group: system:masters"
                ),
                "10.1.0.5:8080",
                "GET /a%20b/?x=1&y=%2F HTTP/1.1
cookie: c=d
host: api.example
x-forwarded-for: 127.0.0.1
x-forwarded-uri: /api/v1/namespaces/default/pods/p/proxy/a%20b/
x-mine: 1",
            ),
            (
                format!("DELETE {DEFAULT}/services/http:s:80/proxy/x/../y HTTP/1.1"),
                "10.1.0.5:8080",
                "DELETE /y HTTP/1.1
host: api.example
x-forwarded-for: 127.0.0.1
x-forwarded-uri: /api/v1/namespaces/default/services/http:s:80/proxy/y",
            ),
            (
                format!("OPTIONS {DEFAULT}/pods/p:99/proxy HTTP/1.1"),
                "10.1.0.5:99",
                "OPTIONS / HTTP/1.1
host: api.example
x-forwarded-for: 127.0.0.1
x-forwarded-uri: /api/v1/namespaces/default/pods/p:99/proxy",
            ),
        ] {
            let (there, asked, back) =
                passed(&stage, &request, "HTTP/1.1 201 Made\r\nX-Y: z\r\n\r\nhi").await;
            assert_eq!((there.as_str(), asked.as_str()), (address, wanted));
            assert!(back.starts_with("HTTP/1.1 201 Created\r\nx-y: z\r\n"), "{back}");
            assert!(back.contains("hi"), "{back}");
        }
    });
}

#[test]
fn nodes_are_asked_as_the_server_itself() {
    run(async {
        let stage = Stage::new().await;
        for name in ["n", "https:n:10250"] {
            let line = format!("GET /api/v1/nodes/{name}/proxy/pods HTTP/1.1");
            let (_near, mut far) = tokio::join!(stage.send("admin", &line), stage.kubelet());
            assert_eq!(far.user, "O=system:masters, CN=kube-apiserver-kubelet-client");
            assert!(head(&mut far.stream).await.starts_with("GET /pods HTTP/1.1\r\n"));
        }
    });
}

#[test]
fn bodies_go_both_ways_as_they_come() {
    run(async {
        let stage = Stage::new().await;
        let lines = format!("POST {DEFAULT}/pods/p/proxy/upload HTTP/1.1\nTransfer-Encoding: chunked");
        let (mut near, mut far) = tokio::join!(stage.send("admin", &lines), stage.pod());
        assert!(head(&mut far.stream).await.contains("transfer-encoding: chunked"));
        // More than any object may have.
        let piece = "x".repeat(1 << 20);
        for _ in 0..5 {
            let chunk = format!("100000\r\n{piece}\r\n");
            let reading = async {
                let mut read = 0;
                while read < piece.len() {
                    let mut buffer = vec![0; 65536];
                    let count = far.stream.read(&mut buffer).await.unwrap();
                    read += buffer[..count].iter().filter(|byte| **byte == b'x').count();
                }
            };
            let ((), written) = tokio::join!(reading, near.write_all(chunk.as_bytes()));
            written.unwrap();
        }
        far.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nda").await.unwrap();
        let said = head(&mut near).await;
        assert!(said.contains("content-length: 4\r\n"), "{said}");
        assert_eq!(some(&mut near, 2).await, b"da");
        // What ends too early does not look as if it were all.
        drop(far);
        assert_eq!(everything(&mut near).await, "");
    });
}

#[test]
fn redirects_stay_behind_the_proxy() {
    run(async {
        let stage = Stage::new().await;
        let proxy = format!("{DEFAULT}/pods/p/proxy");
        let there = |path: &str| format!("{proxy}{path}");
        for (location, wanted) in [
            ("/login?a=b#c", there("/login?a=b#c")),
            ("/", there("/")),
            ("/a//b/../c/", there("/a/c/")),
            ("http://10.1.0.5:8080/x", there("/x")),
            ("//10.1.0.5:8080/x", there("/x")),
            ("https://api.example/x", format!("https://api.example{}", there("/x"))),
            (&there("/x"), there("/x")),
            ("x", "x".to_owned()),
            ("?page=2", "?page=2".to_owned()),
            ("http://10.1.0.5:8080", "http://10.1.0.5:8080".to_owned()),
            ("https://example.com/x", "https://example.com/x".to_owned()),
            ("http://10.1.0.5:81/x", "http://10.1.0.5:81/x".to_owned()),
        ] {
            let answer = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
            let (_, _, back) = passed(&stage, &format!("GET {proxy}/ HTTP/1.1"), &answer).await;
            let said = back.split("location: ").nth(1).unwrap().split('\r').next().unwrap();
            assert_eq!(said, wanted, "{location}");
        }
        let answer = "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nConnection: close, x-hop\r\nX-Hop: 1\r\n\
                      Content-Length: 0\r\n\r\n";
        let (_, _, back) = passed(&stage, &format!("GET {proxy}/ HTTP/1.1"), answer).await;
        assert!(!back.contains("access-control") && !back.contains("x-hop"), "{back}");
        for (line, wanted) in [
            (format!("GET {proxy}?a=b"), format!("{proxy}/?a=b")),
            ("HEAD /api/v1/nodes/n/proxy".to_owned(), "/api/v1/nodes/n/proxy/".to_owned()),
        ] {
            let back = stage.asked("admin", &format!("{line} HTTP/1.1")).await;
            assert!(back.starts_with("HTTP/1.1 301 Moved Permanently\r\n"), "{back}");
            assert!(back.contains(&format!("location: {wanted}\r\n")), "{back}");
        }
    });
}

#[test]
fn a_head_is_answered_without_its_body() {
    run(async {
        let stage = Stage::new().await;
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n";
        let (_, asked, back) =
            passed(&stage, &format!("HEAD {DEFAULT}/pods/p/proxy/x HTTP/1.1"), answer).await;
        assert!(asked.starts_with("HEAD /x HTTP/1.1"), "{asked}");
        assert!(back.contains("content-length: 12\r\n") && back.ends_with("\r\n\r\n"), "{back}");
    });
}

#[test]
fn connections_become_others_behind_a_proxy_too() {
    run(async {
        let stage = Stage::new().await;
        let lines = format!(
            "GET {DEFAULT}/services/s:web/proxy/socket?room=1 HTTP/1.1\nConnection: Upgrade\nUpgrade: websocket"
        );
        let (mut near, mut far) = tokio::join!(stage.send("admin", &lines), stage.pod());
        assert!(head(&mut far.stream).await.starts_with("GET /socket?room=1 HTTP/1.1\r\n"));
        let switched =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";
        far.stream.write_all(switched).await.unwrap();
        assert!(head(&mut near).await.contains("upgrade: websocket"));
        assert_eq!(some(&mut near, 5).await, b"hello");
        near.write_all(b"hello, too").await.unwrap();
        assert_eq!(some(&mut far.stream, 10).await, b"hello, too");
    });
}

#[test]
fn many_connections_wait_for_nobody() {
    run(async {
        let stage = Stage::new().await;
        let lines = format!(
            "GET {DEFAULT}/pods/p/proxy/slow HTTP/1.1\nImpersonate-User: system:kube-controller-manager"
        );
        let mut open = Vec::new();
        // More than there may be requests at a time.
        for _ in 0..450 {
            open.push(tokio::join!(stage.send("admin", &lines), stage.pod()));
        }
        let get = format!("GET {DEFAULT}/pods/p HTTP/1.1\nImpersonate-User: system:kube-controller-manager");
        let answer = stage.asked("admin", &get).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    });
}

#[test]
fn refusals_are_kubernetes_own() {
    run(async {
        let stage = Stage::new().await;
        for (path, wanted) in [
            ("pods/near/proxy/", "400 address not allowed"),
            ("pods/new/proxy/", "400 address not allowed"),
            ("pods/nope/proxy/", "404 pods \"nope\" not found"),
            ("pods/ftp:p:80/proxy/", "400 invalid pod request \"ftp:p:80\""),
            ("services/s:81/proxy/", "503 no service port 81 found for service \"s\""),
            ("services/s:other/proxy/", "503 no endpoints available for service \"s:other\""),
            (
                "pods/p:1/proxy/",
                "503 error trying to reach service: dial tcp 10.1.0.5:1: connect: connection refused",
            ),
            ("../../nodes/n:9100/proxy/", "404 the server could not find the requested resource"),
        ] {
            assert_eq!(stage.refused("admin", &format!("GET {DEFAULT}/{path} HTTP/1.1")).await, wanted);
        }
        assert_eq!(
            stage.refused("admin", "GET /api/v1/nodes/n:9100/proxy/ HTTP/1.1").await,
            "400 address not allowed"
        );
        assert_eq!(
            stage.refused("admin", "GET /api/v1/nodes/gone/proxy/pods HTTP/1.1").await,
            "503 error trying to reach service: dial tcp 127.0.0.1:1: connect: connection refused"
        );
        let wanted = "403 services \"s:80\" is forbidden: User \"eve\" cannot get resource \"services/proxy\" in API group \"\" in the namespace \"default\"";
        assert_eq!(
            stage.refused("reader", &format!("GET {DEFAULT}/services/s:80/proxy/ HTTP/1.1")).await,
            wanted
        );
        let lines = format!("GET {DEFAULT}/pods/p/proxy/ HTTP/1.1");
        let (refused, ()) = tokio::join!(stage.refused("admin", &lines), async { drop(stage.pod().await) });
        assert!(refused.starts_with("503 error trying to reach service: "), "{refused}");
    });
}

#[test]
fn a_body_that_is_not_wanted_is_no_harm() {
    run(async {
        let stage = Stage::new().await;
        let mut near =
            stage.send("reader", &format!("POST {DEFAULT}/pods/p/proxy/ HTTP/1.1\nContent-Length: 3")).await;
        near.write_all(b"abc").await.unwrap();
        let said = head(&mut near).await;
        assert!(said.starts_with("HTTP/1.1 403"), "{said}");
        assert!(body(&mut near, &said).await.contains("Forbidden"));
        let again =
            format!("GET {DEFAULT}/pods/new/log HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer reader\r\n\r\n");
        near.write_all(again.as_bytes()).await.unwrap();
        assert!(head(&mut near).await.starts_with("HTTP/1.1 204"));
    });
}
