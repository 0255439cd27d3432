//! The configuration file: reading it, as strictly as it can be and as leniently as it must be.

use serde_json::{Map, Value};
use serde_saphyr::options::DuplicateKeyPolicy;

use crate::configuration::{API_VERSION, Configuration, KIND};
use crate::{Mistakes, Remark};

/// A file that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct File {
    /// What it says, defaults included.
    pub configuration: Configuration,
    /// Fields that do not exist or stand there twice. They are left out, as kube-proxy does.
    pub warnings: Vec<Remark>,
}

impl File {
    /// Reads a text in YAML or JSON.
    pub fn parse(text: &str) -> Result<Self, Mistakes> {
        let (value, mut warnings) = value(text)?;
        let Value::Object(mut fields) = value else {
            return Err(Mistakes(vec![Remark::new("", "is not a KubeProxyConfiguration: no fields")]));
        };
        let mut reading = Reading::default();
        reading.expect(&fields, "apiVersion", API_VERSION);
        reading.expect(&fields, "kind", KIND);
        let pattern = Configuration::default().json();
        reading.fit(&mut fields, pattern.as_object().expect("a configuration has fields"), "");
        warnings.append(&mut reading.warnings);
        if !reading.mistakes.is_empty() {
            return Err(Mistakes(reading.mistakes));
        }
        for address in ["healthzBindAddress", "metricsBindAddress"] {
            // Their defaults follow from another field.
            fields.entry(address).or_insert_with(|| "".into());
        }
        let configuration: Configuration = serde_json::from_value(Value::Object(fields))
            .map_err(|error| Mistakes(vec![Remark::new("", error.to_string())]))?;
        Ok(Self { configuration: configuration.with_defaults(), warnings })
    }
}

/// Answers the text of a file that says the same.
pub fn yaml(configuration: &Configuration) -> String {
    serde_saphyr::to_string(configuration).expect("texts, numbers and maps with text keys are YAML")
}

/// Reads strictly first, so that keys that stand there twice are named.
fn value(text: &str) -> Result<(Value, Vec<Remark>), Mistakes> {
    let strict = match serde_saphyr::from_str(text) {
        Ok(value) => return Ok((value, Vec::new())),
        Err(error) => error.to_string(),
    };
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
    match serde_saphyr::from_str_with_options(text, options) {
        Ok(value) => Ok((value, vec![Remark::new("file", format!("{strict}; the last one counts"))])),
        Err(error) => Err(Mistakes(vec![Remark::new("", error.to_string())])),
    }
}

#[derive(Default)]
struct Reading {
    mistakes: Vec<Remark>,
    warnings: Vec<Remark>,
}

impl Reading {
    fn expect(&mut self, fields: &Map<String, Value>, field: &str, wanted: &str) {
        match fields.get(field).and_then(Value::as_str) {
            Some(found) if found == wanted => {}
            Some(found) => self.mistakes.push(Remark::new(field, format!("is `{found}`, not `{wanted}`"))),
            None => self.mistakes.push(Remark::new(field, format!("is required, `{wanted}`"))),
        }
    }

    /// Removes what is unknown or null, and names what has another type than in the pattern.
    fn fit(&mut self, fields: &mut Map<String, Value>, pattern: &Map<String, Value>, path: &str) {
        fields.retain(|_, value| !value.is_null());
        let names: Vec<String> = fields.keys().cloned().collect();
        for name in names {
            let field = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let Some(pattern) = pattern.get(&name) else {
                self.warnings.push(Remark::new(field, "is no field of KubeProxyConfiguration; left out"));
                fields.remove(&name);
                continue;
            };
            if let Some(value) = fields.get_mut(&name) {
                self.fit_value(value, pattern, &field);
            }
        }
    }

    fn fit_value(&mut self, value: &mut Value, pattern: &Value, field: &str) {
        let wrong =
            |found: &Value, wanted: &str| Remark::new(field, format!("{} is not {wanted}", shown(found)));
        match (pattern, &mut *value) {
            // The keys of these two are free.
            (Value::Object(_), Value::Object(gates)) if field == "featureGates" => {
                let no_bool = |(name, value): (&String, &Value)| {
                    let reason = format!("{} is not true or false", shown(value));
                    (!value.is_boolean()).then(|| Remark::new(format!("{field}.{name}"), reason))
                };
                self.mistakes.extend(gates.iter().filter_map(no_bool));
            }
            (Value::Object(_), Value::Object(_)) if field == "logging.options" => {}
            (Value::Object(pattern), Value::Object(fields)) => self.fit(fields, pattern, field),
            (_, Value::String(_) | Value::Number(_)) if field == "logging.flushFrequency" => {}
            (Value::Array(_), Value::Array(_)) if field == "logging.vmodule" => {}
            (Value::Array(_), Value::Array(values)) => {
                let no_text = |(at, value): (usize, &Value)| {
                    let reason = format!("{} is not a text", shown(value));
                    (!value.is_string()).then(|| Remark::new(format!("{field}[{at}]"), reason))
                };
                self.mistakes.extend(values.iter().enumerate().filter_map(no_text));
            }
            (Value::String(_), Value::String(_)) | (Value::Bool(_), Value::Bool(_)) => {}
            (Value::Number(pattern), Value::Number(number)) => {
                if !pattern.is_f64() && number.as_i64().is_none() {
                    self.mistakes.push(wrong(value, "a whole number"));
                }
            }
            (pattern, found) => self.mistakes.push(wrong(found, wanted(pattern))),
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => format!("`{value}`"),
    }
}

fn wanted(pattern: &Value) -> &'static str {
    match pattern {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
