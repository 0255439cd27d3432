//! Lists of a strategic merge patch: merged entry by entry, and put in Kubernetes' order.
//!
//! Entries that the patch names keep the patch's order, the others the object's, and where the two meet the object's order
//! decides. So a new entry comes before all that the patch does not name.

use std::collections::{HashMap, HashSet};
use std::mem;

use serde_json::Value;

use super::strategic::{DIRECTIVE, bad_type, malformed, merge_maps, taken, unknown_directive};
use super::{PatchError, go};
use crate::schema::Shape;

/// What is known about a list.
#[derive(Clone, Copy)]
pub(super) struct List<'a> {
    /// By which field entries are told apart; `None`: they are plain values.
    pub(super) key: Option<&'static str>,
    /// What an entry is.
    pub(super) entry: Option<&'a Shape>,
}

/// Answers the merged list.
pub(super) fn merge(old: Vec<Value>, new: Vec<Value>, list: List<'_>) -> Result<Vec<Value>, PatchError> {
    if old.is_empty() && new.is_empty() {
        return Ok(old);
    }
    if !are_maps(&old, &new)? {
        let mut merged = Vec::new();
        let mut known = HashSet::new();
        for value in old.iter().chain(&new) {
            if known.insert(value.to_string()) {
                merged.push(value.clone());
            }
        }
        return ordered(merged, &new, &old, list);
    }
    let Some(key) = list.key else {
        return Err(PatchError::Internal("cannot merge lists without merge key for string".to_owned()));
    };
    let (old, new) = directed(old, new, key)?;
    let mut merged = old.clone();
    let mut known = positions(&merged, Some(key));
    for entry in &new {
        let place = merge_key(entry, key)?.to_string();
        let Value::Object(patch) = entry.clone() else {
            return Err(bad_type("map[string]interface {}", entry));
        };
        if let Some(index) = known.get(&place)
            && let Value::Object(old) = mem::take(&mut merged[*index])
        {
            merged[*index] = Value::Object(merge_maps(old, patch, list.entry)?);
        } else if let Some(entry) = taken(Value::Object(patch)) {
            known.insert(place, merged.len());
            merged.push(entry);
        }
    }
    ordered(merged, &new, &old, list)
}

/// Carries out the entries of a patch that are directives; answers the lists without them.
fn directed(
    mut old: Vec<Value>,
    new: Vec<Value>,
    key: &'static str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let mut entries = Vec::new();
    let mut is_replaced = false;
    let mut deleted = HashSet::new();
    for entry in new {
        let Some(directive) = entry.get(DIRECTIVE) else {
            entries.push(entry);
            continue;
        };
        match (directive.as_str(), &entry) {
            (Some("delete"), _) => {
                deleted.insert(merge_key(&entry, key)?.to_string());
            }
            (Some("replace"), _) => is_replaced = true,
            (Some("merge"), _) => {
                let message = "merging lists cannot yet be specified in the patch";
                return Err(PatchError::Internal(message.to_owned()));
            }
            (_, Value::Object(map)) => return Err(unknown_directive(directive, map)),
            (_, other) => return Err(bad_type("map[string]interface {}", other)),
        }
    }
    if is_replaced {
        return Ok((entries.into_iter().filter_map(taken).collect(), Vec::new()));
    }
    old.retain(|entry| entry.get(key).is_none_or(|value| !deleted.contains(&value.to_string())));
    Ok((old, entries))
}

/// Takes plain values out of a list.
pub(super) fn delete(old: &mut Vec<Value>, values: &[Value]) -> Result<(), PatchError> {
    if (!old.is_empty() || !values.is_empty()) && are_maps(old, values)? {
        return Err(malformed("primitive list"));
    }
    let deleted = positions(values, None);
    old.retain(|value| !deleted.contains_key(&value.to_string()));
    Ok(())
}

/// Refuses a patch whose entries are not in the order that it gives itself.
pub(super) fn check_order(new: &[Value], order: &[Value], list: List<'_>) -> Result<(), PatchError> {
    if new.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut places = order.iter();
    for entry in new.iter().filter(|entry| entry.get(DIRECTIVE).is_none()) {
        let wanted = identity(entry, list.key)?;
        let is_found = loop {
            match places.next() {
                None => break false,
                Some(place) if identity(place, list.key)? == wanted => break true,
                Some(_) => {}
            }
        };
        if !is_found {
            let (new, order) = (go::print_list(new), go::print_list(order));
            return Err(PatchError::Internal(format!(
                "The order in patch list:\n{new}\n doesn't match $setElementOrder list:\n{order}\n"
            )));
        }
    }
    Ok(())
}

/// Answers a merged list in order, given the order of the patch and that of the object.
pub(super) fn ordered(
    merged: Vec<Value>,
    new: &[Value],
    old: &[Value],
    list: List<'_>,
) -> Result<Vec<Value>, PatchError> {
    for entry in merged.iter().chain(new) {
        identity(entry, list.key)?;
    }
    let (in_new, in_old) = (positions(new, list.key), positions(old, list.key));
    let place = |positions: &HashMap<String, usize>, entry: &Value| {
        identity(entry, list.key).ok().and_then(|name| positions.get(&name.to_string()).copied())
    };
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|entry| place(&in_new, entry).is_some());
    named.sort_by_cached_key(|entry| place(&in_new, entry));
    others.sort_by_cached_key(|entry| place(&in_old, entry).unwrap_or(usize::MAX));
    let mut all = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    while let (Some(name), Some(other)) = (named.peek(), others.peek()) {
        let is_before = match (place(&in_old, other), place(&in_old, name)) {
            (Some(other), Some(name)) => other < name,
            (None, _) | (_, None) => false,
        };
        all.extend(if is_before { others.next() } else { named.next() });
    }
    all.extend(named);
    all.extend(others);
    Ok(all)
}

/// Answers where each entry stands first. The texts of values tell them apart: 80 and 80.0 are two, as in Go.
fn positions(entries: &[Value], key: Option<&str>) -> HashMap<String, usize> {
    let mut positions = HashMap::new();
    for (index, entry) in entries.iter().enumerate() {
        if let Some(name) = key.map_or(Some(entry), |key| entry.get(key)) {
            positions.entry(name.to_string()).or_insert(index);
        }
    }
    positions
}

fn identity<'a>(entry: &'a Value, key: Option<&'static str>) -> Result<&'a Value, PatchError> {
    key.map_or(Ok(entry), |key| merge_key(entry, key))
}

fn merge_key<'a>(entry: &'a Value, key: &str) -> Result<&'a Value, PatchError> {
    let Value::Object(map) = entry else { return Err(bad_type("map[string]interface {}", entry)) };
    map.get(key).ok_or_else(|| {
        let map = go::print_map(map);
        PatchError::Internal(format!("map: {map} does not contain declared merge key: {key}"))
    })
}

/// Answers whether entries are maps; they all have to be of one type, and that no list.
fn are_maps(old: &[Value], new: &[Value]) -> Result<bool, PatchError> {
    let mut entries = old.iter().chain(new);
    let first = entries.next();
    if first.is_some_and(Value::is_array) {
        return Err(PatchError::Inapplicable("lists of lists are not supported".to_owned()));
    }
    if entries.any(|entry| Some(go::type_of(entry)) != first.map(go::type_of)) {
        let (old, new) = (go::print_list(old), go::print_list(new));
        return Err(PatchError::Internal(format!("list element types are not identical: [{old} {new}]")));
    }
    Ok(first.is_some_and(Value::is_object))
}
