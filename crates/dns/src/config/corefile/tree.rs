//! The shape of a Corefile: words, lines, blocks. It knows no directive.

use std::iter::Peekable;
use std::str::Chars;

use super::super::Remark;

/// How deep blocks may be; directives are one deep, and nothing that is understood is deeper.
const DEEPEST: usize = 8;

/// A word and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) line: usize,
    pub(super) column: usize,
    is_quoted: bool,
}

impl Word {
    pub(super) fn remark(&self, reason: impl Into<String>) -> Remark {
        Remark::new(format!("{}:{}", self.line, self.column), reason)
    }

    fn is(&self, brace: &str) -> bool {
        !self.is_quoted && self.text == brace
    }
}

/// A line: a word, what belongs to it, and the lines in braces after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) name: Word,
    pub(super) arguments: Vec<Word>,
    pub(super) block: Vec<Line>,
}

/// A server block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) keys: Vec<Word>,
    pub(super) lines: Vec<Line>,
}

/// Reads all server blocks. `variable` answers variables of the environment.
pub(super) fn blocks(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Block>, Remark> {
    let words = words(text)?;
    let words = words.into_iter().map(|word| Word { text: expanded(&word.text, variable), ..word }).collect();
    let mut reading = Reading { words, at: 0 };
    let mut blocks = Vec::new();
    while reading.peek().is_some() {
        blocks.push(reading.block()?);
    }
    Ok(blocks)
}

/// Cuts a text into words. A word begins after a blank; a quoted one may have blanks and line ends in it.
fn words(text: &str) -> Result<Vec<Word>, Remark> {
    let mut cutter = Cutter { rest: text.chars().peekable(), line: 1, column: 1 };
    let mut words = Vec::new();
    while let Some(c) = cutter.rest.peek().copied() {
        if c.is_whitespace() || c == '\u{feff}' {
            cutter.step();
        } else if c == '#' {
            while cutter.rest.peek().is_some_and(|c| *c != '\n') {
                cutter.step();
            }
        } else {
            words.push(cutter.word()?);
        }
    }
    Ok(words)
}

struct Cutter<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
    column: usize,
}

impl Cutter<'_> {
    fn step(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        self.column += 1;
        if c == '\n' {
            self.line += 1;
            self.column = 1;
        }
        Some(c)
    }

    fn word(&mut self) -> Result<Word, Remark> {
        let is_quoted = self.rest.peek() == Some(&'"');
        let mut word = Word { text: String::new(), line: self.line, column: self.column, is_quoted };
        if !is_quoted {
            while self.rest.peek().is_some_and(|c| !c.is_whitespace()) {
                word.text.extend(self.step());
            }
            return Ok(word);
        }
        self.step();
        loop {
            match self.step() {
                Some('"') => return Ok(word),
                Some('\\') if self.rest.peek() == Some(&'"') => word.text.extend(self.step()),
                Some(c) => word.text.push(c),
                None => return Err(word.remark("the quotation has no end")),
            }
        }
    }
}

/// Puts variables of the environment in place: `{$NAME}` and `{%NAME%}`. Those that are not there are empty.
fn expanded(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find('{') {
        out += &rest[..begin];
        rest = &rest[begin..];
        let end = match rest.as_bytes().get(1) {
            Some(b'$') => rest.find('}').map(|end| (end, 1)),
            Some(b'%') => rest.find("%}").filter(|end| *end > 1).map(|end| (end, 2)),
            _ => None,
        };
        let Some((end, length)) = end else {
            out.push('{');
            rest = &rest[1..];
            continue;
        };
        out += &variable(&rest[2..end]).unwrap_or_default();
        rest = &rest[end + length..];
    }
    out + rest
}

struct Reading {
    words: Vec<Word>,
    at: usize,
}

impl Reading {
    fn peek(&self) -> Option<&Word> {
        self.words.get(self.at)
    }

    fn next(&mut self) -> Option<Word> {
        let word = self.words.get(self.at).cloned();
        self.at += 1;
        word
    }

    /// Keys up to the brace: on one line, or on several when the ones before end with a comma.
    fn block(&mut self) -> Result<Block, Remark> {
        let mut keys: Vec<Word> = Vec::new();
        loop {
            let Some(word) = self.next() else {
                let last = keys.last().expect("a block begins with a word");
                return Err(last.remark("a server block is written in braces after this: `{`"));
            };
            if word.is("{") {
                if keys.is_empty() {
                    return Err(word.remark("which zones this server block is for is missing before `{`"));
                }
                let lines = self.lines(&word, 1)?;
                return Ok(Block { keys: split(keys), lines });
            }
            if word.is("}") {
                return Err(word.remark("no block is open that could end here"));
            }
            if let Some(last) = keys.last().filter(|last| last.line != word.line && !last.text.ends_with(','))
            {
                return Err(last.remark("a server block is written in braces after this: `{`"));
            }
            keys.push(word);
        }
    }

    fn lines(&mut self, open: &Word, depth: usize) -> Result<Vec<Line>, Remark> {
        if depth > DEEPEST {
            return Err(open.remark("blocks are too deep in each other"));
        }
        let mut lines = Vec::new();
        loop {
            let name = self.next().ok_or_else(|| open.remark("this block has no end: `}` is missing"))?;
            if name.is("}") {
                return Ok(lines);
            }
            if name.is("{") {
                return Err(name.remark("a block stands after a directive, on the same line"));
            }
            lines.push(self.line(name, depth)?);
        }
    }

    fn line(&mut self, name: Word, depth: usize) -> Result<Line, Remark> {
        let mut line = Line { name, arguments: Vec::new(), block: Vec::new() };
        while let Some(word) = self.peek().filter(|word| word.line == line.name.line) {
            if word.is("}") {
                break;
            }
            let word = word.clone();
            self.at += 1;
            if word.is("{") {
                line.block = self.lines(&word, depth + 1)?;
                break;
            }
            line.arguments.push(word);
        }
        Ok(line)
    }
}

/// Commas are as good as blanks between keys.
fn split(keys: Vec<Word>) -> Vec<Word> {
    let parts = |key: Word| {
        let mut column = key.column;
        let mut parts = Vec::new();
        for part in key.text.split(',') {
            if !part.is_empty() {
                parts.push(Word { text: part.to_owned(), column, ..key.clone() });
            }
            column += part.chars().count() + 1;
        }
        parts
    };
    keys.into_iter().flat_map(parts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let variable = |name: &str| (name == "UP").then(|| "9.9.9.9".to_owned());
        match blocks(text, &variable) {
            Ok(blocks) => blocks.iter().map(block).collect::<Vec<_>>().join("; "),
            Err(remark) => format!("! {remark}"),
        }
    }

    fn block(block: &Block) -> String {
        let keys: Vec<&str> = block.keys.iter().map(|key| key.text.as_str()).collect();
        format!("{} {{{}}}", keys.join(" "), lines(&block.lines))
    }

    fn lines(all: &[Line]) -> String {
        let line = |line: &Line| {
            let words = std::iter::once(&line.name).chain(&line.arguments);
            let words: Vec<&str> = words.map(|word| word.text.as_str()).collect();
            let block =
                if line.block.is_empty() { String::new() } else { format!(" {{{}}}", lines(&line.block)) };
            words.join("|") + &block
        };
        all.iter().map(line).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn texts_have_a_shape_or_a_mistake() {
        for (text, wanted) in [
            (
                ".:53 {\n  errors\n  health {\n    lameduck 5s\n  }\n}\n",
                ".:53 {errors, health {lameduck|5s}}",
            ),
            ("a.org, b.org {\n}\nc.org {\n}", "a.org b.org {}; c.org {}"),
            ("a.org,\nb.org {\n}", "a.org b.org {}"),
            ("a.org,b.org {\n}", "a.org b.org {}"),
            (". { # all\n log \"a \\\" b\" x#y\n}", ". {log|a \" b|x#y}"),
            (". {\n forward . {$UP} {%UP%}:53 {$NO}\n}", ". {forward|.|9.9.9.9|9.9.9.9:53|}"),
            (". {\n a { b }\n}", ". {a {b}}"),
            ("", ""),
            (". {\n errors\n", "! 1:3: this block has no end: `}` is missing"),
            (". \n errors\n", "! 1:1: a server block is written in braces after this: `{`"),
            (".", "! 1:1: a server block is written in braces after this: `{`"),
            ("{\n}", "! 1:1: which zones this server block is for is missing before `{`"),
            (". {\n}\n}", "! 3:1: no block is open that could end here"),
            (". {\n log \"a\n}", "! 2:6: the quotation has no end"),
            (". {\n errors\n {\n }\n}", "! 3:2: a block stands after a directive, on the same line"),
        ] {
            assert_eq!(shown(text), wanted, "{text}");
        }
        assert!(shown(&"a {\n".repeat(100)).contains("too deep"));
    }
}
