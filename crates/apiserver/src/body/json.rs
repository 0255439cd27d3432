//! JSON as Go reads it: with its words for what is wrong, and keeping what a map would lose, the order of keys, keys that
//! stand there twice and how numbers are written.

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    /// As it is written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    /// Keys may stand there twice.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// Answers what Go calls it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::Text(_) => "string",
            Self::List(_) => "array",
            Self::Map(_) => "object",
        }
    }
}

/// How deep objects and lists may be nested. Go allows 10,000, no object of Kubernetes has more than 30; what is stored is
/// read again by serde_json, which takes 127 levels.
pub(super) const DEEPEST: usize = 120;

/// Reads a text that is one value; the error is worded as Go words it.
pub(super) fn parse(bytes: &[u8]) -> Result<Node, String> {
    let mut reading = Reading { bytes, at: 0, depth: 0 };
    let node = reading.value()?;
    reading.space();
    match reading.peek() {
        None => Ok(node),
        Some(byte) => Err(unexpected(byte, "after top-level value")),
    }
}

fn unexpected(byte: u8, context: &str) -> String {
    let shown = match byte {
        b'\'' => r"\'".to_owned(),
        b'"' => "\"".to_owned(),
        byte => super::words::escaped(char::from(byte)),
    };
    format!("invalid character '{shown}' {context}")
}

struct Reading<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl Reading<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Takes the next byte; the text must not end here.
    fn next(&mut self) -> Result<u8, String> {
        let byte = self.peek().ok_or("unexpected end of JSON input")?;
        self.at += 1;
        Ok(byte)
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Result<Node, String> {
        self.space();
        match self.next()? {
            b'{' => self.nested(Self::map),
            b'[' => self.nested(Self::list),
            b'"' => Ok(Node::Text(self.text()?)),
            b't' => self.literal("true", Node::Bool(true)),
            b'f' => self.literal("false", Node::Bool(false)),
            b'n' => self.literal("null", Node::Null),
            byte @ (b'-' | b'0'..=b'9') => self.number(byte),
            byte => Err(unexpected(byte, "looking for beginning of value")),
        }
    }

    fn nested(&mut self, read: impl Fn(&mut Self) -> Result<Node, String>) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("exceeded max depth".to_owned());
        }
        let node = read(self)?;
        self.depth -= 1;
        Ok(node)
    }

    fn map(&mut self) -> Result<Node, String> {
        let mut entries = Vec::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Node::Map(entries));
        }
        loop {
            self.space();
            match self.next()? {
                b'"' => {}
                byte => return Err(unexpected(byte, "looking for beginning of object key string")),
            }
            let key = self.text()?;
            self.space();
            match self.next()? {
                b':' => {}
                byte => return Err(unexpected(byte, "after object key")),
            }
            entries.push((key, self.value()?));
            self.space();
            match self.next()? {
                b',' => {}
                b'}' => return Ok(Node::Map(entries)),
                byte => return Err(unexpected(byte, "after object key:value pair")),
            }
        }
    }

    fn list(&mut self) -> Result<Node, String> {
        let mut parts = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Node::List(parts));
        }
        loop {
            parts.push(self.value()?);
            self.space();
            match self.next()? {
                b',' => {}
                b']' => return Ok(Node::List(parts)),
                byte => return Err(unexpected(byte, "after array element")),
            }
        }
    }

    fn literal(&mut self, word: &str, node: Node) -> Result<Node, String> {
        for expected in word.bytes().skip(1) {
            let byte = self.next()?;
            if byte != expected {
                let context = format!("in literal {word} (expecting '{}')", char::from(expected));
                return Err(unexpected(byte, &context));
            }
        }
        Ok(node)
    }

    fn number(&mut self, first: u8) -> Result<Node, String> {
        let start = self.at - 1;
        let mut first = first;
        if first == b'-' {
            first = self.next()?;
            if !first.is_ascii_digit() {
                return Err(unexpected(first, "in numeric literal"));
            }
        }
        if first != b'0' {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digit("after decimal point in numeric literal")?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digit("in exponent of numeric literal")?;
        }
        Ok(Node::Number(String::from_utf8_lossy(&self.bytes[start..self.at]).into_owned()))
    }

    fn digit(&mut self, context: &str) -> Result<(), String> {
        let byte = self.next()?;
        if !byte.is_ascii_digit() {
            return Err(unexpected(byte, context));
        }
        self.digits();
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    /// Reads a text after its opening quote. Bytes that are no UTF-8, and halves of pairs, become U+FFFD.
    fn text(&mut self) -> Result<String, String> {
        let mut text = Vec::new();
        loop {
            match self.next()? {
                b'"' => break,
                b'\\' => {
                    let escaped = self.escape()?;
                    text.extend_from_slice(escaped.encode_utf8(&mut [0; 4]).as_bytes());
                }
                byte if byte < b' ' => return Err(unexpected(byte, "in string literal")),
                byte => text.push(byte),
            }
        }
        Ok(String::from_utf8(text).unwrap_or_else(|error| {
            let mut lossy = String::new();
            for chunk in error.as_bytes().utf8_chunks() {
                lossy.push_str(chunk.valid());
                lossy.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
            }
            lossy
        }))
    }

    fn escape(&mut self) -> Result<char, String> {
        Ok(match self.next()? {
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            byte @ (b'"' | b'\\' | b'/') => char::from(byte),
            b'u' => return self.unicode(),
            byte => return Err(unexpected(byte, "in string escape code")),
        })
    }

    fn unicode(&mut self) -> Result<char, String> {
        let first = self.four_digits()?;
        if !(0xd800..0xdc00).contains(&first) {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let before = self.at;
        if self.bytes[self.at..].starts_with(b"\\u") {
            self.at += 2;
            let second = self.four_digits()?;
            if (0xdc00..0xe000).contains(&second) {
                let both = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(both).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = before;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn four_digits(&mut self) -> Result<u32, String> {
        let mut number = 0;
        for _ in 0..4 {
            let byte = self.next()?;
            let digit = char::from(byte).to_digit(16);
            let digit = digit.ok_or_else(|| unexpected(byte, "in \\u hexadecimal character escape"))?;
            number = number << 4 | digit;
        }
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_have_the_words_of_go() {
        let check = |text: &str, expected: &str| {
            assert_eq!(parse(text.as_bytes()), Err(expected.to_owned()), "{text}")
        };
        check("", "unexpected end of JSON input");
        check(r#"{"a":"#, "unexpected end of JSON input");
        check("{} trailing", "invalid character 't' after top-level value");
        check("{bad", "invalid character 'b' looking for beginning of object key string");
        check(r#"{"a":1,}"#, "invalid character '}' looking for beginning of object key string");
        check(r#"{"a" 1}"#, "invalid character '1' after object key");
        check(r#"{"a":1 "b"}"#, "invalid character '\"' after object key:value pair");
        check("[1 2]", "invalid character '2' after array element");
        check("[1,]", "invalid character ']' looking for beginning of value");
        check("a: b", "invalid character 'a' looking for beginning of value");
        check("'x'", r"invalid character '\'' looking for beginning of value");
        check("trie", "invalid character 'i' in literal true (expecting 'u')");
        check("01", "invalid character '1' after top-level value");
        check("-x", "invalid character 'x' in numeric literal");
        check("1.x", "invalid character 'x' after decimal point in numeric literal");
        check("1ex", "invalid character 'x' in exponent of numeric literal");
        check("\"a\nb\"", r"invalid character '\n' in string literal");
        check(r#""\x""#, "invalid character 'x' in string escape code");
        check(r#""\u12x4""#, r"invalid character 'x' in \u hexadecimal character escape");
        check("\u{feff}{}", "invalid character 'ï' looking for beginning of value");
        check(&"[".repeat(100_000), "exceeded max depth");
    }

    #[test]
    fn nothing_is_lost() {
        let text = br#" {"b": [1e3, -0.5], "a": null, "b": "\ud83d\udc0e\u00e9\ud800\n", "c": {"": true}} "#;
        let list = Node::List(vec![Node::Number("1e3".to_owned()), Node::Number("-0.5".to_owned())]);
        let expected = Node::Map(vec![
            ("b".to_owned(), list),
            ("a".to_owned(), Node::Null),
            ("b".to_owned(), Node::Text("\u{1F40E}é\u{FFFD}\n".to_owned())),
            ("c".to_owned(), Node::Map(vec![(String::new(), Node::Bool(true))])),
        ]);
        assert_eq!(parse(text), Ok(expected));
        assert_eq!(parse(b"\"a\xff\xfeb\""), Ok(Node::Text("a\u{FFFD}\u{FFFD}b".to_owned())));
    }
}
