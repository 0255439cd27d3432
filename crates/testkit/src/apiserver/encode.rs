//! Objects, lists and watch events as bytes, in JSON and in Kubernetes' protobuf.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::resource::Resource;
use crate::protobuf;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Protobuf,
}

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

impl Form {
    /// Chooses as the real server does: the first of the accepted types that it knows.
    pub(super) fn negotiate(accept: &str, protobuf_served: bool) -> Option<Self> {
        if accept.is_empty() {
            return Some(Self::Json);
        }
        accept.split(',').find_map(|offer| match offer.split(';').next().unwrap_or("").trim() {
            PROTOBUF if protobuf_served => Some(Self::Protobuf),
            // A table is an extension of JSON that this server does not have.
            "application/json" if !offer.contains("as=Table") => Some(Self::Json),
            "*/*" | "application/*" => Some(Self::Json),
            _ => None,
        })
    }

    pub(super) fn content_type(self, watch: bool) -> String {
        let base = match self {
            Self::Json => "application/json",
            Self::Protobuf => PROTOBUF,
        };
        // The real server marks only the stream of protobuf frames.
        let stream = if watch && self == Self::Protobuf { ";stream=watch" } else { "" };
        format!("{base}{stream}")
    }

    pub(super) fn object(self, object: &Value) -> Bytes {
        match self {
            Self::Json => format!("{object}\n").into(),
            Self::Protobuf => protobuf::enveloped(object).expect("every kind that is served is known").into(),
        }
    }

    /// Writes one frame of a watch.
    pub(super) fn event(self, kind: &str, object: &Value) -> Bytes {
        match self {
            Self::Json => format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n").into(),
            Self::Protobuf => {
                protobuf::event(kind, object).expect("every kind that is served is known").into()
            }
        }
    }

    /// Writes a list. Its items carry neither kind nor version, as in the real server's answers.
    pub(super) fn list(self, resource: Resource, metadata: &Value, items: &[Arc<Value>]) -> Bytes {
        let items: Vec<Value> = items.iter().map(|item| without_type(item)).collect();
        let kind = format!("{}List", resource.kind());
        let list =
            json!({"kind": kind, "apiVersion": resource.api_version(), "metadata": metadata, "items": items});
        self.object(&list)
    }
}

fn without_type(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_type_is_chosen() {
        let both = "application/vnd.kubernetes.protobuf;stream=watch, application/json";
        assert_eq!(Form::negotiate(both, true), Some(Form::Protobuf));
        assert_eq!(Form::negotiate(both, false), Some(Form::Json));
        assert_eq!(Form::negotiate("", true), Some(Form::Json));
        assert_eq!(Form::negotiate("text/html", true), None);
        assert_eq!(Form::negotiate(PROTOBUF, false), None);
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        assert_eq!(Form::negotiate(kubectl, true), Some(Form::Json));
    }
}
