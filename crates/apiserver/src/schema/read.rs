//! Reads the table of facts.

use std::collections::BTreeMap;

use super::{Field, Patch, Schema, Shape, Topology, Type, TypeId};

/// Reads it; or says which line is wrong.
pub(super) fn read(text: &'static str) -> Result<Schema, String> {
    let is_fact = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let names = text.lines().filter(is_fact).filter(|line| !line.starts_with(' '));
    let by_name: BTreeMap<&'static str, TypeId> =
        names.enumerate().map(|(number, name)| (name, TypeId(number))).collect();
    let mut types: Vec<Type> = Vec::new();
    for line in text.lines().filter(is_fact) {
        match line.strip_prefix("  ") {
            None => types.push(Type { name: line, fields: Vec::new() }),
            Some(row) => {
                let kind = types.last_mut().ok_or_else(|| format!("{line}: of no type"))?;
                kind.fields
                    .push(field(row, &by_name).map_err(|error| format!("{}: {row}: {error}", kind.name))?);
            }
        }
    }
    Ok(Schema { types, by_name })
}

fn field(row: &'static str, types: &BTreeMap<&'static str, TypeId>) -> Result<Field, String> {
    let mut words = row.split(' ');
    let mut next = || words.next().ok_or("a word is missing");
    let number = next()?.parse().map_err(|_| "the number is none")?;
    let name = next()?;
    let shape = shape(next()?, types)?;
    let mut field = Field {
        number,
        name: name.trim_end_matches('!'),
        is_required: name.ends_with('!'),
        topology: if matches!(shape, Shape::List(_)) { Topology::Atomic } else { Topology::Granular },
        shape,
        patch: Patch::default(),
        default: None,
        is_inline: false,
    };
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("list" | "map" | "struct", "atomic") => field.topology = Topology::Atomic,
            ("list", "set") => field.topology = Topology::Set,
            ("list", keys) => {
                let keys = keys.strip_prefix("map:").ok_or("a list is atomic, set or map:KEYS")?;
                field.topology = Topology::Keyed(keys.split(',').collect());
            }
            ("map" | "struct", "granular") => field.topology = Topology::Granular,
            ("patch", strategies) => patch(strategies, &mut field.patch)?,
            ("default", json) => {
                field.default = Some(serde_json::from_str(json).map_err(|error| error.to_string())?);
            }
            ("inline", "") => field.is_inline = true,
            _ => return Err(format!("{word} means nothing")),
        }
    }
    Ok(field)
}

fn patch(strategies: &'static str, patch: &mut Patch) -> Result<(), String> {
    let (strategies, key) = match strategies.split_once(':') {
        Some((strategies, key)) => (strategies, Some(key)),
        None => (strategies, None),
    };
    patch.key = key;
    for strategy in strategies.split(',') {
        match strategy {
            "merge" => patch.merges = true,
            "retainKeys" => patch.retains_keys = true,
            "replace" => {}
            other => return Err(format!("{other} is no strategy")),
        }
    }
    Ok(())
}

fn shape(word: &str, types: &BTreeMap<&'static str, TypeId>) -> Result<Shape, String> {
    if let Some(of) = word.strip_prefix("[]") {
        return Ok(Shape::List(Box::new(shape(of, types)?)));
    }
    if let Some(of) = word.strip_prefix("map:") {
        return Ok(Shape::Map(Box::new(shape(of, types)?)));
    }
    Ok(match word {
        "string" => Shape::Text,
        "bool" => Shape::Bool,
        "int32" => Shape::Int32,
        "int64" => Shape::Int64,
        "double" => Shape::Double,
        "bytes" => Shape::Bytes,
        "time" => Shape::Time,
        "microtime" => Shape::MicroTime,
        "quantity" => Shape::Quantity,
        "intorstring" => Shape::IntOrString,
        "fields" => Shape::Fields,
        "raw" => Shape::Raw,
        name => Shape::Object(*types.get(name).ok_or_else(|| format!("{name} is no type"))?),
    })
}
