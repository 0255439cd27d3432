//! `$(NAME)` in commands, arguments and values, as Kubernetes expands it.

/// Puts values in: `$(NAME)` becomes the value, or stays as it is where there is none; `$$` is one `$`.
pub(crate) fn expand(text: &str, value: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let Some((name, behind)) = after.strip_prefix('(').and_then(|inside| inside.split_once(')')) else {
            out.push('$');
            rest = after;
            continue;
        };
        match value(name) {
            Some(value) => out.push_str(&value),
            None => out.push_str(&format!("$({name})")),
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// Puts values in as well; `Err` names one that there is not.
pub(crate) fn expand_all(text: &str, value: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let missing = std::cell::RefCell::new(None);
    let found = expand(text, &|name| {
        let found = value(name);
        if found.is_none() {
            missing.replace(Some(name.to_owned()));
        }
        found
    });
    missing.into_inner().map_or(Ok(found), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_values() {
        for (text, expected) in [
            ("plain", "plain"),
            ("$(A)", "1"),
            ("x$(A)y$(B)z", "x1yz"),
            ("$(C)", "$(C)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A ${A} $", "$A ${A} $"),
            ("$(A", "$(A"),
            ("$()", "$()"),
            ("5$ $(A)", "5$ 1"),
        ] {
            let value = |name: &str| match name {
                "A" => Some("1".to_owned()),
                "B" => Some(String::new()),
                _ => None,
            };
            assert_eq!(expand(text, &value), expected, "{text}");
        }
    }
}
