//! Tokens for ServiceAccounts: what `kubectl create token` and kubelets ask for.

use serde_json::{Map, Value, json};

use super::review::{Court, TOKEN_REQUEST, time};
use super::tokens::Claims;
use crate::body::quoted;
use crate::kinds::Kind;
use crate::mistake::{self, Mistake, Path};
use crate::status::Status;

/// How long a token is good when nothing is said, and at least, in seconds.
const USUAL: i64 = 3600;
const LEAST: i64 = 600;
const MOST: i64 = 1 << 32;

/// Answers what is sent to `serviceaccounts/NAME/token`: its type in the schema, and whatever else a kind has.
pub fn kind() -> &'static Kind {
    &TOKEN_REQUEST
}

/// Signs a token for the ServiceAccount `place` (namespace, name). `id` becomes the token's own name.
pub fn answer(place: (&str, &str), asked: &Value, id: String, court: &Court<'_>) -> Result<Value, Status> {
    let (namespace, name) = place;
    let account = object("serviceaccounts", place, court)?;
    check(place, asked)?;
    let spec = &asked["spec"];
    let given = spec["audiences"].as_array().into_iter().flatten();
    let mut audiences: Vec<String> = given.filter_map(|text| text.as_str().map(str::to_owned)).collect();
    if audiences.is_empty() {
        audiences.push(court.tokens.issuer.clone());
    }
    let seconds = spec["expirationSeconds"].as_i64().unwrap_or(USUAL);
    let reference = &spec["boundObjectRef"];
    let bound = if reference.is_object() { Some(bound(reference, place, court)?) } else { None };
    let issued = court.facts.now;
    let claims = Claims {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: account["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
        audiences,
        bound,
        id,
        issued,
        expires: issued + seconds,
    };
    Ok(json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": time(issued)},
        "spec": {"audiences": claims.audiences, "expirationSeconds": seconds, "boundObjectRef": reference},
        "status": {"token": court.tokens.sign(&claims), "expirationTimestamp": time(claims.expires)},
    }))
}

/// Refuses a node what is not for a Pod that runs on it, in the words of kube-apiserver's plugin NodeRestriction.
pub fn check_node(node: &str, place: (&str, &str), asked: &Value, court: &Court<'_>) -> Result<(), Status> {
    let (namespace, account) = place;
    let refuse = |why: &str| match Kind::find("", "v1", "serviceaccounts") {
        Some(kind) => Err(Status::forbidden(kind, account, why)),
        None => Err(Status::no_such_path()),
    };
    let reference = &asked["spec"]["boundObjectRef"];
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    if (text("apiVersion"), text("kind")) != ("v1", "Pod") || text("name").is_empty() {
        return refuse("node requested token not bound to a pod");
    }
    let wanted = text("uid");
    if wanted.is_empty() {
        return refuse("node requested token with a pod binding without a uid");
    }
    let pod = object("pods", (namespace, text("name")), court)?;
    if pod["metadata"]["uid"] != wanted {
        return refuse(&format!(
            "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        ));
    }
    if pod["spec"]["nodeName"] != node {
        return refuse("node requested token bound to a pod scheduled on a different node");
    }
    Ok(())
}

fn check((namespace, name): (&str, &str), asked: &Value) -> Result<(), Status> {
    let metadata = Path::new("metadata");
    let mut found = Vec::new();
    for (field, what, wanted) in [("name", "name", name), ("namespace", "namespace", namespace)] {
        let given = asked["metadata"][field].as_str().unwrap_or_default();
        if !given.is_empty() && given != wanted {
            let why = format!("must match the service account {what} if specified");
            found.push(Mistake::invalid(&metadata.child(field), given, why));
        }
    }
    let seconds = asked["spec"]["expirationSeconds"].as_i64().unwrap_or(USUAL);
    let field = Path::new("spec").child("expirationSeconds");
    if seconds < LEAST {
        found.push(Mistake::invalid(&field, seconds, "may not specify a duration less than 10 minutes"));
    }
    if seconds > MOST {
        found.push(Mistake::invalid(&field, seconds, "may not specify a duration larger than 2^32 seconds"));
    }
    if found.is_empty() { Ok(()) } else { Err(mistake::refuse(&TOKEN_REQUEST, "", &found)) }
}

fn object(plural: &str, (namespace, name): (&str, &str), court: &Court<'_>) -> Result<Value, Status> {
    let missing = || match Kind::find("", "v1", plural) {
        Some(kind) => Status::not_found(kind, name),
        None => Status::no_such_path(),
    };
    (court.facts.object_of)(plural, namespace, name).ok_or_else(missing)
}

/// Finds what a token shall be bound to: an object that is there and, if it is a Pod, runs as the ServiceAccount.
fn bound(
    reference: &Value,
    (namespace, account): (&str, &str),
    court: &Court<'_>,
) -> Result<(&'static str, String, String), Status> {
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let (version, kind, name) = (text("apiVersion"), text("kind"), text("name"));
    let known = [
        ("Pod", "pod", "pods", namespace),
        ("Secret", "secret", "secrets", namespace),
        ("Node", "node", "nodes", ""),
    ];
    let known = known.into_iter().find(|(known, ..)| version == "v1" && *known == kind);
    let Some((_, claim, plural, namespace)) = known else {
        let group = if version.contains('/') { version.to_owned() } else { format!("/{version}") };
        return Err(Status::bad_request(format!("cannot bind token to object of type {group}, Kind={kind}")));
    };
    let object = object(plural, (namespace, name), court)?;
    // No plugin writes the name of the usual account into Pods that name none.
    let named = object["spec"]["serviceAccountName"].as_str().filter(|name| !name.is_empty());
    let runs_as = named.unwrap_or("default");
    if kind == "Pod" && runs_as != account {
        return Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount {} to pod running with serviceaccount {}",
            quoted(account),
            quoted(runs_as),
        )));
    }
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
    let wanted = text("uid");
    if !wanted.is_empty() && wanted != uid {
        let message = format!(
            "Operation cannot be fulfilled on {kind} {}: the UID in the bound object reference ({wanted}) does not match \
             the UID in record. The object might have been deleted and then recreated",
            quoted(name)
        );
        let details = [("name", name), ("kind", kind)].map(|(field, text)| (field.to_owned(), text.into()));
        let details = Some(Map::from_iter(details));
        return Err(Status { code: 409, reason: "Conflict", message, details, continue_at: None });
    }
    Ok((claim, name.to_owned(), uid.to_owned()))
}
