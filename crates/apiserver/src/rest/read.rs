//! Get and list.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Entry, Range};

use crate::kinds::Kind;
use crate::rest::options::Matching;
use crate::rest::{self, ListOptions, Place, Rest};
use crate::select::Selector;
use crate::status::Status;

/// How many entries are looked at between two locks of the store, where not all of them are wanted.
const STRIDE: usize = 500;

/// A list, or a page of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The revision at which it was so.
    pub revision: u64,
    /// The objects, as texts.
    pub items: Vec<Bytes>,
    /// Where to go on; empty: it is complete.
    pub continue_at: String,
    /// How many more there are, where that is known.
    pub remaining: Option<usize>,
}

impl Rest {
    /// Answers an object as its text.
    pub fn get(&self, place: &Place, options: &ListOptions) -> Result<Bytes, Status> {
        let (entry, revision) = self.store.get(place.kind.table, &place.key());
        if let Some(asked) = options.revision()?.filter(|asked| *asked > revision) {
            return Err(Status::too_new(asked, revision));
        }
        let entry = entry.ok_or_else(|| place.not_found())?;
        Ok(rest::served(place.kind, &entry.value))
    }

    /// Answers a list.
    pub fn list(&self, place: &Place, options: &ListOptions) -> Result<Listed, Status> {
        let selector = selector(place, options)?;
        let (at, after, limit) = self.beginning(options)?;
        let begin = Cursor { place, prefix: place.prefix(), at, after, limit };
        let found =
            if selector.is_everything() { self.plain(&begin) } else { self.selected(&begin, &selector) };
        found.map_err(
            |begin| if begin.is_continued { expired_token(&begin.after) } else { Status::expired("list") },
        )
    }

    /// At which revision, behind which key, and how many.
    fn beginning(&self, options: &ListOptions) -> Result<(Option<u64>, Option<String>, usize), Status> {
        if !options.continue_at.is_empty() {
            if !matches!(options.revision.as_str(), "" | "0") {
                return Err(Status::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            let token = Token::read(&options.continue_at)?;
            return Ok((token.revision, Some(token.after), options.limit));
        }
        let current = self.store.revision();
        let asked = options.revision()?;
        if let Some(asked) = asked.filter(|asked| *asked > current) {
            return Err(Status::too_new(asked, current));
        }
        Ok(match (asked, options.matching) {
            // Any state will do, and all of it is at hand.
            (Some(0), None | Some(Matching::NotOlderThan)) => (None, None, 0),
            (Some(asked), Some(Matching::Exact)) => (Some(asked), None, options.limit),
            (Some(asked), None) if options.limit > 0 => (Some(asked), None, options.limit),
            (Some(_) | None, _) => (None, None, options.limit),
        })
    }

    fn plain(&self, begin: &Cursor<'_>) -> Result<Listed, Expiry> {
        let range = begin.range(begin.after.as_deref(), begin.limit);
        let page = self.store.list(begin.place.kind.table, &range, begin.at).map_err(|_| begin.expiry())?;
        let is_partial = page.remaining > 0;
        let token =
            page.entries.last().filter(|_| is_partial).map(|(key, _)| Token::print(page.revision, key));
        let items = page.entries.into_iter().map(|(_, entry)| rest::served(begin.place.kind, &entry.value));
        Ok(Listed {
            revision: page.revision,
            items: items.collect(),
            continue_at: token.unwrap_or_default(),
            remaining: is_partial.then_some(page.remaining),
        })
    }

    fn selected(&self, begin: &Cursor<'_>, selector: &Selector) -> Result<Listed, Expiry> {
        let kind = begin.place.kind;
        let mut listed =
            Listed { revision: 0, items: Vec::new(), continue_at: String::new(), remaining: None };
        // Up to where was looked, and which object was the last.
        let (mut position, mut last): (Option<Arc<str>>, Option<Arc<str>>) = (None, None);
        let mut at = begin.at;
        loop {
            let from = position.as_deref().or(begin.after.as_deref());
            // Without a limit one look at everything costs least.
            let stride = if begin.limit == 0 { 0 } else { STRIDE };
            let page =
                self.store.list(kind.table, &begin.range(from, stride), at).map_err(|_| begin.expiry())?;
            listed.revision = page.revision;
            at = Some(page.revision);
            for (key, entry) in &page.entries {
                if !is_selected(kind, selector, entry) {
                    continue;
                }
                if begin.limit > 0 && listed.items.len() == begin.limit {
                    listed.continue_at = Token::print(page.revision, last.as_deref().unwrap_or_default());
                    return Ok(listed);
                }
                listed.items.push(rest::served(kind, &entry.value));
                last = Some(key.clone());
            }
            if page.remaining == 0 {
                return Ok(listed);
            }
            position = page.entries.last().map(|(key, _)| key.clone());
        }
    }
}

/// Where a list begins.
struct Cursor<'a> {
    place: &'a Place,
    prefix: String,
    at: Option<u64>,
    after: Option<String>,
    limit: usize,
}

/// A list that cannot be had any more.
struct Expiry {
    is_continued: bool,
    after: String,
}

impl Cursor<'_> {
    fn range<'a>(&'a self, after: Option<&'a str>, limit: usize) -> Range<'a> {
        Range { prefix: &self.prefix, after, limit }
    }

    fn expiry(&self) -> Expiry {
        Expiry { is_continued: self.after.is_some(), after: self.after.clone().unwrap_or_default() }
    }
}

/// Reads the selectors of a list or a watch. A name in the path is one, too.
pub(crate) fn selector(place: &Place, options: &ListOptions) -> Result<Selector, Status> {
    let fields = match (place.name.as_str(), options.fields.as_str()) {
        ("", fields) => fields.to_owned(),
        (name, "") => format!("metadata.name={}", escaped(name)),
        (name, fields) => format!("metadata.name={},{fields}", escaped(name)),
    };
    Selector::parse(place.kind, &options.labels, &fields).map_err(|wrong| Status::bad_request(wrong.0))
}

/// A text as a field selector has it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

/// Answers whether an entry is selected. Of the object only as much is read as the selector looks at.
pub(crate) fn is_selected(kind: &Kind, selector: &Selector, entry: &Entry) -> bool {
    if selector.is_everything() {
        return true;
    }
    if selector.looks_at_fields() || kind.rules.conversion.is_some() {
        let text = rest::served(kind, &entry.value);
        return selector.matches(kind, &rest::object(&text));
    }
    let head: Head = serde_json::from_slice(&entry.value).unwrap_or_default();
    selector.matches(kind, &json!({"metadata": head.metadata}))
}

/// What label selectors look at.
#[derive(Default, Deserialize)]
struct Head {
    metadata: HeadMeta,
}

#[derive(Default, Deserialize, serde::Serialize)]
struct HeadMeta {
    #[serde(default)]
    labels: Value,
}

/// Where a list goes on.
struct Token {
    /// `None`: wherever things are now.
    revision: Option<u64>,
    after: String,
}

/// The version of tokens, as clients may see it.
const VERSION: &str = "meta.k8s.io/v1";

impl Token {
    fn print(revision: u64, after: &str) -> String {
        Self::encoded(&json!({"v": VERSION, "rv": revision, "start": after}))
    }

    fn encoded(token: &Value) -> String {
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    fn read(text: &str) -> Result<Self, Status> {
        let wrong = |why: &str| Status::bad_request(format!("continue key is not valid: {why}"));
        let bytes =
            URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|error| wrong(&error.to_string()))?;
        let token: Value = serde_json::from_slice(&bytes).map_err(|error| wrong(&error.to_string()))?;
        if token["v"] != VERSION {
            return Err(wrong("server does not recognize this encoded version"));
        }
        let after = token["start"].as_str().filter(|after| !after.is_empty());
        let after = after.ok_or_else(|| wrong("incorrect encoded start resourceVersion"))?;
        Ok(Self { revision: token["rv"].as_u64(), after: after.to_owned() })
    }
}

/// The list cannot go on as it was; it can go on from what there is now.
fn expired_token(after: &str) -> Status {
    let mut status = Status::expired("list");
    status.message = "The provided continue parameter is too old to display a consistent list result. You can start a new \
                      list without the continue parameter, or use the continue token in this response to retrieve the \
                      remainder of the results. Continuing with the provided token results in an inconsistent list - objects \
                      that were created, modified, or deleted between the time the first chunk was returned and now may show \
                      up in the list."
        .to_owned();
    status.continue_at = Some(Token::encoded(&json!({"v": VERSION, "rv": -1, "start": after})));
    status
}
