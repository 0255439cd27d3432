//! Objects as tables, and as nothing but their metadata.

use serde_json::{Value, json};

use super::accept::TableVersion;
use crate::body::quoted;
use crate::kinds::Kind;
use crate::status::Status;

/// What a row says of its object besides its cells: the parameter `includeObject`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

impl Include {
    /// Reads it; a word that is none is the answer.
    pub(crate) fn parse(text: &str) -> Result<Self, Status> {
        match text {
            "None" => Ok(Self::None),
            "Object" => Ok(Self::Object),
            "" | "Metadata" => Ok(Self::Metadata),
            other => Err(Status::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {}: must be 'Metadata', 'Object', \
                 'None', or empty",
                quoted(other)
            ))),
        }
    }
}

/// How rows are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tables {
    pub(crate) kind: &'static Kind,
    pub(crate) version: TableVersion,
    pub(crate) include: Include,
    /// Seconds since 1970.
    pub(crate) now: i64,
}

impl Tables {
    /// Answers a table of objects. `metadata`: that of their list.
    pub(crate) fn table(&self, metadata: Value, objects: &[Value], has_columns: bool) -> Value {
        let rows: Vec<Value> = objects.iter().map(|object| self.row(object)).collect();
        let columns = if has_columns { self.columns() } else { Value::Null };
        json!({"kind": "Table", "apiVersion": self.api_version(), "metadata": metadata,
               "columnDefinitions": columns, "rows": rows})
    }

    fn api_version(&self) -> &'static str {
        match self.version {
            TableVersion::V1 => "meta.k8s.io/v1",
            TableVersion::V1Beta1 => "meta.k8s.io/v1beta1",
        }
    }

    fn columns(&self) -> Value {
        let name = json!({"name": "Name", "type": "string", "format": "name", "priority": 0,
                          "description": "The name of the object, unique among those of its kind in its namespace."});
        let own = self.kind.rules.columns.iter().map(|column| {
            let format = if column.name == "Name" { "name" } else { "" };
            json!({"name": column.name, "type": column.shape, "format": format, "description": column.description,
                   "priority": column.priority})
        });
        if self.has_all() { own.collect() } else { std::iter::once(name).chain(own).collect() }
    }

    /// Whether the kind says where among its columns the name is.
    fn has_all(&self) -> bool {
        self.kind.rules.columns.iter().any(|column| column.name == "Name")
    }

    fn row(&self, object: &Value) -> Value {
        let mut cells = (self.kind.rules.cells)(object, self.now);
        if !self.has_all() {
            cells.insert(0, object["metadata"]["name"].clone());
        }
        match self.include {
            Include::None => json!({"cells": cells, "object": null}),
            Include::Metadata => json!({"cells": cells, "object": only_metadata(object, self.api_version())}),
            Include::Object => json!({"cells": cells, "object": object}),
        }
    }
}

/// Answers nothing but the metadata of an object.
pub(crate) fn only_metadata(object: &Value, api_version: &str) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": api_version, "metadata": object["metadata"]})
}
