//! Bytes as bodies: what one language accepts, every language can say.
//!
//! The fuzz target of the same name uses this file, too.

use apiserver::body::{Expected, Strictness, decode};
use apiserver::kinds::KINDS;

use super::requests::check_object;

/// The languages, by the second byte of an input.
const LANGUAGES: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// Reads a body: its first byte says the kind, the second the language and what becomes of unknown fields. Answers
/// whether it was accepted.
pub(crate) fn read(input: &[u8]) -> bool {
    let [kind, how, bytes @ ..] = input else { return false };
    let kind = KINDS[usize::from(*kind) % KINDS.len()];
    let language = LANGUAGES[usize::from(*how) % LANGUAGES.len()];
    let strictness =
        [Strictness::Warn, Strictness::Strict, Strictness::Ignore][usize::from(*how) / LANGUAGES.len() % 3];
    let api_version = kind.api_version();
    let expected = Expected { api_version: &api_version, kind: kind.kind, of: kind.of_type() };
    match decode(bytes, language, &expected, strictness) {
        Ok((object, _)) => {
            check_object(kind, apiserver::body::text(&object, expected.of).as_ref());
            true
        }
        Err(error) => {
            assert!(matches!(error.code(), 400 | 415) && !error.to_string().is_empty());
            false
        }
    }
}
