//! The short forms inside texts: `$a1`, `$n1.v6`, `$k1.7`, `$add(10.96.4.0,12)`, `$sum(30000,12)`, `%i` and `each`.

use std::net::IpAddr;

use super::yaml::Yaml;
use super::{CaseError, Plan, wrong};

/// Writes every short form of a text out.
pub(super) fn expanded(plan: &Plan, text: &str) -> Result<String, CaseError> {
    let named = replaced_names(plan, text)?;
    let summed = replaced_calls(&named, "$sum(", |first, number| {
        let first: u64 = first.parse().map_err(|_| wrong(format!("$sum({first},..)")))?;
        Ok((first + u64::from(number)).to_string())
    })?;
    replaced_calls(&summed, "$add(", |first, number| {
        let base: IpAddr = first.parse().map_err(|_| wrong(format!("$add({first},..): not an address")))?;
        Ok(later(base, number).to_string())
    })
}

/// As [`expanded`], for all texts of a tree; keys stay as they are.
pub(super) fn expanded_tree(plan: &Plan, tree: &Yaml) -> Result<Yaml, CaseError> {
    Ok(match tree {
        Yaml::Text(text) => Yaml::Text(expanded(plan, text)?),
        Yaml::List(items) => {
            Yaml::List(items.iter().map(|item| expanded_tree(plan, item)).collect::<Result<_, _>>()?)
        }
        Yaml::Map(entries) => Yaml::Map(
            entries
                .iter()
                .map(|(key, value)| Ok((key.clone(), expanded_tree(plan, value)?)))
                .collect::<Result<_, CaseError>>()?,
        ),
        Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) => tree.clone(),
    })
}

/// Turns each list item with `each: N` into N items, in which `%i` counts from 1.
pub(super) fn unfolded(tree: &Yaml) -> Result<Yaml, CaseError> {
    match tree {
        Yaml::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| Ok((key.clone(), unfolded(value)?)));
            Ok(Yaml::Map(entries.collect::<Result<_, CaseError>>()?))
        }
        Yaml::List(items) => {
            let mut list = Vec::new();
            for item in items {
                unfold_item(item, &mut list)?;
            }
            Ok(Yaml::List(list))
        }
        Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Text(_) => Ok(tree.clone()),
    }
}

fn unfold_item(item: &Yaml, list: &mut Vec<Yaml>) -> Result<(), CaseError> {
    let each = match item {
        Yaml::Map(entries) => entries.iter().find(|(key, _)| key == "each"),
        Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Text(_) | Yaml::List(_) => None,
    };
    let Some((_, count)) = each else {
        list.push(unfolded(item)?);
        return Ok(());
    };
    let rest = item.entries("each")?.iter().filter(|(key, _)| key != "each").cloned().collect();
    let rest = Yaml::Map(rest);
    for number in 1..=count.count("each")? {
        list.push(unfolded(&numbered(&rest, number)?)?);
    }
    Ok(())
}

/// Puts a number in the place of `%i`. A text that is nothing but a `$sum` becomes a number.
fn numbered(tree: &Yaml, number: u32) -> Result<Yaml, CaseError> {
    Ok(match tree {
        Yaml::Text(text) => {
            let text = text.replace("%i", &number.to_string());
            match whole_sum(&text) {
                Some(sum) => Yaml::Int(sum),
                None => Yaml::Text(text),
            }
        }
        Yaml::List(items) => {
            Yaml::List(items.iter().map(|item| numbered(item, number)).collect::<Result<_, _>>()?)
        }
        Yaml::Map(entries) => Yaml::Map(
            entries
                .iter()
                .map(|(key, value)| Ok((key.replace("%i", &number.to_string()), numbered(value, number)?)))
                .collect::<Result<_, CaseError>>()?,
        ),
        Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) => tree.clone(),
    })
}

fn whole_sum(text: &str) -> Option<i64> {
    let (first, second) = text.strip_prefix("$sum(")?.strip_suffix(')')?.split_once(',')?;
    Some(first.parse::<i64>().ok()? + second.parse::<i64>().ok()?)
}

fn replaced_names(plan: &Plan, text: &str) -> Result<String, CaseError> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let length = name_length(rest);
        let follows = rest[length..].chars().next();
        let is_name = length > 0 && !follows.is_some_and(|c| c == '(' || c == '_' || c.is_alphanumeric());
        if !is_name {
            out.push('$');
            continue;
        }
        out.push_str(&address_of(plan, &rest[..length])?.to_string());
        rest = &rest[length..];
    }
    out.push_str(rest);
    Ok(out)
}

/// The length of `a1`, `ext`, `k1.7`, `n1.v6` or `n1.alt` at the beginning of a text.
fn name_length(text: &str) -> usize {
    let letters = text.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(text.len());
    if letters == 0 {
        return 0;
    }
    let mut length = letters + usize::from(text[letters..].starts_with(|c: char| c.is_ascii_digit()));
    if let Some(tail) = text[length..].strip_prefix('.') {
        let digits = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        length += if digits > 0 { digits + 1 } else { 0 };
    }
    for kind in [".v6", ".alt6", ".alt"] {
        if text[length..].starts_with(kind) {
            return length + kind.len();
        }
    }
    length
}

fn address_of(plan: &Plan, name: &str) -> Result<IpAddr, CaseError> {
    let unknown = || wrong(format!("no such address: ${name}"));
    plan.named(name).ok_or_else(unknown)
}

/// Replaces `$call(FIRST,NUMBER)` everywhere.
fn replaced_calls(
    text: &str,
    call: &str,
    value: impl Fn(&str, u32) -> Result<String, CaseError>,
) -> Result<String, CaseError> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(call) {
        out.push_str(&rest[..at]);
        let inner = &rest[at + call.len()..];
        let parts = inner.split_once(')').and_then(|(args, tail)| Some((args.split_once(',')?, tail)));
        let Some(((first, second), tail)) = parts else {
            return Err(wrong(format!("{text}: {call} without an end")));
        };
        let number = second.parse().map_err(|_| wrong(format!("{text}: {second} is no number")))?;
        out.push_str(&value(first, number)?);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

fn later(base: IpAddr, number: u32) -> IpAddr {
    match base {
        IpAddr::V4(v4) => IpAddr::V4((u32::from(v4).wrapping_add(number)).into()),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6).wrapping_add(u128::from(number))).into()),
    }
}
