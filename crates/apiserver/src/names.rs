//! What names can be, in Kubernetes' words (`k8s.io/apimachinery/pkg/util/validation`).
//!
//! Each function answers what is wrong with a text; nothing: it is right.

/// The form of names that label keys and values share.
pub(crate) const NAME: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const OLD_LABEL: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                         alphanumeric character";

fn too_long(most: usize) -> String {
    format!("must be no more than {most} bytes")
}

fn too_long_in_characters(most: usize) -> String {
    format!("must be no more than {most} characters")
}

/// A text that an expression does not match: `examples` are shown.
fn unmatched(words: &str, expression: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{words} (e.g. {}regex used for validation is '{expression}')", examples.join(" or "))
}

fn is_lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|byte| is_lower(byte) || byte == b'-')
}

/// Whether it has the form of a label's value or of the last part of its key.
pub(crate) fn is_name(text: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    is_end(text.as_bytes().first()) && is_end(text.as_bytes().last()) && text.bytes().all(is_inside)
}

/// A DNS label (RFC 1123), such as the name of a namespace.
pub fn dns_label(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 63 {
        wrong.push(too_long_in_characters(63));
    }
    if !is_label(text) {
        // Subdomains are told so in few words.
        if is_subdomain(text) {
            wrong.push("must not contain dots".to_owned());
        } else {
            let words = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                         start and end with an alphanumeric character";
            wrong.push(unmatched(words, LABEL, &["my-name", "123-abc"]));
        }
    }
    wrong
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

/// A DNS subdomain (RFC 1123), such as the name of a Pod.
pub fn dns_subdomain(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 253 {
        wrong.push(too_long_in_characters(253));
    }
    if !is_subdomain(text) {
        let words = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
                     must start and end with an alphanumeric character";
        wrong.push(unmatched(words, &format!("{LABEL}(\\.{LABEL})*"), &["example.com"]));
    }
    wrong
}

/// A DNS label of the older sort (RFC 1035): it begins with a letter.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 63 {
        wrong.push(too_long_in_characters(63));
    }
    if !is_label(text) || !text.starts_with(|char: char| char.is_ascii_lowercase()) {
        let words = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
                     character, and end with an alphanumeric character";
        wrong.push(unmatched(words, OLD_LABEL, &["my-name", "abc-123"]));
    }
    wrong
}

/// The name of a port of a container, also where a Service leads to it.
pub fn port_name(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 15 {
        wrong.push(too_long_in_characters(15));
    }
    if text.is_empty() || !text.bytes().all(|byte| is_lower(byte) || byte == b'-') {
        wrong.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        wrong.push("must not contain consecutive hyphens".to_owned());
    }
    if !text.is_empty() && (text.starts_with('-') || text.ends_with('-')) {
        wrong.push("must not begin or end with a hyphen".to_owned());
    }
    wrong
}

/// The number of a port.
pub fn port_number(number: i64) -> Vec<String> {
    if (1..=65535).contains(&number) {
        Vec::new()
    } else {
        vec!["must be between 1 and 65535, inclusive".to_owned()]
    }
}

/// A name with an optional prefix: the key of a label or an annotation.
pub fn qualified_name(text: &str) -> Vec<String> {
    let parts: Vec<&str> = text.split('/').collect();
    let examples = ["MyName", "my.name", "123-abc"];
    let mut wrong = Vec::new();
    let name = match parts[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong.extend(dns_subdomain(prefix).into_iter().map(|why| format!("prefix part {why}")));
            }
            name
        }
        _ => {
            let why = unmatched(&format!("a valid label key {QUALIFIED}"), NAME, &examples);
            return vec![format!(
                "{why} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        wrong.push(format!("name part {}", too_long(63)));
    }
    if !is_name(name) {
        wrong.push(unmatched(&format!("name part {QUALIFIED}"), NAME, &examples));
    }
    wrong
}

/// The value of a label.
pub fn label_value(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 63 {
        wrong.push(too_long(63));
    }
    if !text.is_empty() && !is_name(text) {
        let words = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
                     must start and end with an alphanumeric character";
        wrong.push(unmatched(words, &format!("({NAME})?"), &["MyValue", "my_value", "12345"]));
    }
    wrong
}

/// A part of a path, which the names of some kinds are.
pub fn path_segment(text: &str) -> Vec<String> {
    match text {
        "." | ".." => vec![format!("may not be '{text}'")],
        _ => ['/', '%']
            .into_iter()
            .filter(|char| text.contains(*char))
            .map(|char| format!("may not contain '{char}'"))
            .collect(),
    }
}

/// A key of a ConfigMap or a Secret.
pub fn data_key(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 253 {
        wrong.push(too_long_in_characters(253));
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        let words = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        wrong.push(unmatched(words, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    match text {
        "." | ".." => wrong.push(format!("must not be '{text}'")),
        _ if text.starts_with("..") => wrong.push("must not start with '..'".to_owned()),
        _ => {}
    }
    wrong
}

/// The name of a host in full, with or without a final dot: what is wrong, and of which part.
pub fn host_name(text: &str) -> Vec<(String, String)> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let wrong = dns_subdomain(name);
    if !wrong.is_empty() {
        return vec![(name.to_owned(), wrong.join(","))];
    }
    let labels: Vec<&str> = name.split('.').collect();
    if labels.len() < 2 {
        let why = "should be a domain with at least two segments separated by dots";
        return vec![(name.to_owned(), why.to_owned())];
    }
    let wrong = labels.into_iter().map(|label| (label.to_owned(), dns_label(label).join(",")));
    wrong.filter(|(_, why)| !why.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_in_kubernetes_words() {
        assert_eq!(dns_label("a.b"), ["must not contain dots"]);
        assert_eq!(
            dns_label("Bad_Name"),
            [
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ]
        );
        assert_eq!(
            dns_subdomain("A"),
            [
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ]
        );
        assert!(dns1035_label("1a")[0].ends_with("'[a-z]([-a-z0-9]*[a-z0-9])?')"));
        assert_eq!(port_name("a--b").len(), 1);
        assert_eq!(port_name("123"), ["must contain at least one letter (a-z)"]);
        for right in ["a", "x.y/z", "A_b-c.d"] {
            assert_eq!(qualified_name(right), [] as [&str; 0], "{right}");
        }
        for wrong in ["", "/a", "a/", "a/b/c", "-a", "A/b"] {
            assert!(!qualified_name(wrong).is_empty(), "{wrong}");
        }
        assert_eq!(label_value(""), [] as [&str; 0]);
        assert_eq!(path_segment("a/b%c").len(), 2);
        for right in ["a", ".a", "A_b-c.d", "..."] {
            assert_eq!(data_key(right).len(), usize::from(right == "..."), "{right}");
        }
        assert_eq!(data_key(".."), ["must not be '..'"]);
        assert_eq!(
            data_key("a b"),
            [
                "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
            ]
        );
        assert_eq!(host_name("a.example.com."), []);
        assert_eq!(host_name("a")[0].1, "should be a domain with at least two segments separated by dots");
        let long = "a".repeat(64);
        let wrong = (long.clone(), "must be no more than 63 characters".to_owned());
        assert_eq!(host_name(&format!("x.{long}.y")), [wrong]);
    }
}
