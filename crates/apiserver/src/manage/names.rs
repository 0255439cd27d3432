//! The names of managers.

use crate::mistake::{Mistake, Path};

/// The most bytes of a name.
const MOST: usize = 128;

/// Answers what is wrong with the `fieldManager` of a request. An apply needs one.
pub fn check_name(name: &str, is_apply: bool) -> Vec<Mistake> {
    let path = Path::new("fieldManager");
    let mut found = Vec::new();
    if is_apply && name.is_empty() {
        found.push(Mistake::required(&path, "is required for apply patch"));
    }
    if name.len() > MOST {
        found.push(Mistake::too_long(&path, MOST));
    }
    for (at, char) in name.char_indices().filter(|(_, char)| !is_printed(*char)) {
        let why = format!("invalid character U+{:04X} (at position {at})", u32::from(char));
        found.push(Mistake::invalid(&path, name, why));
    }
    found
}

/// Answers the name of one who gave none: the product of its `User-Agent`.
pub fn name_of_agent(agent: &str) -> String {
    let mut name = String::new();
    for char in agent.split('/').next().unwrap_or(agent).chars().filter(|char| is_printed(*char)) {
        if name.len() + char.len_utf8() > MOST {
            break;
        }
        name.push(char);
    }
    name
}

/// Of spaces only the common one is printed.
fn is_printed(char: char) -> bool {
    char == ' ' || !(char.is_control() || char.is_whitespace() || char == '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mistake::aggregate;

    #[test]
    fn names_are_checked() {
        let check =
            |name: &str, is_apply, wanted: &str| assert_eq!(aggregate(&check_name(name, is_apply)), wanted);
        assert!(check_name("a b/ž", true).is_empty() && check_name("", false).is_empty());
        check("", true, "fieldManager: Required value: is required for apply patch");
        check(&"m".repeat(129), false, "fieldManager: Too long: may not be more than 128 bytes");
        check(
            "bad\tname",
            true,
            "fieldManager: Invalid value: \"bad\\tname\": invalid character U+0009 (at position 3)",
        );
    }

    #[test]
    fn agents_have_names() {
        assert_eq!(name_of_agent("kubectl/v1.36 (linux)"), "kubectl");
        assert_eq!(name_of_agent("a\u{7}b"), "ab");
        assert_eq!(name_of_agent(&"ž".repeat(100)).len(), 128);
        assert_eq!(name_of_agent(""), "");
    }
}
