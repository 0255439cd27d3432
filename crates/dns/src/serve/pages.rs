//! `/health` and `/ready`, for probes of Kubernetes: one answer to a connection.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tracing::warn;

/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(5);
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

/// Serves one page for ever.
pub(super) async fn serve(listener: TcpListener, path: &'static str, page: Page) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let page = Arc::clone(&page);
                tokio::spawn(async move { timeout(PATIENCE, answer(stream, path, &page)).await });
            }
            Err(error) => {
                warn!(%error, "failed to accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(mut stream: TcpStream, path: &str, page: &Page) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() > LONGEST_REQUEST || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let (code, text) = choose(&request, path, page);
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

fn choose(request: &[u8], path: &str, page: &Page) -> (u16, Cow<'static, str>) {
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let asked = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    if asked == path.as_bytes() { page() } else { (404, "404 page not found\n".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_say_what_is() {
        let page: Page = Arc::new(|| ready(false, false));
        let check =
            |request: &str, expected| assert_eq!(choose(request.as_bytes(), "/ready", &page).0, expected);
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
