//! Reads JSON, and says what is wrong with it in the words of Go's decoder.
//!
//! It does not look for duplicate keys: the last one counts.

use serde_json::{Map, Value};

/// How deep values are nested at most: the parser takes no more. Go takes 10,000 levels.
pub(super) const DEEPEST: usize = 127;

/// Reads a text; or says what is wrong.
pub(super) fn json(text: &[u8]) -> Result<Value, String> {
    Scanner { text, at: 0, depth: 0 }.document()?;
    // Go replaces what is no UTF-8 instead of refusing it.
    serde_json::from_str(&String::from_utf8_lossy(text)).map_err(|error| error.to_string())
}

/// Reads a text that must hold an object; `null` is an empty one.
pub(super) fn object(text: &[u8]) -> Result<Option<Map<String, Value>>, String> {
    match json(text)? {
        Value::Null => Ok(None),
        Value::Object(map) => Ok(Some(map)),
        other @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            Err(cannot("value of type map[string]interface {}", &other))
        }
    }
}

/// Says that a value cannot stand there.
pub(super) fn cannot(place: &str, value: &Value) -> String {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    format!("json: cannot unmarshal {kind} into Go {place}")
}

/// Walks over a text until its first fault.
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl Scanner<'_> {
    fn document(&mut self) -> Result<(), String> {
        self.value()?;
        self.spaces();
        match self.text.get(self.at) {
            None => Ok(()),
            Some(_) => Err(self.fault("after top-level value")),
        }
    }

    fn value(&mut self) -> Result<(), String> {
        self.spaces();
        match self.text.get(self.at).copied() {
            Some(b'{') => self.nested(Self::members),
            Some(b'[') => self.nested(Self::entries),
            Some(b'"') => self.string(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.fault("looking for beginning of value")),
        }
    }

    fn nested(&mut self, inside: fn(&mut Self) -> Result<(), String>) -> Result<(), String> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("exceeded max depth".to_owned());
        }
        inside(self)?;
        self.depth -= 1;
        Ok(())
    }

    fn members(&mut self) -> Result<(), String> {
        if self.took(b'}') {
            return Ok(());
        }
        loop {
            self.spaces();
            if self.text.get(self.at) != Some(&b'"') {
                return Err(self.fault("looking for beginning of object key string"));
            }
            self.string()?;
            if !self.took(b':') {
                return Err(self.fault("after object key"));
            }
            self.value()?;
            if self.took(b'}') {
                return Ok(());
            }
            if !self.took(b',') {
                return Err(self.fault("after object key:value pair"));
            }
        }
    }

    fn entries(&mut self) -> Result<(), String> {
        if self.took(b']') {
            return Ok(());
        }
        loop {
            self.value()?;
            if self.took(b']') {
                return Ok(());
            }
            if !self.took(b',') {
                return Err(self.fault("after array element"));
            }
        }
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.text.get(self.at).copied() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(0x20..) => self.at += 1,
                Some(_) | None => return Err(self.fault("in string literal")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        self.at += 1;
        match self.text.get(self.at).copied() {
            Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.text.get(self.at).is_some_and(u8::is_ascii_hexdigit) {
                        return Err(self.fault("in \\u hexadecimal character escape"));
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.fault("in string escape code")),
        }
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        self.at += 1;
        for letter in word.bytes().skip(1) {
            if self.text.get(self.at) != Some(&letter) {
                let place = format!("in literal {word} (expecting '{}')", char::from(letter));
                return Err(self.fault(&place));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        if self.text.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        // After a zero nothing but a point or an exponent may follow.
        if self.text.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.text.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn digits(&mut self, place: &str) -> Result<(), String> {
        if !self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            return Err(self.fault(place));
        }
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        Ok(())
    }

    fn spaces(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn took(&mut self, sign: u8) -> bool {
        self.spaces();
        let is_there = self.text.get(self.at) == Some(&sign);
        self.at += usize::from(is_there);
        is_there
    }

    fn fault(&self, place: &str) -> String {
        let Some(&byte) = self.text.get(self.at) else { return "unexpected end of JSON input".to_owned() };
        let sign = match byte {
            b'\'' => r"'\''".to_owned(),
            b'"' => "'\"'".to_owned(),
            byte => {
                let quoted = super::go::quote(&char::from(byte).to_string());
                format!("'{}'", quoted.trim_matches('"'))
            }
        };
        format!("invalid character {sign} {place}")
    }
}

#[cfg(test)]
mod tests {
    use super::json;

    #[test]
    fn faults_are_told_in_gos_words() {
        let check = |text: &str, fault: &str| assert_eq!(json(text.as_bytes()).unwrap_err(), fault, "{text}");
        check("", "unexpected end of JSON input");
        check("{\"a\":", "unexpected end of JSON input");
        check("\"a", "unexpected end of JSON input");
        check("{bad", "invalid character 'b' looking for beginning of object key string");
        check("{\"a\":1,}", "invalid character '}' looking for beginning of object key string");
        check("{\"a\" 1}", "invalid character '1' after object key");
        check("{\"a\":1 \"b\":2}", "invalid character '\"' after object key:value pair");
        check("[1 2]", "invalid character '2' after array element");
        check("[1,]", "invalid character ']' looking for beginning of value");
        check("{} trailing", "invalid character 't' after top-level value");
        check("nope", "invalid character 'o' in literal null (expecting 'u')");
        check("tru ", "invalid character ' ' in literal true (expecting 'e')");
        check("-x", "invalid character 'x' in numeric literal");
        check("[01]", "invalid character '1' after array element");
        check("1.x", "invalid character 'x' after decimal point in numeric literal");
        check("1e+x", "invalid character 'x' in exponent of numeric literal");
        check("\"a\nb\"", "invalid character '\\n' in string literal");
        check("\"\\x\"", "invalid character 'x' in string escape code");
        check("\"\\u12g4\"", "invalid character 'g' in \\u hexadecimal character escape");
        check("'a'", "invalid character '\\'' looking for beginning of value");
        check(&"[".repeat(100_000), "exceeded max depth");
        assert!(json(b"\"\xff\"").is_ok());
    }
}
