//! What types and fields mean, in one line each: for `kubectl explain`.

use std::collections::HashMap;
use std::sync::OnceLock;

/// Answers what a field means, or with an empty name the type itself; `None`: nobody has written it down.
pub(super) fn of(type_name: &str, field: &str) -> Option<&'static str> {
    static ALL: OnceLock<HashMap<(&'static str, &'static str), &'static str>> = OnceLock::new();
    ALL.get_or_init(|| lines().map(|(of, field, text)| ((of, field), text)).collect())
        .get(&(type_name, field))
        .copied()
}

/// Every line: type, field (empty: the type itself), text.
fn lines() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let facts =
        include_str!("descriptions.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut type_name = "";
    facts.map(move |line| match line.strip_prefix("  ") {
        Some(field) => {
            let (field, text) = field.split_once(' ').unwrap_or((field, ""));
            (type_name, field, text)
        }
        None => {
            let (name, text) = line.split_once(' ').unwrap_or((line, ""));
            type_name = name;
            (name, "", text)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KINDS;
    use crate::schema::{Schema, Type};

    /// Whether a type has a field of its own or inlined from another that has none described.
    fn declares(kind: &Type, field: &str) -> bool {
        kind.fields.iter().any(|known| known.name == field && !known.is_inline)
    }

    #[test]
    fn every_line_names_a_field_that_exists() {
        let schema = Schema::get();
        let mut seen = std::collections::BTreeSet::new();
        for (type_name, field, text) in lines() {
            assert!(seen.insert((type_name, field)), "{type_name} {field} is there twice");
            assert!(!text.is_empty() && text.ends_with('.'), "{type_name} {field}: {text:?} is no sentence");
            assert!(text.len() <= 160, "{type_name} {field}: too long");
            if type_name == "meta.v1.TypeMeta" {
                assert!(["", "apiVersion", "kind"].contains(&field), "{field}");
                continue;
            }
            let of = schema.find(type_name).unwrap_or_else(|| panic!("{type_name}: no such type"));
            assert!(field.is_empty() || declares(schema.of(of), field), "{type_name} has no {field}");
        }
    }

    #[test]
    fn every_kind_and_its_fields_are_described() {
        let schema = Schema::get();
        for kind in KINDS {
            let of = schema.of(schema.find(kind.type_name).unwrap());
            assert!(super::of(of.name, "").is_some(), "{}", of.name);
            for field in &of.fields {
                assert!(super::of(of.name, field.name).is_some(), "{} {}", of.name, field.name);
            }
        }
    }
}
