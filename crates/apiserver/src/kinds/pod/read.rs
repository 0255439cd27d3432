//! How the fields of a Pod are read: what is absent is empty, as in Go.

use std::net::IpAddr;

use serde_json::Value;

use crate::mistake::{Mistake, Path};

/// The text of a field.
pub(in crate::kinds) fn text<'a>(of: &'a Value, field: &str) -> &'a str {
    of[field].as_str().unwrap_or_default()
}

/// The entries of a list.
pub(in crate::kinds) fn list<'a>(of: &'a Value, field: &str) -> &'a [Value] {
    of[field].as_array().map_or(&[], Vec::as_slice)
}

/// The number of a field.
pub(in crate::kinds) fn number(of: &Value, field: &str) -> i64 {
    of[field].as_i64().unwrap_or(0)
}

/// The entries of a list, with their places.
pub(in crate::kinds) fn places<'a>(
    of: &'a Value,
    field: &str,
    path: &Path,
) -> impl Iterator<Item = (Path, &'a Value)> + use<'a> {
    let path = path.child(field);
    list(of, field).iter().enumerate().map(move |(at, value)| (path.index(at), value))
}

/// The entries of a map of texts.
pub(in crate::kinds) fn pairs<'a>(of: &'a Value, field: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let map = of[field].as_object().into_iter().flatten();
    map.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
}

/// A mistake for each thing that is wrong with a text.
pub(in crate::kinds) fn wrongs(path: &Path, value: &str, whys: Vec<String>) -> Vec<Mistake> {
    whys.into_iter().map(|why| Mistake::invalid(path, value, why)).collect()
}

/// A mistake if a number is negative.
pub(in crate::kinds) fn negative(of: &Value, field: &str, path: &Path) -> Option<Mistake> {
    let number = number(of, field);
    let why = "must be greater than or equal to 0";
    (number < 0).then(|| Mistake::invalid(&path.child(field), number, why))
}

/// A mistake if a text is none of some; an empty one is missing.
pub(super) fn one_of(of: &Value, field: &str, path: &Path, values: &[&str]) -> Option<Mistake> {
    match text(of, field) {
        "" => Some(Mistake::required(&path.child(field), "")),
        value if values.contains(&value) => None,
        value => Some(Mistake::not_supported(&path.child(field), value, values)),
    }
}

/// An address as old fields take it: zeros may lead its parts.
pub(super) fn legacy_ip(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| {
        let parts: Vec<&str> = text.split('.').collect();
        let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if parts.len() != 4 || !parts.iter().all(is_number) {
            return None;
        }
        let stripped = parts.iter().map(|part| match part.trim_start_matches('0') {
            "" => "0",
            number => number,
        });
        stripped.collect::<Vec<_>>().join(".").parse().ok()
    })
}

/// A mistake if a text is no address.
pub(super) fn not_an_ip(path: &Path, text: &str) -> Option<Mistake> {
    let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
    legacy_ip(text).is_none().then(|| Mistake::invalid(path, text, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_may_lead_the_parts_of_an_address() {
        for (text, wanted) in [
            ("10.1.2.3", Some("10.1.2.3")),
            ("010.001.2.03", Some("10.1.2.3")),
            ("fd00::1", Some("fd00::1")),
            ("10.1.2", None),
            ("10.1.2.256", None),
            ("10.1..2", None),
            ("", None),
        ] {
            assert_eq!(legacy_ip(text).map(|ip| ip.to_string()).as_deref(), wanted, "{text}");
        }
    }
}
