//! In what form a client wants its answer.

use crate::body::MediaType;
use crate::status::Status;

/// A form that a client accepts and that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    /// The language.
    pub(crate) media_type: MediaType,
    /// How much of the objects.
    pub(crate) shape: Shape,
    /// Whether it is for people.
    pub(crate) is_pretty: bool,
}

/// How much of objects is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// All of them.
    Whole,
    /// What a table shows of them.
    Table(TableVersion),
    /// Their metadata.
    Metadata,
}

/// The version in which a table is wanted; they have the same fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableVersion {
    /// `meta.k8s.io/v1`.
    V1,
    /// `meta.k8s.io/v1beta1`.
    V1Beta1,
}

impl Form {
    /// What is answered when nobody can be asked.
    pub(crate) const JSON: Self = Self { media_type: MediaType::Json, shape: Shape::Whole, is_pretty: false };

    /// Reads the header `Accept`. Without one, anything will do.
    pub(crate) fn parse(accept: &str) -> Result<Self, Status> {
        if accept.trim().is_empty() {
            return Ok(Self::JSON);
        }
        let mut clauses: Vec<(f64, &str)> =
            accept.split(',').map(|clause| (quality(clause), clause)).collect();
        clauses.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        let knows_language = clauses.iter().any(|(_, clause)| Self::of_language(clause).is_some());
        let found = clauses.into_iter().find_map(|(_, clause)| Self::of_clause(clause));
        found.ok_or_else(|| if knows_language { no_such_shape() } else { not_acceptable() })
    }

    fn of_language(clause: &str) -> Option<MediaType> {
        match clause.split(';').next()?.trim().to_ascii_lowercase().as_str() {
            "*/*" | "application/json" => Some(MediaType::Json),
            "application/yaml" => Some(MediaType::Yaml),
            "application/vnd.kubernetes.protobuf" => Some(MediaType::Protobuf),
            _ => None,
        }
    }

    fn of_clause(clause: &str) -> Option<Self> {
        let media_type = Self::of_language(clause)?;
        let mut form = Self { media_type, ..Self::JSON };
        let (mut wanted, mut group, mut version) = ("", "", "");
        for part in clause.split(';').skip(1).map(str::trim) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            match name.trim() {
                "as" => wanted = value.trim(),
                "g" => group = value.trim(),
                "v" => version = value.trim(),
                "pretty" => form.is_pretty = value.trim() == "1",
                _ => {}
            }
        }
        form.shape = match (wanted, group, version) {
            ("", ..) => Shape::Whole,
            ("Table", "meta.k8s.io", "v1") => Shape::Table(TableVersion::V1),
            ("Table", "meta.k8s.io", "v1beta1") => Shape::Table(TableVersion::V1Beta1),
            ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1" | "v1beta1") => {
                Shape::Metadata
            }
            _ => return None,
        };
        // Nobody has numbers for the fields of a table.
        let is_possible = media_type != MediaType::Protobuf || form.shape == Shape::Whole;
        is_possible.then_some(form)
    }

    /// Answers the header `Content-Type`.
    pub(crate) fn content_type(self, is_stream: bool) -> &'static str {
        match (self.media_type, is_stream) {
            (MediaType::Json, _) => "application/json",
            (MediaType::Yaml, _) => "application/yaml",
            (MediaType::Protobuf, false) => "application/vnd.kubernetes.protobuf",
            (MediaType::Protobuf, true) => "application/vnd.kubernetes.protobuf;stream=watch",
        }
    }
}

fn quality(clause: &str) -> f64 {
    let quality = clause.split(';').skip(1).find_map(|part| part.trim().strip_prefix("q="));
    quality.and_then(|quality| quality.trim().parse().ok()).unwrap_or(1.0)
}

pub(crate) fn not_acceptable() -> Status {
    let message = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
                   application/vnd.kubernetes.protobuf, application/json;stream=watch, \
                   application/vnd.kubernetes.protobuf;stream=watch";
    Status::new(406, "NotAcceptable", message).about(serde_json::json!({}))
}

/// The client knows a language of this server, but wants something in it that there is not.
fn no_such_shape() -> Status {
    let message = "only the following media types are accepted: application/json, application/yaml, \
                   application/vnd.kubernetes.protobuf";
    Status::new(406, "NotAcceptable", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str, wanted: &str) {
        let found = match Form::parse(accept) {
            Ok(form) => {
                let pretty = if form.is_pretty { " pretty" } else { "" };
                format!("{:?} {:?}{pretty}", form.media_type, form.shape)
            }
            Err(status) => status.code.to_string(),
        };
        assert_eq!(found, wanted, "{accept}");
    }

    #[test]
    fn the_best_form_that_there_is_is_taken() {
        check("", "Json Whole");
        check("*/*", "Json Whole");
        check("application/*", "406");
        check("application/cbor", "406");
        check("text/html, */*;q=0.1", "Json Whole");
        check("application/json;q=0.5,application/yaml", "Yaml Whole");
        check("application/json;pretty=1", "Json Whole pretty");
        check("application/vnd.kubernetes.protobuf,application/json", "Protobuf Whole");
        check("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "Json Table(V1)");
        check("application/json;as=Nope;v=v1;g=meta.k8s.io,application/json", "Json Whole");
        check(
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
            "Json Whole",
        );
        check("application/vnd.kubernetes.protobuf;stream=watch", "Protobuf Whole");
    }
}
