//! Reads one manifest file: several documents, lists unpacked, scalars as Kubernetes reads them.
//!
//! Pure: text in, objects and complaints out.

use model::Problem;
use objects::{Object, ObjectKey};
use serde_json::{Map, Number, Value};

use crate::decode::{ManifestDecoder, Read};

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    pub(super) objects: Vec<(ObjectKey, Object)>,
    /// Fields that were left out, each with the number of its document.
    pub(super) problems: Vec<(usize, Problem)>,
    /// What was not looked at, such as `Deployment shop/web`.
    pub(super) ignored: Vec<String>,
}

/// Why a file cannot be used at all.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("document {document}: {error}")]
pub(super) struct Broken {
    /// Counted from 1; empty documents are not counted.
    pub(super) document: usize,
    /// What is wrong, with line and column if it is about the text.
    pub(super) error: String,
}

/// Reads a file. One document that cannot be read spoils all of it, since nobody knows what it was to say.
pub(super) fn read(name: &str, text: &[u8], decoder: &mut ManifestDecoder) -> Result<Manifest, Broken> {
    let documents = if name.ends_with(".json") { json_documents(text)? } else { yaml_documents(text)? };
    let mut manifest = Manifest::default();
    for (index, document) in documents.into_iter().enumerate() {
        let document_number = index + 1;
        let broken = |error: String| Broken { document: document_number, error };
        for object in unpacked(document).map_err(broken)? {
            match decoder.read(&object).map_err(broken)? {
                Read::Object(key, object, problems) => {
                    manifest.problems.extend(problems.into_iter().map(|problem| (document_number, problem)));
                    manifest.objects.push((key, *object));
                }
                Read::Ignored(what) => manifest.ignored.push(what),
            }
        }
    }
    Ok(manifest)
}

fn json_documents(text: &[u8]) -> Result<Vec<Value>, Broken> {
    let mut documents = Vec::new();
    for document in serde_json::Deserializer::from_slice(text).into_iter::<Value>() {
        let number = documents.len() + 1;
        documents.push(document.map_err(|error| Broken { document: number, error: error.to_string() })?);
    }
    documents.retain(|document| !document.is_null());
    Ok(documents)
}

fn yaml_documents(text: &[u8]) -> Result<Vec<Value>, Broken> {
    // Kubernetes reads YAML as version 1.1 does: 010 is 8, `yes` is true. The file is the administrator's own, so its
    // size is no attack; aliases stay limited.
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_documents: 1_000_000,
            max_events: 100_000_000,
            max_nodes: 50_000_000,
            max_total_scalar_bytes: 1 << 30,
        },
    };
    let mut text = text;
    let mut documents = Vec::new();
    for document in serde_saphyr::read_with_options::<_, Value>(&mut text, options) {
        let number = documents.len() + 1;
        match document {
            Ok(document) => documents.push(integers_as_such(document)),
            Err(error) => return Err(Broken { document: number, error: one_line(&error.to_string()) }),
        }
    }
    documents.retain(|document| !document.is_null());
    Ok(documents)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Turns `80.0` and `8e1` into 80, as the way through JSON does in Kubernetes.
fn integers_as_such(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::Number(integer(&number).unwrap_or(number)),
        Value::Array(items) => Value::Array(items.into_iter().map(integers_as_such).collect()),
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (name, integers_as_such(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value,
    }
}

fn integer(number: &Number) -> Option<Number> {
    /// Every whole number up to here has a float of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.is_i64() || number.is_u64() {
        return None;
    }
    let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= EXACT)?;
    format!("{float:.0}").parse::<i64>().ok().map(Number::from)
}

/// Answers the objects of a document: itself, or the items of `List`, `ServiceList` and so on.
fn unpacked(document: Value) -> Result<Vec<Value>, String> {
    let Value::Object(mut fields) = document else { return Err("it is no object".into()) };
    let kind = fields.get("kind").and_then(Value::as_str).map(str::to_owned);
    let Some(kind) = kind else { return Err("it has no kind".into()) };
    let Some(item_kind) = kind.strip_suffix("List") else { return Ok(vec![Value::Object(fields)]) };
    let api_version = fields.get("apiVersion").cloned();
    let items = match fields.remove("items") {
        Some(Value::Array(items)) => items,
        Some(Value::Null) | None => Vec::new(),
        Some(_) => return Err("items: it is no list".into()),
    };
    let mut objects = Vec::new();
    for (index, mut item) in items.into_iter().enumerate() {
        if let Some(fields) = item.as_object_mut()
            && !item_kind.is_empty()
        {
            // The items of typed lists do not repeat the type.
            fields.entry("kind").or_insert_with(|| item_kind.into());
            fields.entry("apiVersion").or_insert_with(|| api_version.clone().unwrap_or_default());
        }
        objects.extend(unpacked(item).map_err(|error| format!("items[{index}]: {error}"))?);
    }
    Ok(objects)
}
