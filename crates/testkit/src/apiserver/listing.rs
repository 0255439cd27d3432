//! Lists: pages, continue tokens, consistent snapshots.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::encode::Form;
use super::request::Request;
use super::resource::Resource;
use super::selector::Selector;
use super::status::Refusal;
use super::store::Store;

/// Answers one page of a list.
pub(super) fn page(
    store: &Store,
    resource: Resource,
    selector: &Selector,
    (request, form): (&Request, Form),
) -> Result<Bytes, Refusal> {
    if !request.parameter("sendInitialEvents").is_empty() {
        return Err(Refusal::invalid(
            "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden \
             for list",
        ));
    }
    let token = Token::parse(request.parameter("continue"))?;
    let revision = revision_of(store, request, token.as_ref())?;
    let all = store.list_at(resource, revision)?;
    let mut items: Vec<Arc<Value>> = all.into_iter().filter(|object| selector.matches(object)).collect();
    if let Some(token) = &token {
        items.retain(|object| path_of(object) > token.after);
    }
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    let limit = usize::try_from(request.number("limit")?).unwrap_or(usize::MAX);
    if limit > 0 && items.len() > limit {
        let remaining = items.len() - limit;
        items.truncate(limit);
        let after = items.last().map_or_else(String::new, |object| path_of(object));
        metadata["continue"] = json!(Token { revision, after }.to_text());
        // With a selector the real server does not know how many remain.
        if request.parameter("labelSelector").is_empty() && request.parameter("fieldSelector").is_empty() {
            metadata["remainingItemCount"] = json!(remaining);
        }
    }
    Ok(form.list(resource, &metadata, &items))
}

fn revision_of(store: &Store, request: &Request, token: Option<&Token>) -> Result<u64, Refusal> {
    if let Some(token) = token {
        return Ok(token.revision);
    }
    let asked = request.number("resourceVersion")?;
    if asked > store.revision() {
        return Err(Refusal::new(504, "Timeout", format!("Too large resource version: {asked}")));
    }
    Ok(if request.parameter("resourceVersionMatch") == "Exact" { asked } else { store.revision() })
}

fn path_of(object: &Value) -> String {
    let metadata = &object["metadata"];
    let part = |field: &str| metadata[field].as_str().unwrap_or("").to_owned();
    // '\0' sorts before every character of a name, so this order is that of the store.
    format!("{}\0{}", part("namespace"), part("name"))
}

/// Where a list goes on. Its text has characters that clients must escape in a query.
struct Token {
    revision: u64,
    after: String,
}

impl Token {
    fn to_text(&self) -> String {
        format!("v1:{}&{}", self.revision, self.after.replace('\0', "/+="))
    }

    fn parse(text: &str) -> Result<Option<Self>, Refusal> {
        if text.is_empty() {
            return Ok(None);
        }
        let parts = text.strip_prefix("v1:").and_then(|rest| rest.split_once('&'));
        let token = parts.and_then(|(revision, after)| {
            Some(Self { revision: revision.parse().ok()?, after: after.replace("/+=", "\0") })
        });
        token.map(Some).ok_or_else(|| Refusal::bad_request("continue key is not valid"))
    }
}
