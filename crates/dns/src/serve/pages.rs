//! `/health` and `/ready`, for probes of Kubernetes: one answer to a connection.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;

/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long this server may take when it asks itself, as in CoreDNS.
const SELF_PATIENCE: Duration = Duration::from_secs(3);
/// The longest request.
const LONGEST_REQUEST: usize = 8192;

/// What is there at the moment: a status code and a text.
pub(super) type Page = Arc<dyn Fn() -> (u16, Cow<'static, str>) + Send + Sync>;

/// Answers whether the process is well. While it stops it says no, so that nobody is sent here any more.
pub(super) fn health(is_stopping: bool) -> (u16, Cow<'static, str>) {
    if is_stopping { (503, "lameduck".into()) } else { (200, "OK".into()) }
}

/// Answers whether names are known.
pub(super) fn ready(is_synced: bool, is_stopping: bool) -> (u16, Cow<'static, str>) {
    match (is_synced, is_stopping) {
        (_, true) => (503, "lameduck".into()),
        (true, false) => (200, "OK".into()),
        (false, false) => (503, "kubernetes".into()),
    }
}

/// Pages by their paths.
pub(super) type Pages = Vec<(&'static str, Page)>;

/// Serves one page for ever.
pub(super) async fn serve(listener: TcpListener, path: &'static str, page: Page) {
    let (_keep, pages) = watch::channel(vec![(path, page)]);
    serve_all(listener, pages).await;
}

/// Serves the pages of the moment, for ever.
pub(super) async fn serve_all(listener: TcpListener, pages: watch::Receiver<Pages>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let pages = pages.borrow().clone();
                tokio::spawn(async move { timeout(PATIENCE, answer(stream, &pages)).await });
            }
            Err(error) => {
                warn!(%error, "failed to accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(mut stream: TcpStream, pages: &Pages) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() > LONGEST_REQUEST || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let (code, text) = choose(&request, pages);
    let reason = if code == 200 {
        "OK"
    } else if code == 404 {
        "Not Found"
    } else {
        "Service Unavailable"
    };
    let length = text.len();
    let head = format!("HTTP/1.1 {code} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\n");
    let answer = format!("{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{text}");
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

fn choose(request: &[u8], pages: &Pages) -> (u16, Cow<'static, str>) {
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let asked = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let page = pages.iter().find(|(path, _)| asked == path.as_bytes());
    page.map_or_else(|| (404, "404 page not found\n".into()), |(_, page)| page())
}

/// Asks for a page, as somebody else would, and answers whether all is well there.
pub(super) async fn asks(address: SocketAddr, path: &str) -> bool {
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(1024).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer.starts_with(b"HTTP/1.1 200"))
    };
    matches!(timeout(SELF_PATIENCE, asking).await, Ok(Ok(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_say_what_is() {
        let page: Page = Arc::new(|| ready(false, false));
        let pages = vec![("/ready", page)];
        let check = |request: &str, expected| assert_eq!(choose(request.as_bytes(), &pages).0, expected);
        check("GET /ready HTTP/1.1\r\n\r\n", 503);
        check("GET /ready?x=y HTTP/1.0\r\n\r\n", 503);
        check("GET / HTTP/1.1\r\n\r\n", 404);
        check("\r\n\r\n", 404);
        assert_eq!(
            [health(false).0, health(true).0, ready(true, false).0, ready(true, true).0],
            [200, 503, 200, 503]
        );
    }
}
