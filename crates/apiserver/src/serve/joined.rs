//! A list in JSON out of the texts of its objects, which are not read: every text of a kind begins alike.
//!
//! It is put together while it is sent, so that it is never there as a whole.

use bytes::Bytes;
use serde_json::Value;

use crate::kinds::Kind;

/// A piece has at least so many bytes, so that small objects do not cost a system call each.
const PIECE: usize = 64 * 1024;
/// What stands behind the last object.
const END: &[u8] = b"]}\n";

/// A list that is being sent.
#[derive(Debug)]
pub(crate) struct Joined {
    /// How an object begins with its kind and version, which it does not say in a list.
    beginning: String,
    items: std::vec::IntoIter<Bytes>,
    /// The next piece as far as it is there.
    piece: Vec<u8>,
    /// How many bytes are still to be handed out.
    left: u64,
}

impl Joined {
    pub(crate) fn new(kind: &Kind, metadata: &Value, items: Vec<Bytes>) -> Self {
        let (name, api_version) = (kind.kind, kind.api_version());
        let beginning = format!("{{\"kind\":\"{name}\",\"apiVersion\":\"{api_version}\",");
        let head = format!(
            "{{\"kind\":\"{name}List\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":["
        );
        let length = |text: &Bytes| text.len() - shown(text, &beginning).map_or(0, |_| beginning.len() - 1);
        let commas = items.len().saturating_sub(1);
        let left = head.len() + items.iter().map(length).sum::<usize>() + commas + END.len();
        Self { beginning, items: items.into_iter(), piece: head.into_bytes(), left: left as u64 }
    }

    /// How many bytes are still to be handed out.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Hands out the next piece.
    pub(crate) fn next_piece(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let mut piece = std::mem::take(&mut self.piece);
        piece.reserve(PIECE + PIECE / 4);
        while let Some(text) = self.items.next() {
            match shown(&text, &self.beginning) {
                Some(rest) => {
                    piece.push(b'{');
                    piece.extend_from_slice(rest);
                }
                None => piece.extend_from_slice(&text),
            }
            let is_last = self.items.as_slice().is_empty();
            piece.extend_from_slice(if is_last { b"" } else { b"," });
            if piece.len() > PIECE && !is_last {
                self.left -= piece.len() as u64;
                return Some(piece.into());
            }
        }
        piece.extend_from_slice(END);
        self.left = 0;
        Some(piece.into())
    }
}

/// What a list shows of an object, without the bracket in front.
fn shown<'a>(text: &'a [u8], beginning: &str) -> Option<&'a [u8]> {
    text.strip_prefix(beginning.as_bytes())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(items: &[String], pieces_wanted: usize, wanted: &str) {
        let kind = Kind::find("", "v1", "configmaps").expect("they are served");
        let items = items.iter().map(|text| Bytes::from(text.clone())).collect();
        let mut joined = Joined::new(kind, &json!({"resourceVersion": "7"}), items);
        let (length, mut pieces, mut found) = (joined.left(), 0, Vec::new());
        while let Some(piece) = joined.next_piece() {
            pieces += 1;
            found.extend_from_slice(&piece);
            assert_eq!(joined.left(), length - found.len() as u64);
        }
        assert_eq!(String::from_utf8(found).expect("it is UTF-8"), wanted);
        assert_eq!(pieces, pieces_wanted);
    }

    #[test]
    fn a_list_has_the_length_that_was_announced() {
        let head =
            r#"{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":["#;
        check(&[], 1, &format!("{head}]}}\n"));
        let one = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{}}"#.to_owned();
        // Of a kind that was never like this: as it is.
        let other = r#"{"metadata":{},"kind":"ConfigMap"}"#.to_owned();
        let wanted = format!("{head}{{\"metadata\":{{}}}},{other},{{\"metadata\":{{}}}}]}}\n");
        check(&[one.clone(), other, one], 1, &wanted);
        let large = format!(r#"{{"kind":"ConfigMap","apiVersion":"v1","data":"{}"}}"#, "x".repeat(PIECE));
        let shown = format!(r#"{{"data":"{}"}}"#, "x".repeat(PIECE));
        check(&[large.clone(), large.clone(), large], 3, &format!("{head}{shown},{shown},{shown}]}}\n"));
    }
}
