//! API objects from their short forms.

use std::fmt;

use serde_json::{Map, Value, json};

use super::endpoint::EndpointSpec;
use super::plan::{Family, Plan};
use super::yaml::{Fields, Yaml};
use super::{CaseError, wrong};

/// The kinds that cases write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    ServiceCidr,
    Service,
    Slice,
    Node,
}

impl Kind {
    /// Answers the API's name of the kind.
    pub fn name(self) -> &'static str {
        match self {
            Self::ServiceCidr => "ServiceCIDR",
            Self::Service => "Service",
            Self::Slice => "EndpointSlice",
            Self::Node => "Node",
        }
    }

    fn version(self) -> &'static str {
        match self {
            Self::ServiceCidr => "networking.k8s.io/v1",
            Self::Service | Self::Node => "v1",
            Self::Slice => "discovery.k8s.io/v1",
        }
    }
}

/// Names one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub kind: Kind,
    /// Empty for kinds without a namespace.
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.name(), self.namespace, self.name)
    }
}

/// One object to write.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    pub key: Key,
    pub body: Value,
    /// The status to set, if the case says one.
    pub status: Option<Value>,
}

impl Key {
    /// Reads `service/web`, `service/NAMESPACE/web` or `node/n1`.
    pub(super) fn parse(text: &str) -> Result<Self, CaseError> {
        let bad = || wrong(format!("not an object reference: {text}"));
        let parts: Vec<_> = text.split('/').collect();
        let (kind, has_namespace) = match parts[0] {
            "service" => (Kind::Service, true),
            "slice" => (Kind::Slice, true),
            "node" => (Kind::Node, false),
            "servicecidr" => (Kind::ServiceCidr, false),
            _ => return Err(bad()),
        };
        let (namespace, name) = match (parts.as_slice(), has_namespace) {
            ([_, name], true) => ("default", *name),
            ([_, namespace, name], true) => (*namespace, *name),
            ([_, name], false) => ("", *name),
            _ => return Err(bad()),
        };
        Ok(Self { kind, namespace: namespace.into(), name: name.into() })
    }
}

/// Whether a mapping is an object, not another change.
pub(super) fn is_object(change: &Yaml) -> Result<bool, CaseError> {
    let entries = change.entries("change")?;
    Ok(entries.iter().any(|(key, _)| WORDS.iter().any(|(word, _)| key == word)))
}

const WORDS: [(&str, Kind); 3] =
    [("service", Kind::Service), ("slice", Kind::Slice), ("servicecidr", Kind::ServiceCidr)];

impl Object {
    /// Reads an object of a case, in which all short forms of texts are written out already.
    pub(super) fn parse(plan: &Plan, tree: &Yaml) -> Result<Self, CaseError> {
        let mut fields = Fields::of(tree, "object")?;
        let Some((word, kind)) = WORDS.into_iter().find(|(word, _)| fields.has(word)) else {
            return Err(wrong(format!("neither service nor slice: {tree:?}")));
        };
        let name = fields.need_text(word)?;
        let namespace = match kind {
            Kind::ServiceCidr | Kind::Node => String::new(),
            Kind::Service | Kind::Slice => fields.take_text("namespace")?.unwrap_or_else(|| "default".into()),
        };
        let mut meta = Map::from_iter([("name".to_owned(), json!(name))]);
        if !namespace.is_empty() {
            meta.insert("namespace".into(), json!(namespace));
        }
        for field in ["labels", "annotations"] {
            if let Some(value) = fields.take(field) {
                meta.insert(field.into(), value.to_json());
            }
        }
        let mut status = None;
        let rest = match kind {
            Kind::Service => {
                status = fields.take("status").map(|value| value.to_json());
                json!({"spec": service_spec(&mut fields)?})
            }
            Kind::ServiceCidr | Kind::Node => json!({"spec": need(&mut fields, "spec")?.to_json()}),
            Kind::Slice => slice(plan, &mut fields, &mut meta)?,
        };
        fields.end()?;
        let mut body = json!({"apiVersion": kind.version(), "kind": kind.name(), "metadata": meta});
        merge_top(&mut body, rest);
        Ok(Self { key: Key { kind, namespace, name }, body, status })
    }
}

fn need(fields: &mut Fields, name: &str) -> Result<Yaml, CaseError> {
    fields.take(name).ok_or_else(|| wrong(format!("no {name}")))
}

fn merge_top(body: &mut Value, rest: Value) {
    if let (Value::Object(body), Value::Object(rest)) = (body, rest) {
        body.extend(rest);
    }
}

fn service_spec(fields: &mut Fields) -> Result<Value, CaseError> {
    let mut spec = need(fields, "spec")?.to_json();
    for port in spec["ports"].as_array_mut().into_iter().flatten() {
        if port.get("protocol").is_none() {
            port["protocol"] = json!("TCP");
        }
    }
    let addresses = spec.get("clusterIPs").and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(first) = addresses.first() {
        set_default(&mut spec, "clusterIP", first.clone());
    }
    if addresses.len() == 2 {
        set_default(&mut spec, "ipFamilyPolicy", json!("RequireDualStack"));
    }
    Ok(spec)
}

fn set_default(value: &mut Value, field: &str, default: Value) {
    if value.get(field).is_none() {
        value[field] = default;
    }
}

fn slice(plan: &Plan, fields: &mut Fields, meta: &mut Map<String, Value>) -> Result<Value, CaseError> {
    let family = match fields.take_text("family")?.as_deref() {
        None | Some("4") => Family::V4,
        Some("6") => Family::V6,
        Some(other) => return Err(wrong(format!("family {other}"))),
    };
    if let Some(of) = fields.take_text("of")? {
        let labels = meta.entry("labels").or_insert_with(|| json!({}));
        labels["kubernetes.io/service-name"] = json!(of);
    }
    let default = if family == Family::V6 { "IPv6" } else { "IPv4" };
    let address_type = fields.take_text("type")?.unwrap_or_else(|| default.into());
    let ports = ports(&fields.take("ports").unwrap_or(Yaml::Null))?;
    let mut endpoints = Vec::new();
    for item in fields.take("endpoints").unwrap_or(Yaml::Null).list("endpoints")? {
        endpoints.extend(EndpointSpec::parse(plan, item)?.endpoints(plan, family)?);
    }
    Ok(json!({"addressType": address_type, "ports": ports, "endpoints": endpoints}))
}

/// Reads `{http: 8080, dns: udp/53}`, or the API's own list.
pub(super) fn ports(tree: &Yaml) -> Result<Value, CaseError> {
    if let Yaml::List(_) = tree {
        return Ok(tree.to_json());
    }
    let mut list = Vec::new();
    for (name, value) in tree.entries("ports")? {
        let text = value.text("port")?;
        let (protocol, port) = text.rsplit_once('/').unwrap_or(("tcp", &text));
        let port: u16 = port.parse().map_err(|_| wrong(format!("not a port: {text}")))?;
        list.push(json!({"name": name, "protocol": protocol.to_uppercase(), "port": port}));
    }
    Ok(list.into())
}
