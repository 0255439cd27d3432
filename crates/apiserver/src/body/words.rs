//! Texts as Go's `%q` shows them.

/// Answers a text in quotes.
pub(crate) fn quoted(text: &str) -> String {
    let inner: String =
        text.chars().map(|char| if char == '"' { r#"\""#.to_owned() } else { escaped(char) }).collect();
    format!("\"{inner}\"")
}

/// Answers one character, as it stands between quotes.
pub(super) fn escaped(char: char) -> String {
    match char {
        '\\' => r"\\".to_owned(),
        '\n' => r"\n".to_owned(),
        '\t' => r"\t".to_owned(),
        '\r' => r"\r".to_owned(),
        '\u{7}' => r"\a".to_owned(),
        '\u{8}' => r"\b".to_owned(),
        '\u{b}' => r"\v".to_owned(),
        '\u{c}' => r"\f".to_owned(),
        char if char < ' ' || char == '\u{7f}' => format!("\\x{:02x}", u32::from(char)),
        char if is_shown(char) => char.to_string(),
        char if u32::from(char) <= 0xffff => format!("\\u{:04x}", u32::from(char)),
        char => format!("\\U{:08x}", u32::from(char)),
    }
}

/// Controls, spaces but the common one, and invisible marks are not shown as they are.
fn is_shown(char: char) -> bool {
    let is_invisible = matches!(char, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e000}'..='\u{f8ff}' | '\u{fff9}'..='\u{fffb}');
    char == ' ' || !(char.is_control() || char.is_whitespace() || is_invisible)
}

#[cfg(test)]
mod tests {
    #[test]
    fn texts_are_quoted_as_in_go() {
        assert_eq!(super::quoted("a\"b\\c\n\u{1}ž\u{2028}\u{1F40E}'"), r#""a\"b\\c\n\x01ž\u2028🐎'""#);
    }
}
