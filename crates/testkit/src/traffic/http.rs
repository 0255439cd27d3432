//! One HTTP request and its answer, as far as health checks need it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::probe::verdict_of;

/// An answer, or what came instead of one.
#[derive(Debug, Clone, Default, Serialize)]
pub struct HttpAnswer {
    /// `ok`, or why there is no answer.
    pub verdict: String,
    /// The status code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// Headers, names in small letters.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
    /// How long it took.
    pub ms: u64,
}

/// Asks for a path.
pub fn get(to: SocketAddr, path: &str, timeout: Duration) -> HttpAnswer {
    request(to, &format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n"), timeout)
}

/// Sends a whole request as it stands; the server must close the connection after its answer.
pub fn request(to: SocketAddr, text: &str, timeout: Duration) -> HttpAnswer {
    let begin = Instant::now();
    let mut answer = match exchange(to, text, timeout) {
        Ok(text) => read(&String::from_utf8_lossy(&text)),
        Err(error) => {
            let slow = matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock);
            let verdict = if slow { "timeout".to_owned() } else { verdict_of(&error) };
            HttpAnswer { verdict, ..HttpAnswer::default() }
        }
    };
    answer.ms = begin.elapsed().as_millis() as u64;
    answer
}

fn exchange(to: SocketAddr, request: &str, timeout: Duration) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&to, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.write_all(request.as_bytes())?;
    let mut text = Vec::new();
    match stream.read_to_end(&mut text) {
        Err(error) if text.is_empty() => Err(error),
        Ok(_) | Err(_) => Ok(text),
    }
}

fn read(text: &str) -> HttpAnswer {
    let (head, rest) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let code = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let chunked = headers.get("transfer-encoding").is_some_and(|value| value.contains("chunked"));
    let body = if chunked { unchunked(rest) } else { rest.to_owned() };
    HttpAnswer { verdict: "ok".to_owned(), code: Some(code.unwrap_or(0)), headers, body, ms: 0 }
}

fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let Some(piece) = tail.get(..size).filter(|piece| !piece.is_empty()) else { break };
        body.push_str(piece);
        rest = tail[size..].trim_start_matches("\r\n");
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let answer = read(
            "HTTP/1.1 503 No\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        );
        assert_eq!((answer.code, answer.body.as_str()), (Some(503), "abcde"));
        assert_eq!(answer.headers["x-a"], "b");
        assert_eq!(read("HTTP/1.1 200 OK\r\n\r\nplain").body, "plain");
    }
}
