//! Answers: what became of a request, and how that is written in the form that the client wants.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WARNING};
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;

use super::accept::{Form, Shape};
use super::joined::Joined;
use super::limits::Held;
use super::table::{Include, Tables, only_metadata};
use crate::body::{self, MediaType, protobuf, yaml};
use crate::kinds::Kind;
use crate::rest;
use crate::rest::read::Listed;
use crate::schema::{Schema, TypeId};
use crate::status::Status;

/// The bytes of an answer.
#[derive(Debug)]
pub(crate) enum Chunks {
    /// They are all there.
    Ready(VecDeque<Bytes>),
    /// They are put together while they are sent.
    Listed(Box<Joined>),
    /// They come when there is something to tell.
    Stream(Receiver<Bytes>),
    /// They come from somebody else, who may break off.
    Passed(Receiver<io::Result<Bytes>>),
    /// Until they are sent, the client holds something.
    Holding(Box<Chunks>, #[expect(dead_code, reason = "it is given back when it is dropped")] Held),
}

impl Chunks {
    pub(crate) fn of(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::Ready(if bytes.is_empty() { VecDeque::new() } else { VecDeque::from([bytes]) })
    }
}

impl Chunks {
    /// The same, and what the client holds until they are sent.
    pub(crate) fn holding(self, held: Held) -> Self {
        if held.is_empty() { self } else { Self::Holding(Box::new(self), held) }
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Ready(chunks) => Poll::Ready(chunks.pop_front().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Listed(joined) => Poll::Ready(joined.next_piece().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(receiver) => {
                receiver.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Passed(receiver) => {
                receiver.poll_recv(context).map(|bytes| bytes.map(|bytes| bytes.map(Frame::data)))
            }
            Self::Holding(chunks, _) => Pin::new(&mut **chunks).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Ready(chunks) => chunks.is_empty(),
            Self::Listed(joined) => joined.left() == 0,
            Self::Stream(_) | Self::Passed(_) => false,
            Self::Holding(chunks, _) => chunks.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Ready(chunks) => SizeHint::with_exact(chunks.iter().map(|bytes| bytes.len() as u64).sum()),
            Self::Listed(joined) => SizeHint::with_exact(joined.left()),
            Self::Stream(_) | Self::Passed(_) => SizeHint::default(),
            Self::Holding(chunks, _) => chunks.size_hint(),
        }
    }
}

/// How answers to one request are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writer {
    pub(crate) form: Form,
    pub(crate) include: Include,
    /// Seconds since 1970.
    pub(crate) now: i64,
}

impl Writer {
    /// An object, as its text.
    pub(crate) fn object(&self, code: u16, kind: &'static Kind, text: &Bytes) -> Response<Chunks> {
        let bytes = match self.form.shape {
            Shape::Whole => return self.bytes(code, self.whole(kind, text)),
            Shape::Table(version) => {
                let object = rest::object(text);
                let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                let tables = Tables { kind, version, include: self.include, now: self.now };
                tables.table(metadata, &[object], true)
            }
            Shape::Metadata => only_metadata(&rest::object(text), "meta.k8s.io/v1"),
        };
        self.value(code, &bytes)
    }

    /// An object in the language of the client.
    pub(crate) fn whole(&self, kind: &Kind, text: &Bytes) -> Vec<u8> {
        match self.form.media_type {
            MediaType::Json if self.form.is_pretty => body::indented(text),
            MediaType::Json => [text, &b"\n"[..]].concat(),
            MediaType::Yaml => yaml::encode(&rest::object(text)).into_bytes(),
            MediaType::Protobuf => {
                let mut message = Vec::with_capacity(text.len());
                protobuf::put_text(&mut message, text, kind.of_type());
                protobuf::Envelope::seal(&kind.api_version(), kind.kind, &message)
            }
        }
    }

    /// A list.
    pub(crate) fn list(&self, kind: &'static Kind, listed: Listed) -> Response<Chunks> {
        let mut metadata = json!({"resourceVersion": listed.revision.to_string()});
        if !listed.continue_at.is_empty() {
            metadata["continue"] = listed.continue_at.into();
        }
        if let Some(remaining) = listed.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        match self.form.shape {
            Shape::Whole if self.form.media_type == MediaType::Json && !self.form.is_pretty => respond(
                200,
                self.form.content_type(false),
                Chunks::Listed(Box::new(Joined::new(kind, &metadata, listed.items))),
            ),
            Shape::Whole if self.form.media_type == MediaType::Protobuf => {
                let name = format!("{}List", kind.kind);
                let items = (&listed.items[..], kind.of_type());
                let pieces = protobuf::list_of_texts((&kind.api_version(), &name), &metadata, items);
                respond(200, self.form.content_type(false), Chunks::Ready(pieces))
            }
            Shape::Whole => {
                let objects: Vec<Value> =
                    listed.items.iter().map(|text| without_kind(rest::object(text))).collect();
                let list = json!({"kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(),
                                  "metadata": metadata, "items": objects});
                self.value(200, &list)
            }
            Shape::Table(version) => {
                let objects: Vec<Value> = listed.items.iter().map(|text| rest::object(text)).collect();
                let tables = Tables { kind, version, include: self.include, now: self.now };
                self.value(200, &tables.table(metadata, &objects, true))
            }
            Shape::Metadata => {
                let items: Vec<Value> = listed
                    .items
                    .iter()
                    .map(|text| only_metadata(&rest::object(text), "meta.k8s.io/v1"))
                    .collect();
                let list = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                                  "metadata": metadata, "items": items});
                self.value(200, &list)
            }
        }
    }

    /// A document. What has no numbers for its fields in protobuf is answered in JSON.
    pub(crate) fn value(&self, code: u16, value: &Value) -> Response<Chunks> {
        if self.form.media_type == MediaType::Protobuf && numbered(value).is_none() {
            let json = Self { form: Form::JSON, ..*self };
            return json.value(code, value);
        }
        let mut bytes = self.document(value);
        if self.form == (Form { is_pretty: false, media_type: MediaType::Json, ..self.form }) {
            bytes.push(b'\n');
        }
        self.bytes(code, bytes)
    }

    /// A document in the language of the client.
    pub(crate) fn document(&self, value: &Value) -> Vec<u8> {
        match self.form.media_type {
            MediaType::Json if self.form.is_pretty => body::indented(&plain(value)),
            MediaType::Json => plain(value),
            MediaType::Yaml => yaml::encode(value).into_bytes(),
            MediaType::Protobuf => match numbered(value) {
                Some((api_version, kind, of)) => {
                    protobuf::Envelope::seal(api_version, kind, &protobuf::encode(value, of))
                }
                None => plain(value),
            },
        }
    }

    /// A refusal.
    pub(crate) fn refusal(&self, status: &Status) -> Response<Chunks> {
        let mut response = self.value(status.code, &status.json());
        if let Some(seconds) = status.retry_after() {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    fn bytes(&self, code: u16, bytes: Vec<u8>) -> Response<Chunks> {
        respond(code, self.form.content_type(false), Chunks::of(bytes))
    }
}

/// The documents that have numbers for their fields, besides objects.
fn numbered(value: &Value) -> Option<(&str, &str, TypeId)> {
    let (api_version, kind) = (value["apiVersion"].as_str()?, value["kind"].as_str()?);
    let name = match (api_version, kind) {
        ("v1", "Status") => "meta.v1.Status",
        ("autoscaling/v1", "Scale") => "autoscaling.v1.Scale",
        _ => return None,
    };
    Some((api_version, kind, Schema::get().find(name)?))
}

/// A document as Go prints it: `kind` and `apiVersion` first.
fn plain(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    body::put_document(&mut out, value);
    out
}

/// An object in a list says neither kind nor version.
fn without_kind(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    object
}

/// Puts an answer together.
pub(crate) fn respond(code: u16, content_type: &'static str, chunks: Chunks) -> Response<Chunks> {
    let mut response = Response::new(chunks);
    // Every code is one of ours.
    *response.status_mut() =
        http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// No answer at all, which is right.
pub(crate) fn nothing() -> Response<Chunks> {
    let mut response = respond(204, "", Chunks::of(""));
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

/// A text for people.
pub(crate) fn text(code: u16, text: impl Into<Bytes>) -> Response<Chunks> {
    let mut response = respond(code, "text/plain; charset=utf-8", Chunks::of(text));
    let sniff = HeaderName::from_static("x-content-type-options");
    response.headers_mut().insert(sniff, HeaderValue::from_static("nosniff"));
    response
}

/// The most characters of one warning, and of all of them together; as kube-apiserver's.
const LONGEST_WARNING: usize = 256;
const MOST_WARNINGS: usize = 4096;

/// Adds what the client should know, each once, and not more than headers can hold.
pub(crate) fn warn(response: &mut Response<Chunks>, warnings: &[String]) {
    let (mut seen, mut left) = (BTreeSet::new(), MOST_WARNINGS);
    for warning in warnings {
        let shown = warning.chars().filter(|char| !char.is_control());
        let shown: String = shown.take(LONGEST_WARNING.min(left)).collect();
        if shown.is_empty() || !seen.insert(shown.clone()) {
            continue;
        }
        left -= shown.chars().count();
        let quoted = shown.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            response.headers_mut().append(WARNING, value);
        }
    }
}
