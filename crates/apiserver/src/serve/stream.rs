//! Watches as streams: events in the form that the client wants, as they come, no faster than it reads.

use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::{Instant, sleep_until};

use super::accept::{Form, Shape};
use super::answer::{Chunks, Writer, respond};
use super::table::{Tables, only_metadata};
use crate::body::{self, MediaType, protobuf};
use crate::kinds::Kind;
use crate::rest::watching::{Event, Watching};
use crate::rest::{self, Clock};

/// How often a client that wants bookmarks gets one while nothing happens.
const BOOKMARKS: Duration = Duration::from_secs(60);

/// What a stream is besides its events.
pub(crate) struct Stream {
    pub(crate) kind: &'static Kind,
    pub(crate) writer: Writer,
    /// Whether the client wants bookmarks.
    pub(crate) bookmarks: bool,
    /// When it ends.
    pub(crate) timeout: Duration,
    /// Becomes true when the server stops.
    pub(crate) stopping: tokio::sync::watch::Receiver<bool>,
    /// What time it is: tables show ages.
    pub(crate) clock: Clock,
    /// Counts the streams that are open, by living as long.
    pub(crate) _counted: super::metrics::Counted,
}

impl Stream {
    /// Answers with the events of a watch until it ends.
    pub(crate) fn start(self, watching: Watching) -> Response<Chunks> {
        // One batch waits while the client reads another; further ones stay where they are.
        let (sender, receiver) = channel(1);
        let content_type = self.writer.form.content_type(true);
        tokio::spawn(self.run(watching, sender));
        respond(200, content_type, Chunks::Stream(receiver))
    }

    async fn run(self, mut watching: Watching, sender: Sender<Bytes>) {
        let begin = Instant::now();
        let end = begin + self.timeout;
        let (mut bookmark_at, mut bookmarked) = (begin + BOOKMARKS, watching.position());
        // Made once: a thousand watches that wait anew for each change are noticed.
        let (ends, mut stopping) = (sleep_until(end), self.stopping);
        tokio::pin!(ends);
        let stops = super::stopped(&mut stopping);
        tokio::pin!(stops);
        let mut framing = Framing { kind: self.kind, writer: self.writer, has_columns: true };
        loop {
            let events = tokio::select! {
                events = watching.next() => match events {
                    Some(events) => events,
                    None => return,
                },
                () = sleep_until(bookmark_at), if self.bookmarks => {
                    bookmark_at += BOOKMARKS;
                    let revision = watching.position();
                    if revision == bookmarked {
                        continue;
                    }
                    bookmarked = revision;
                    vec![Event::Bookmark { revision, ends_initial: false }]
                }
                () = &mut ends => return,
                () = &mut stops => return,
                () = sender.closed() => return,
            };
            framing.writer.now = (self.clock.now)().seconds;
            let mut bytes = Vec::new();
            for event in &events {
                framing.put(&mut bytes, event);
            }
            if bytes.is_empty() {
                continue;
            }
            tokio::select! {
                sent = sender.send(bytes.into()) => if sent.is_err() { return },
                () = &mut ends => return,
                () = &mut stops => return,
            }
        }
    }
}

/// How events are written.
struct Framing {
    kind: &'static Kind,
    writer: Writer,
    /// The columns of a table come with its first event only.
    has_columns: bool,
}

impl Framing {
    fn put(&mut self, out: &mut Vec<u8>, event: &Event) {
        let (event_type, told) = match event {
            Event::Added(told) => ("ADDED", told.clone()),
            Event::Modified(told) => ("MODIFIED", told.clone()),
            Event::Deleted(told) => ("DELETED", told.clone()),
            Event::Bookmark { revision, ends_initial } => {
                ("BOOKMARK", self.bookmark(*revision, *ends_initial).into())
            }
            Event::Error(status) => {
                let writer = Writer {
                    form: Form { shape: Shape::Whole, is_pretty: false, ..self.writer.form },
                    ..self.writer
                };
                let object = writer.document(&status.json());
                return self.frame(out, "ERROR", &object);
            }
        };
        match self.writer.form.shape {
            Shape::Whole if self.writer.form.media_type == MediaType::Json => {
                self.frame(out, event_type, &told.text)
            }
            Shape::Whole => {
                let object = told.encoded(|text| self.writer.whole(self.kind, text));
                self.frame(out, event_type, &object);
            }
            Shape::Table(version) => {
                let object = rest::object(&told.text);
                let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                let tables =
                    Tables { kind: self.kind, version, include: self.writer.include, now: self.writer.now };
                let table = tables.table(metadata, &[object], std::mem::take(&mut self.has_columns));
                self.document(out, event_type, &table);
            }
            Shape::Metadata => {
                let metadata = only_metadata(&rest::object(&told.text), "meta.k8s.io/v1");
                self.document(out, event_type, &metadata);
            }
        }
    }

    fn document(&self, out: &mut Vec<u8>, event_type: &str, value: &Value) {
        let mut object = Vec::new();
        body::put_document(&mut object, value);
        self.frame(out, event_type, &object);
    }

    fn frame(&self, out: &mut Vec<u8>, event_type: &str, object: &[u8]) {
        if self.writer.form.media_type == MediaType::Protobuf {
            let event = protobuf::encode_event(event_type, object);
            // An event is never near four gigabytes.
            out.extend_from_slice(&u32::try_from(event.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(&event);
            return;
        }
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(event_type.as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        out.extend_from_slice(object);
        out.extend_from_slice(b"}\n");
    }

    fn bookmark(&self, revision: u64, ends_initial: bool) -> Bytes {
        let mut object = json!({"kind": self.kind.kind, "apiVersion": self.kind.api_version(),
                                "metadata": {"resourceVersion": revision.to_string()}});
        if ends_initial {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        body::canonical(&mut object, self.kind.of_type());
        body::text(&object, self.kind.of_type()).into()
    }
}
