//! Requests that are passed on: to whom, with which headers, and in which words a client hears that nobody is there.
//!
//! What it does *not* do: move the bytes (`passing` does), or decide where a request leads (`crate::connect` does).

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, LOCATION,
    SEC_WEBSOCKET_PROTOCOL, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response};
use serde_json::Value;

use super::answer::{self, Chunks, respond};
use super::asked::RequestBody;
use super::handle::Handling;
use super::passing::{self, Kept, SendError};
use super::{Line, gate};
use crate::access::{Attributes, Identity, Policy};
use crate::chance::Chance;
use crate::connect::{Asked, Connect, Known, Passes, Target, address_not_allowed, unreachable};
use crate::kinds::Kind;
use crate::rest::options::unescaped;
use crate::rest::{self, Place};
use crate::status::Status;

/// What is said of one connection only (RFC 9110, 7.6.1), and what older programs took for that.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// How a WebSocket's client that cannot set headers says its token.
const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";
/// A page of somebody else must not say who may read it as if it were ours.
const OF_ORIGINS: [&str; 4] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
];

/// Answers a request by passing it on.
pub(crate) async fn answer(
    handling: &mut Handling<'_>,
    place: &Place,
    connect: Connect,
) -> Result<Response<Chunks>, Status> {
    if connect.passes == Passes::Bytes {
        check_create(&handling.server.access.policy, &handling.identity, place)?;
    }
    let path = unescaped(handling.uri.path(), false).into_owned();
    let (before, behind) = split(&path, place);
    let Some(target) = find(handling, place, (connect, behind))? else { return Ok(answer::nothing()) };
    if connect.passes == Passes::Text {
        return text(handling, place, target).await;
    }
    if is_upgrade(&handling.headers) {
        return upgrade(handling, place, target).await;
    }
    if connect.passes == Passes::Bytes {
        return Err(Status::bad_request("Upgrade request required"));
    }
    // A page without the slash would have its links lead elsewhere.
    if target.path.is_empty() && matches!(handling.method, Method::GET | Method::HEAD) {
        return Ok(with_slash(handling));
    }
    request(handling, place, (target, before)).await
}

/// A WebSocket begins with a GET, which is no reading: whoever opens one needs what a POST needs.
fn check_create(policy: &Policy, identity: &Identity, place: &Place) -> Result<(), Status> {
    let wanted = Attributes {
        verb: "create",
        group: place.kind.group,
        resource: place.kind.plural,
        subresource: &place.part,
        namespace: &place.namespace,
        name: &place.name,
        path: "",
    };
    let decision = policy.authorize(identity, &wanted);
    if decision.allowed { Ok(()) } else { Err(Status::forbidden(place.kind, &place.name, &decision.reason)) }
}

/// Splits a path behind the part.
fn split<'a>(path: &'a str, place: &Place) -> (&'a str, &'a str) {
    // api, v1, plural, name, part; and two for the namespace.
    let parts = if place.namespace.is_empty() { 5 } else { 7 };
    let begin = path.len() - path.trim_start_matches('/').len();
    let mut ends = path[begin..].match_indices('/').map(|(at, _)| begin + at);
    let end = ends.nth(parts - 1).unwrap_or(path.len());
    path.split_at(end)
}

fn find(
    handling: &Handling<'_>,
    place: &Place,
    (connect, path): (Connect, &str),
) -> Result<Option<Target>, Status> {
    let rest = &handling.server.rest;
    let object_of =
        |plural: &str, namespace: &str, name: &str| gate::object_of(rest, plural, namespace, name);
    let slices_of = |namespace: &str, service: &str| slices_of(rest, namespace, service);
    let known = Known {
        object_of: &object_of,
        slices_of: &slices_of,
        address_types: handling.server.outward.address_types(),
        chance: Chance::new((rest.clock.seed)()).number(),
    };
    let (namespace, name) = (place.namespace.as_str(), place.name.as_str());
    (connect.find)(&Asked { namespace, name, path, query: &handling.query, known: &known })
}

fn slices_of(rest: &rest::Rest, namespace: &str, service: &str) -> Vec<Value> {
    let kind = Kind::find("discovery.k8s.io", "v1", "endpointslices").expect("they are served");
    let (name, part) = (String::new(), String::new());
    let place = Place { kind, namespace: namespace.to_owned(), name, part, is_old_watch: false };
    let Ok(listed) = rest.list(&place, &rest::ListOptions::default()) else { return Vec::new() };
    // Most are of other Services and need not be read for that.
    let label = format!("\"kubernetes.io/service-name\":{}", Value::from(service));
    let has_label = |text: &&Bytes| std::str::from_utf8(text).is_ok_and(|text| text.contains(&label));
    listed.items.iter().filter(has_label).map(|text| rest::object(text)).collect()
}

/// What a kubelet says, as a text.
async fn text(handling: &Handling<'_>, place: &Place, target: Target) -> Result<Response<Chunks>, Status> {
    let query = target.query.as_deref().filter(|query| !query.is_empty());
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    let url = format!("https://{}{}{query}", target.authority(), target.path);
    let mut headers = HeaderMap::new();
    headers.insert(HOST, host(&target));
    let request = outgoing((Method::GET, headers), &target, (RequestBody::none(), None))?;
    let sent = passing::send(&handling.server.outward, &target, request).await;
    let response = sent.map_err(|error| match error {
        SendError::NotAllowed => address_not_allowed(),
        SendError::Unreachable(why) | SendError::Broken(why) => {
            Status::new(500, "", format!("Get \"{url}\": {why}"))
        }
    })?;
    if !(200..=206).contains(&response.status().as_u16()) {
        return Err(passing::refusal(
            response,
            (&format!("{}/{}", place.kind.plural, place.part), &place.name),
        )
        .await);
    }
    let chunks = passing::body(response.into_body(), kept(handling, place));
    Ok(respond(200, "text/plain", chunks))
}

/// A connection that becomes one of another protocol.
async fn upgrade(
    handling: &mut Handling<'_>,
    place: &Place,
    target: Target,
) -> Result<Response<Chunks>, Status> {
    let client = handling.extensions.remove::<OnUpgrade>();
    let client = client.ok_or_else(|| Status::bad_request("Upgrade request required"))?;
    let mut headers = forwarded(handling);
    for name in [CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    let query = handling.uri.query().map(str::to_owned);
    let request = outgoing((handling.method.clone(), headers), &target, (RequestBody::none(), query))?;
    let sent = passing::send(&handling.server.outward, &target, request).await;
    let mut response = sent.map_err(|error| match error {
        SendError::NotAllowed => address_not_allowed(),
        SendError::Unreachable(why) => Status::new(500, "", format!("error dialing backend: {why}")),
        SendError::Broken(why) => Status::new(500, "", why),
    })?;
    let status = response.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        if status.as_u16() < 400 {
            let why = format!("invalid upgrade response: status code {}", status.as_u16());
            return Err(Status::new(500, "", why));
        }
        let mut headers = response.headers().clone();
        remove_hops(&mut headers);
        let chunks = passing::body(response.into_body(), kept(handling, place));
        return Ok(passed_back(status, headers, chunks));
    }
    let backend = hyper::upgrade::on(&mut response);
    let mut kept = kept(handling, place);
    // The answer is no more than a head: the client holds its place until the connection ends.
    kept.held = Some(std::mem::take(&mut handling.held));
    tokio::spawn(passing::bytes(client, backend, kept));
    Ok(passed_back(status, response.headers().clone(), Chunks::of("")))
}

/// A request as it is, and its answer.
async fn request(
    handling: &mut Handling<'_>,
    place: &Place,
    (target, before): (Target, &str),
) -> Result<Response<Chunks>, Status> {
    let mut headers = forwarded(handling);
    remove_hops(&mut headers);
    headers.remove(EXPECT);
    let before = crate::connect::escaped_path(before);
    if let Ok(value) = HeaderValue::from_str(&format!("{before}{}", target.path)) {
        headers.insert(HeaderName::from_static("x-forwarded-uri"), value);
    }
    let sought = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let body = handling.body.take().unwrap_or_else(RequestBody::none);
    let query = handling.uri.query().map(str::to_owned);
    let request = outgoing((handling.method.clone(), headers), &target, (body, query))?;
    let sent = passing::send(&handling.server.outward, &target, request).await;
    let response = sent.map_err(|error| match error {
        SendError::NotAllowed => address_not_allowed(),
        SendError::Unreachable(why) | SendError::Broken(why) => unreachable(&why),
    })?;
    let (status, mut headers) = (response.status(), response.headers().clone());
    remove_hops(&mut headers);
    for name in OF_ORIGINS {
        headers.remove(name);
    }
    if let Some(location) = headers.get(LOCATION).and_then(|value| value.to_str().ok()) {
        let there = rewritten(location, &before, [&target.authority(), &sought]);
        if let Ok(value) = HeaderValue::from_str(&there) {
            headers.insert(LOCATION, value);
        }
    }
    let chunks = passing::body(response.into_body(), kept(handling, place));
    Ok(passed_back(status, headers, chunks))
}

fn kept(handling: &Handling<'_>, place: &Place) -> Kept {
    Kept {
        counted: handling.server.counts.watch(place.kind.plural),
        line: handling.extensions.get::<Line>().cloned(),
        held: None,
        stopping: handling.server.stopping.clone(),
    }
}

/// Puts a request together. `query`: that of the client, if the target has none of its own.
fn outgoing(
    (method, headers): (Method, HeaderMap),
    target: &Target,
    (body, query): (RequestBody, Option<String>),
) -> Result<Request<RequestBody>, Status> {
    let path = if target.path.is_empty() { "/" } else { &target.path };
    let query = target.query.clone().or(query).filter(|query| !query.is_empty());
    let uri = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri.parse().map_err(|_| Status::bad_request("the path cannot be passed on"))?;
    *request.headers_mut() = headers;
    if !request.headers().contains_key(HOST) {
        request.headers_mut().insert(HOST, host(target));
    }
    Ok(request)
}

fn host(target: &Target) -> HeaderValue {
    HeaderValue::from_str(&target.authority()).unwrap_or_else(|_| HeaderValue::from_static("localhost"))
}

/// The headers of the client, but for what it said to this server only: who it is.
fn forwarded(handling: &Handling<'_>) -> HeaderMap {
    let mut headers = handling.headers.clone();
    headers.remove(AUTHORIZATION);
    let names = headers.keys().filter(|name| name.as_str().starts_with("impersonate-"));
    for name in names.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
    hide_token(&mut headers);
    // HTTP/2 has it in another place.
    if let Some(authority) = handling.uri.authority()
        && let Ok(value) = HeaderValue::from_str(authority.as_str())
    {
        headers.insert(HOST, value);
    }
    if let Some(line) = handling.extensions.get::<Line>() {
        let name = HeaderName::from_static("x-forwarded-for");
        let before = headers.get_all(&name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned);
        let all: Vec<String> = before.chain([line.client.to_canonical().to_string()]).collect();
        if let Ok(value) = HeaderValue::from_str(&all.join(", ")) {
            headers.insert(name, value);
        }
    }
    headers
}

/// A token among the protocols of a WebSocket is for this server only.
fn hide_token(headers: &mut HeaderMap) {
    let said: Vec<String> = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .map(|protocol| protocol.trim().to_owned())
        .collect();
    if !said.iter().any(|protocol| protocol.starts_with(TOKEN_PROTOCOL)) {
        return;
    }
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    let kept: Vec<String> =
        said.into_iter().filter(|protocol| !protocol.starts_with(TOKEN_PROTOCOL)).collect();
    if let Some(value) = HeaderValue::from_str(&kept.join(", ")).ok().filter(|_| !kept.is_empty()) {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, value);
    }
}

/// Removes what was said of one connection only, also what the connection itself names.
fn remove_hops(headers: &mut HeaderMap) {
    let named: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    for name in named.iter().map(String::as_str).chain(HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    let says =
        |value: &HeaderValue| value.to_str().unwrap_or_default().to_ascii_lowercase().contains("upgrade");
    headers.get_all(CONNECTION).iter().any(says) && headers.contains_key(UPGRADE)
}

fn with_slash(handling: &Handling<'_>) -> Response<Chunks> {
    let query = handling.uri.query().map_or_else(String::new, |query| format!("?{query}"));
    let mut response = answer::nothing();
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(value) = HeaderValue::from_str(&format!("{}/{query}", handling.uri.path())) {
        response.headers_mut().insert(LOCATION, value);
    }
    response
}

fn passed_back(status: StatusCode, headers: HeaderMap, chunks: Chunks) -> Response<Chunks> {
    let mut response = Response::new(chunks);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Answers where a redirect leads for a client of the proxy. One to the same server (`hosts`: as we call it, and as the
/// client does) stays behind the proxy.
fn rewritten(location: &str, before: &str, hosts: [&str; 2]) -> String {
    let (scheme, rest) = location.split_once("://").map_or(("", location), |(scheme, rest)| (scheme, rest));
    let is_absolute = !scheme.is_empty() || rest.starts_with("//");
    let rest = if scheme.is_empty() && is_absolute { &rest[2..] } else { rest };
    let (host, path) = match is_absolute {
        true => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
        false => ("", rest),
    };
    if !host.is_empty() && !hosts.contains(&host) || !path.starts_with('/') {
        return location.to_owned();
    }
    let (path, query) = path.split_at(path.find(['?', '#']).unwrap_or(path.len()));
    let path = if path.starts_with(before) {
        path.to_owned()
    } else {
        format!("{before}{}", crate::connect::clean(path))
    };
    // Whom the client knows by that name it finds again.
    if host == hosts[1] && !host.is_empty() && !scheme.is_empty() {
        return format!("{scheme}://{host}{path}{query}");
    }
    format!("{path}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_only_look_opens_nothing() {
        let path = ["namespaces", "default", "pods", "p", "exec"];
        let place = Place::parse("", "v1", &path).expect("a place");
        let who = |group: &str| Identity { groups: vec![group.to_owned()], ..Identity::default() };
        let policy = Policy::default();
        assert_eq!(check_create(&policy, &who("system:masters"), &place), Ok(()));
        let refused = check_create(&policy, &who("signalbox:readonly"), &place).expect_err("it is refused");
        assert_eq!((refused.code, refused.message.as_str()), (403, "pods \"p\" is forbidden: "));
    }

    #[test]
    fn paths_are_split_behind_the_part() {
        let check = |path: &str, wanted: (&str, &str)| {
            let parts: Vec<&str> = path.trim_start_matches("/api/v1/").split('/').collect();
            let place = Place::parse("", "v1", &parts).expect("a place");
            assert_eq!(split(path, &place), wanted, "{path}");
        };
        let (pod, node) = ("/api/v1/namespaces/x/pods/p/proxy", "/api/v1/nodes/n/proxy");
        for place in [pod, node] {
            for behind in ["", "/", "/a", "//a", "/a/b/?"] {
                check(&format!("{place}{behind}"), (place, behind));
            }
        }
    }

    #[test]
    fn tokens_stay_here() {
        let check = |said: &[&str], wanted: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in said {
                headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(value).expect("a value"));
            }
            hide_token(&mut headers);
            let left: Vec<&str> = headers
                .get_all(SEC_WEBSOCKET_PROTOCOL)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .collect();
            assert_eq!(left, wanted, "{said:?}");
        };
        let token = "base64url.bearer.authorization.k8s.io.YQ";
        check(&["a", "b,c"], &["a", "b,c"]);
        check(&["a", token, "b,c"], &["a, b, c"]);
        check(&[&format!("{token},a")], &["a"]);
        check(&[token], &[]);
    }
}
