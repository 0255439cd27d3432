//! Takes answers of the API server apart into objects, without looking into these beyond their metadata.
//!
//! Bytes in, values out. Items of a list and objects of a watch stay slices of the body they came in.

use std::borrow::Cow;

use bytes::Bytes;
use objects::{Kind, ObjectKey};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::frame::Form;
use objects::wire::{Fields, Value, Wrong};

/// Why an answer makes no sense; a fragment that fits after "the answer".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) String);

impl From<Wrong> for Malformed {
    fn from(wrong: Wrong) -> Self {
        Self(format!("is no valid protobuf: {wrong}"))
    }
}

impl From<serde_json::Error> for Malformed {
    fn from(error: serde_json::Error) -> Self {
        Self(format!("is no valid JSON: {error}"))
    }
}

/// The metadata that a source needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) revision: String,
    /// Whether it marks the end of the initial events of a watch.
    pub(crate) ends_initial_events: bool,
}

impl Meta {
    pub(crate) fn key(&self, kind: Kind) -> ObjectKey {
        let name = match kind {
            Kind::Service | Kind::EndpointSlice => format!("{}/{}", self.namespace, self.name),
            Kind::Node | Kind::ServiceCidr => self.name.clone(),
        };
        ObjectKey { kind, name: name.into() }
    }
}

/// A refusal in the words of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) kind: String,
    pub(crate) message: String,
    pub(crate) reason: String,
    pub(crate) code: u16,
}

/// One frame of a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WatchFrame {
    Applied(Meta, Bytes),
    Deleted(Meta),
    Bookmark(Meta),
    Error(Status),
    /// An object that was added or changed, but cannot even be named.
    Unreadable(Malformed),
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) items: Vec<Bytes>,
    pub(crate) revision: String,
    /// Where the next page begins; empty for the last page.
    pub(crate) next: String,
}

/// Answers the name of the kind, as `apiVersion` and `kind` write it.
pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Service => "Service",
        Kind::EndpointSlice => "EndpointSlice",
        Kind::Node => "Node",
        Kind::ServiceCidr => "ServiceCIDR",
    }
}

/// Reads one frame of a watch.
pub(crate) fn watch_frame(form: Form, frame: &Bytes) -> Result<WatchFrame, Malformed> {
    let (event, object) = match form {
        Form::Json => json_event(frame)?,
        Form::Protobuf => protobuf_event(frame)?,
    };
    match event.as_ref() {
        "ADDED" | "MODIFIED" => Ok(match meta(form, &object) {
            Ok(meta) => WatchFrame::Applied(meta, object),
            Err(malformed) => WatchFrame::Unreadable(malformed),
        }),
        "DELETED" => Ok(WatchFrame::Deleted(meta(form, &object)?)),
        "BOOKMARK" => Ok(WatchFrame::Bookmark(meta(form, &object)?)),
        "ERROR" => Ok(WatchFrame::Error(match form {
            Form::Json => serde_json::from_slice(&object)?,
            Form::Protobuf => protobuf_status(&object)?,
        })),
        other => Err(Malformed(format!("has an event of the unknown type {other:?}"))),
    }
}

fn json_event(frame: &Bytes) -> Result<(String, Bytes), Malformed> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(rename = "type", borrow)]
        event: Cow<'a, str>,
        #[serde(borrow)]
        object: &'a RawValue,
    }
    let event: Event<'_> = serde_json::from_slice(frame)?;
    let object = frame.slice_ref(event.object.get().as_bytes());
    Ok((event.event.into_owned(), object))
}

/// `WatchEvent{1: type, 2: RawExtension{1: raw}}`, without a magic number of its own.
fn protobuf_event(frame: &Bytes) -> Result<(String, Bytes), Malformed> {
    let (mut event, mut raw) = (String::new(), None);
    for field in Fields::new(frame) {
        match field? {
            (1, Value::Bytes(text)) => event = utf8(text)?,
            (2, Value::Bytes(extension)) => {
                for field in Fields::new(extension) {
                    if let (1, Value::Bytes(bytes)) = field? {
                        raw = Some(bytes);
                    }
                }
            }
            _ => {}
        }
    }
    let raw = raw.ok_or_else(|| Malformed("has an event without an object".into()))?;
    let (_, object) = opened(raw)?;
    Ok((event, frame.slice_ref(object)))
}

/// Reads one page of a list of `kind`.
pub(crate) fn page(form: Form, kind: Kind, body: &Bytes) -> Result<Page, Malformed> {
    match form {
        Form::Json => json_page(Some(kind), body),
        Form::Protobuf => protobuf_page(kind, body),
    }
}

/// Reads one page of a JSON list, of any kind where none is asked for.
pub(crate) fn json_page(kind: Option<Kind>, body: &Bytes) -> Result<Page, Malformed> {
    #[derive(Deserialize)]
    struct List<'a> {
        #[serde(default)]
        kind: String,
        #[serde(default)]
        metadata: ListMeta,
        #[serde(borrow, default)]
        items: Option<Vec<&'a RawValue>>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct ListMeta {
        resource_version: String,
        r#continue: Option<String>,
    }
    let list: List<'_> = serde_json::from_slice(body)?;
    if let Some(kind) = kind {
        check_list_kind(kind, &list.kind)?;
    }
    let items = list.items.unwrap_or_default();
    Ok(Page {
        items: items.into_iter().map(|item| body.slice_ref(item.get().as_bytes())).collect(),
        revision: list.metadata.resource_version,
        next: list.metadata.r#continue.unwrap_or_default(),
    })
}

/// `XList{1: ListMeta{2: resourceVersion, 3: continue}, 2: items}` in an envelope.
fn protobuf_page(kind: Kind, body: &Bytes) -> Result<Page, Malformed> {
    let (list_kind, list) = opened(body)?;
    check_list_kind(kind, &list_kind)?;
    let mut page = Page { items: Vec::new(), revision: String::new(), next: String::new() };
    for field in Fields::new(list) {
        match field? {
            (1, Value::Bytes(metadata)) => {
                for field in Fields::new(metadata) {
                    match field? {
                        (2, Value::Bytes(text)) => page.revision = utf8(text)?,
                        (3, Value::Bytes(text)) => page.next = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Value::Bytes(item)) => page.items.push(body.slice_ref(item)),
            _ => {}
        }
    }
    Ok(page)
}

fn check_list_kind(kind: Kind, found: &str) -> Result<(), Malformed> {
    let expected = format!("{}List", kind_name(kind));
    if found == expected {
        return Ok(());
    }
    Err(Malformed(format!("is of kind {found:?}, not {expected:?}")))
}

/// Reads the body of a refusal, in whatever form it came. `None` when it is no `Status` object.
pub(crate) fn status(form: Option<Form>, body: &[u8]) -> Option<Status> {
    match form? {
        Form::Json => serde_json::from_slice::<Status>(body).ok().filter(|status| status.kind == "Status"),
        Form::Protobuf => {
            let (kind, status) = opened(body).ok()?;
            if kind != "Status" {
                return None;
            }
            protobuf_status(status).ok()
        }
    }
}

/// `Status{3: message, 4: reason, 6: code}`.
fn protobuf_status(status: &[u8]) -> Result<Status, Malformed> {
    let mut read = Status { kind: "Status".into(), ..Status::default() };
    for field in Fields::new(status) {
        match field? {
            (3, Value::Bytes(text)) => read.message = utf8(text)?,
            (4, Value::Bytes(text)) => read.reason = utf8(text)?,
            (6, Value::Number(code)) => read.code = u16::try_from(code).unwrap_or(0),
            _ => {}
        }
    }
    Ok(read)
}

/// Opens the envelope `"k8s\0" Unknown{1: TypeMeta{1: apiVersion, 2: kind}, 2: raw}`; answers kind and content.
fn opened(body: &[u8]) -> Result<(String, &[u8]), Malformed> {
    let unknown = body
        .strip_prefix(b"k8s\0")
        .ok_or_else(|| Malformed("does not begin as Kubernetes' protobuf".into()))?;
    let (mut kind, mut raw): (String, &[u8]) = (String::new(), &[]);
    for field in Fields::new(unknown) {
        match field? {
            (1, Value::Bytes(type_meta)) => {
                for field in Fields::new(type_meta) {
                    if let (2, Value::Bytes(text)) = field? {
                        kind = utf8(text)?;
                    }
                }
            }
            (2, Value::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    Ok((kind, raw))
}

/// Reads the metadata of an object.
pub(crate) fn meta(form: Form, object: &[u8]) -> Result<Meta, Malformed> {
    match form {
        Form::Json => json_meta(object),
        Form::Protobuf => protobuf_meta(object),
    }
}

const END_OF_INITIAL_EVENTS: &str = "k8s.io/initial-events-end";

fn json_meta(object: &[u8]) -> Result<Meta, Malformed> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Fields,
    }
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Fields {
        namespace: Option<String>,
        name: Option<String>,
        resource_version: Option<String>,
        annotations: Option<std::collections::BTreeMap<String, serde_json::Value>>,
    }
    let metadata = serde_json::from_slice::<Object>(object)?.metadata;
    let annotations = metadata.annotations.unwrap_or_default();
    Ok(Meta {
        namespace: metadata.namespace.unwrap_or_default(),
        name: metadata.name.unwrap_or_default(),
        revision: metadata.resource_version.unwrap_or_default(),
        ends_initial_events: annotations.get(END_OF_INITIAL_EVENTS).is_some_and(|value| value == "true"),
    })
}

/// `Object{1: ObjectMeta{1: name, 3: namespace, 6: resourceVersion, 12: annotations}}`.
fn protobuf_meta(object: &[u8]) -> Result<Meta, Malformed> {
    let mut read = Meta::default();
    for field in Fields::new(object) {
        let (1, Value::Bytes(metadata)) = field? else { continue };
        for field in Fields::new(metadata) {
            match field? {
                (1, Value::Bytes(text)) => read.name = utf8(text)?,
                (3, Value::Bytes(text)) => read.namespace = utf8(text)?,
                (6, Value::Bytes(text)) => read.revision = utf8(text)?,
                (12, Value::Bytes(entry)) => read.ends_initial_events |= is_end_entry(entry)?,
                _ => {}
            }
        }
    }
    Ok(read)
}

fn is_end_entry(entry: &[u8]) -> Result<bool, Malformed> {
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    for field in Fields::new(entry) {
        match field? {
            (1, Value::Bytes(bytes)) => key = bytes,
            (2, Value::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Ok(key == END_OF_INITIAL_EVENTS.as_bytes() && value == b"true")
}

fn utf8(bytes: &[u8]) -> Result<String, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed("has text that is not UTF-8".into()))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_frames_are_read() {
        let read = |text: &'static str| watch_frame(Form::Json, &Bytes::from_static(text.as_bytes()));
        let meta = Meta { namespace: "a".into(), name: "b".into(), revision: "7".into(), ..Meta::default() };
        let object = r#"{"metadata":{"name":"b","namespace":"a","resourceVersion":"7"},"spec":{}}"#;
        assert_eq!(
            read(
                r#"{"type":"ADDED","object":{"metadata":{"name":"b","namespace":"a","resourceVersion":"7"},"spec":{}}}"#
            ),
            Ok(WatchFrame::Applied(meta.clone(), Bytes::from_static(object.as_bytes())))
        );
        assert_eq!(
            read(
                r#"{"object":{"metadata":{"name":"b","namespace":"a","resourceVersion":"7"}},"type":"DELETED"}"#
            ),
            Ok(WatchFrame::Deleted(meta))
        );
        let end = read(
            r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9","creationTimestamp":null,"annotations":{"k8s.io/initial-events-end":"true"}}}}"#,
        );
        let expected = Meta { revision: "9".into(), ends_initial_events: true, ..Meta::default() };
        assert_eq!(end, Ok(WatchFrame::Bookmark(expected)));
        let Ok(WatchFrame::Error(status)) = read(
            r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#,
        ) else {
            panic!("no error")
        };
        assert_eq!((status.code, status.message.as_str()), (410, "too old"));
        assert!(matches!(read(r#"{"type":"ADDED","object":{}}"#), Ok(WatchFrame::Unreadable(_))));
        assert!(read(r#"{"type":"DELETED","object":{}}"#).is_err());
        assert!(read(r#"{"type":"BOO","object":{"metadata":{}}}"#).is_err());
    }

    #[test]
    fn a_json_page_keeps_its_items_as_they_are() {
        let body = r#"{"kind":"ServiceList","metadata":{"resourceVersion":"5","continue":"x y"},"items":[{"a":1}, [2]]}"#;
        let page = page(Form::Json, Kind::Service, &Bytes::from_static(body.as_bytes())).unwrap();
        assert_eq!(page.items, [Bytes::from_static(b"{\"a\":1}"), Bytes::from_static(b"[2]")]);
        assert_eq!((page.revision.as_str(), page.next.as_str()), ("5", "x y"));
        let empty =
            Bytes::from_static(br#"{"kind":"NodeList","metadata":{"resourceVersion":"5"},"items":null}"#);
        assert!(super::page(Form::Json, Kind::Node, &empty).unwrap().items.is_empty());
        let wrong = super::page(Form::Json, Kind::Service, &empty).unwrap_err();
        assert_eq!(wrong.0, "is of kind \"NodeList\", not \"ServiceList\"");
    }

    #[test]
    fn protobuf_of_known_bytes_is_read() {
        // Status{3: "gone", 4: "Expired", 6: 410} in an envelope, in an ERROR event.
        let status = b"\x1a\x04gone\x22\x07Expired\x30\x9a\x03";
        let mut unknown = b"k8s\0\x0a\x0c\x0a\x02v1\x12\x06Status\x12".to_vec();
        unknown.push(u8::try_from(status.len()).unwrap());
        unknown.extend_from_slice(status);
        let expected =
            Status { kind: "Status".into(), message: "gone".into(), reason: "Expired".into(), code: 410 };
        assert_eq!(super::status(Some(Form::Protobuf), &unknown), Some(expected.clone()));
        let mut extension = vec![0x0a, u8::try_from(unknown.len()).unwrap()];
        extension.extend_from_slice(&unknown);
        let mut frame = b"\x0a\x05ERROR\x12".to_vec();
        frame.push(u8::try_from(extension.len()).unwrap());
        frame.extend_from_slice(&extension);
        let frame = Bytes::from(frame);
        assert_eq!(watch_frame(Form::Protobuf, &frame), Ok(WatchFrame::Error(expected)));
        for length in 0..frame.len() {
            assert!(watch_frame(Form::Protobuf, &frame.slice(..length)).is_err(), "{length}");
        }
    }
}
