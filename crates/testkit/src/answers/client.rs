//! A plain HTTP client: one request at a time over one connection, and watches over connections of their own.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::access::{Access, Proof};
use super::frames::Frames;
use super::tls;

/// The recorded managedFields name the program that recorded them, which servers take from here.
const AGENT: &str = "apirecord/1.0";
/// No server may take longer for an answer; a watch may take as long for its head.
const PATIENCE: Duration = Duration::from_secs(60);

/// One request.
#[derive(Debug, Clone, Default)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<String>,
    /// Sends no credentials.
    pub anonymous: bool,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is no answer. The request may have been carried out all the same.
#[derive(Debug, Error)]
pub enum CallError {
    #[error("reach {0}: {1}")]
    Reach(String, io::Error),
    #[error("{0}: {1}")]
    Broken(String, hyper::Error),
    #[error("{0}: no answer in {1:?}")]
    Late(String, Duration),
    #[error("{0}: not a request: {1}")]
    Request(String, http::Error),
}

/// A client of one server.
pub struct Client {
    access: Access,
    kept: Option<SendRequest<Full<Bytes>>>,
}

impl Call {
    /// A request without a body.
    pub fn new(method: Method, path: &str) -> Self {
        Self { method, path: path.to_owned(), ..Self::default() }
    }

    /// A request with a JSON body.
    pub fn json(method: Method, path: &str, body: &Value) -> Self {
        Self::new(method, path).with_body("application/json", body.to_string())
    }

    /// The same request with a body of this type.
    pub fn with_body(mut self, content_type: &str, body: String) -> Self {
        self.headers.push(("Content-Type".to_owned(), content_type.to_owned()));
        Self { body: Some(body), ..self }
    }

    fn title(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn request(&self, access: &Access, host: &str) -> Result<Request<Full<Bytes>>, http::Error> {
        let body = Full::new(Bytes::from(self.body.clone().unwrap_or_default()));
        let mut request = Request::builder().method(&self.method).uri(uri(&self.path)?).body(body)?;
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_str(host)?);
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let (false, Proof::Token(token)) = (self.anonymous, &access.proof) {
            headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}"))?);
        }
        for (name, value) in &self.headers {
            headers.insert(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
        }
        Ok(request)
    }
}

/// A path as it stands where it is a proper one; what may not stand there is escaped.
fn uri(path: &str) -> Result<Uri, http::Error> {
    if let Ok(uri) = path.parse() {
        return Ok(uri);
    }
    let escape = |byte: u8| match byte {
        b'%' | b'/' | b'?' | b'&' | b'=' | b',' | b':' | b'-' | b'_' | b'.' | b'~' => {
            (byte as char).to_string()
        }
        plain if plain.is_ascii_alphanumeric() => (plain as char).to_string(),
        other => format!("%{other:02X}"),
    };
    Ok(path.bytes().map(escape).collect::<String>().parse::<Uri>()?)
}

impl Answer {
    /// The body as JSON, or null.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

impl Client {
    /// Connects when the first request is made.
    pub fn new(access: &Access) -> Self {
        Self { access: access.clone(), kept: None }
    }

    /// Makes a request; once more over a new connection where the kept one turns out to be closed.
    pub async fn call(&mut self, call: &Call) -> Result<Answer, CallError> {
        let was_kept = self.kept.is_some();
        match self.call_once(call).await {
            Err(CallError::Broken(..)) if was_kept => self.call_once(call).await,
            other => other,
        }
    }

    /// Makes a request and leaves it open whether it was carried out when there is no answer.
    pub async fn call_once(&mut self, call: &Call) -> Result<Answer, CallError> {
        let broken = |error| CallError::Broken(call.title(), error);
        let asked = async {
            let (mut sender, response) = self.open(call).await?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(broken)?.to_bytes();
            let is_open = !call.anonymous && sender.ready().await.is_ok();
            Ok((
                is_open.then_some(sender),
                Answer { code: head.status.as_u16(), headers: head.headers, body },
            ))
        };
        let (sender, answer) =
            timeout(PATIENCE, asked).await.map_err(|_| CallError::Late(call.title(), PATIENCE))??;
        self.kept = sender;
        Ok(answer)
    }

    /// Opens a watch over a connection of its own; the answer's body stays empty.
    pub async fn watch(&self, call: &Call) -> Result<(Answer, Frames), CallError> {
        let mut client = Self::new(&self.access);
        let opened = timeout(PATIENCE, client.open(call)).await;
        let (sender, response) = opened.map_err(|_| CallError::Late(call.title(), PATIENCE))??;
        let (head, body) = response.into_parts();
        let answer = Answer { code: head.status.as_u16(), headers: head.headers, body: Bytes::new() };
        Ok((answer, Frames::read(body, sender)))
    }

    async fn open(
        &mut self,
        call: &Call,
    ) -> Result<(SendRequest<Full<Bytes>>, Response<Incoming>), CallError> {
        let (scheme, host) = self.access.url.split_once("://").unwrap_or(("http", &self.access.url));
        let request =
            call.request(&self.access, host).map_err(|error| CallError::Request(call.title(), error))?;
        let is_usable = |kept: &SendRequest<_>| !kept.is_closed() && !call.anonymous;
        let mut sender = match self.kept.take().filter(is_usable) {
            Some(kept) => kept,
            None => self.connect((scheme == "https", !call.anonymous), host).await?,
        };
        let response = sender.send_request(request).await;
        Ok((sender, response.map_err(|error| CallError::Broken(call.title(), error))?))
    }

    /// A certificate is shown per connection: one that is kept is the administrator's.
    async fn connect(
        &self,
        (is_secret, shows_proof): (bool, bool),
        host: &str,
    ) -> Result<SendRequest<Full<Bytes>>, CallError> {
        let failed = |error| CallError::Reach(self.access.url.clone(), error);
        let stream = TcpStream::connect(host).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        if !is_secret {
            return self.handshake(stream).await;
        }
        let stream =
            tls::secure(stream, host, shows_proof.then_some(&self.access.proof)).await.map_err(failed)?;
        self.handshake(stream).await
    }

    async fn handshake<S>(&self, stream: S) -> Result<SendRequest<Full<Bytes>>, CallError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let opened = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) =
            opened.map_err(|error| CallError::Broken(self.access.url.clone(), error))?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_left_alone_where_they_can_be() {
        for (path, expected) in [
            ("/a/b?c=d%2Ce&f=x!=y", "/a/b?c=d%2Ce&f=x!=y"),
            ("/a?l=x in (a, b)", "/a?l=x%20in%20%28a,%20b%29"),
        ] {
            assert_eq!(uri(path).unwrap().to_string(), expected, "{path}");
        }
    }
}
