//! Requests and their answers.

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use telemetry::TEXT_FORMAT;
use tokio::sync::mpsc;

use super::body::{Body, log, refused, switched, whole};
use super::channels::Form;
use super::command::Command;
use super::forward::Forward;
use super::logs;
use super::pods::{check_runs, log_run};
use super::refusal::Refusal;
use super::route::{Place, Query, Route};
use super::upgrade::{Speech, negotiate};
use super::who::{Who, check};
use super::{Node, Work};
use crate::hands::now;

const TEXT: &str = "text/plain; charset=utf-8";
/// For commands, in a WebSocket.
const CHANNELS: [&str; 5] = [
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
];
/// For commands, in streams of SPDY.
const STREAMS: [&str; 4] = ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
/// SPDY in the messages of a WebSocket.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// For ports, in a WebSocket.
const PORTS: [&str; 4] = [TUNNEL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "portforward.k8s.io"];
/// The most ports that are connected in channels; a channel's number is a byte, in base64 a digit.
const MOST_PORTS: usize = 5;

impl Node {
    /// Answers a request. What the connection does after that, if it is no more HTTP, is told to `works`.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        who: Option<&Who>,
        works: &mpsc::Sender<Work>,
    ) -> Response<Body> {
        let route = Route::read(request.uri().path());
        self.count(request.method(), route.as_ref());
        let Some(route) = route else { return refused(Refusal::not_found("404 page not found")) };
        if route != Route::Health
            && let Err(refusal) = check(who)
        {
            return refused(refusal);
        }
        let is_upgrade = matches!(route, Route::Exec(..) | Route::Attach(..) | Route::Forward(_));
        if *request.method() != Method::GET && !(is_upgrade && *request.method() == Method::POST) {
            let code = http::StatusCode::METHOD_NOT_ALLOWED;
            return refused(Refusal::new(code, "405: Method Not Allowed"));
        }
        let query = Query::read(request.uri().query().unwrap_or_default());
        let answered = match route {
            Route::Health => Ok(whole(TEXT, "ok")),
            Route::Metrics => Ok(whole(TEXT_FORMAT, self.metrics.text())),
            Route::Pods => Ok(self.list().await),
            Route::Logs(place, container) => self.logs(&place, &container, &query).await,
            Route::Exec(place, container) => {
                let words = query.all("command");
                self.command(request, (&place, container, Some(words)), (&query, works)).await
            }
            Route::Attach(place, container) => {
                self.command(request, (&place, container, None), (&query, works)).await
            }
            Route::Forward(place) => self.forward(request, &place, (&query, works)).await,
        };
        answered.unwrap_or_else(refused)
    }

    fn count(&self, method: &Method, route: Option<&Route>) {
        let path = route.map_or("other", Route::word);
        let lasts = matches!(path, "exec" | "attach" | "portForward" | "containerLogs");
        // Methods are the client's own words.
        let method = if matches!(method.as_str(), "GET" | "POST") { method.as_str() } else { "other" };
        self.requests.with_label_values(&[if lasts { "true" } else { "false" }, method, path]).inc();
    }

    async fn list(&self) -> Response<Body> {
        let list =
            json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self.pods.all().await});
        whole("application/json", list.to_string())
    }

    async fn logs(&self, place: &Place, container: &str, query: &Query) -> Result<Response<Body>, Refusal> {
        let mut options = logs::options(query, now())?;
        let none = || Refusal::not_found(format!("pod {:?} does not exist", place.name));
        let pod = self.pods.find(place).await.ok_or_else(none)?;
        options.previous = log_run(&pod, container, options.previous)?;
        let pieces = self.runtime.logs(uid(&pod), container, options).await.map_err(|error| {
            let name = &place.name;
            Refusal::bad_request(format!("the log of container {container:?} in pod {name:?}: {error}"))
        })?;
        Ok(log(pieces))
    }

    async fn command(
        &self,
        request: Request<Incoming>,
        (place, container, words): (&Place, String, Option<Vec<String>>),
        (query, works): (&Query, &mpsc::Sender<Work>),
    ) -> Result<Response<Body>, Refusal> {
        let wants = query.wants();
        if !(wants.stdin || wants.stdout || wants.stderr) {
            return Err(Refusal::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
        }
        let pod = self.pods.find(place).await.ok_or_else(|| Refusal::not_found("pod does not exist"))?;
        check_runs(&pod, &container)?;
        let (speech, headers) = negotiate(request.headers(), &CHANNELS, &STREAMS)?;
        let (runtime, uid) = (self.runtime.clone(), uid(&pod).to_owned());
        let command = Command { runtime, uid, container, wants, words };
        let upgraded = hyper::upgrade::on(request);
        let work: Work = match speech {
            Speech::WebSocket(protocol) => {
                let form = form(protocol);
                Box::pin(after(upgraded, move |io| command.over_websocket(io, form, version(protocol))))
            }
            Speech::Spdy(protocol) => {
                Box::pin(after(upgraded, move |io| command.over_spdy(io, version(protocol))))
            }
        };
        // There is one for each connection, and one place for it.
        drop(works.try_send(work));
        Ok(switched(headers))
    }

    async fn forward(
        &self,
        request: Request<Incoming>,
        place: &Place,
        (query, works): (&Query, &mpsc::Sender<Work>),
    ) -> Result<Response<Body>, Refusal> {
        let pod = self.pods.find(place).await.ok_or_else(|| Refusal::not_found("pod does not exist"))?;
        let (speech, headers) = negotiate(request.headers(), &PORTS, &["portforward.k8s.io"])?;
        let (runtime, uid) = (self.runtime.clone(), uid(&pod).to_owned());
        let forward = Forward { runtime, uid, pod: format!("{}_{}", place.name, place.namespace) };
        let is_channels = matches!(speech, Speech::WebSocket(protocol) if protocol != TUNNEL);
        let ports = if is_channels { ports(query)? } else { Vec::new() };
        let upgraded = hyper::upgrade::on(request);
        let work: Work = match speech {
            Speech::WebSocket(TUNNEL) => Box::pin(after(upgraded, move |io| forward.over_tunnel(io))),
            Speech::WebSocket(protocol) => {
                let form = form(protocol);
                Box::pin(after(upgraded, move |io| forward.over_channels(io, (form, ports))))
            }
            Speech::Spdy(_) => Box::pin(after(upgraded, move |io| forward.over_spdy(io))),
        };
        drop(works.try_send(work));
        Ok(switched(headers))
    }
}

fn uid(pod: &Value) -> &str {
    pod["metadata"]["uid"].as_str().unwrap_or_default()
}

/// Does something with a connection once it is no more HTTP.
async fn after<Done: Future<Output = ()>>(
    upgraded: OnUpgrade,
    act: impl FnOnce(TokioIo<hyper::upgrade::Upgraded>) -> Done,
) {
    // A client that leaves at this moment wants nothing.
    if let Ok(upgraded) = upgraded.await {
        act(TokioIo::new(upgraded)).await;
    }
}

/// The version of a protocol: the first has no number.
fn version(protocol: &str) -> u32 {
    let number = protocol.strip_prefix('v').and_then(|rest| rest.split_once('.')).map(|(number, _)| number);
    number.and_then(|number| number.parse().ok()).unwrap_or(1)
}

fn form(protocol: &str) -> Form {
    if protocol.contains("base64.") { Form::Base64 } else { Form::Binary }
}

/// The ports that are connected in channels, which a query has to name.
fn ports(query: &Query) -> Result<Vec<u16>, Refusal> {
    let bad = |why: &str| Refusal::bad_request(format!("query parameter \"port\" {why}"));
    let texts = query.all("port");
    let texts: Vec<&str> = texts.iter().flat_map(|text| text.split(',')).collect();
    if texts.is_empty() || texts.len() > MOST_PORTS {
        return Err(bad(if texts.is_empty() { "is required" } else { "has too many ports" }));
    }
    let port = |text: &&str| text.trim().parse().ok().filter(|port| *port > 0);
    texts.iter().map(|text| port(text).ok_or_else(|| bad(&format!("has no port {text:?}")))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_and_ports() {
        let all = CHANNELS.map(|protocol| (version(protocol), form(protocol)));
        let (binary, base64) = (Form::Binary, Form::Base64);
        assert_eq!(all, [(5, binary), (4, binary), (4, base64), (1, binary), (1, base64)]);
        assert_eq!((version(""), form("")), (1, Form::Binary));
        for (query, expected) in [
            ("port=80&port=8080,443", Ok(vec![80, 8080, 443])),
            ("", Err("query parameter \"port\" is required")),
            ("port=0", Err("query parameter \"port\" has no port \"0\"")),
            ("port=1,2,3,4,5,6", Err("query parameter \"port\" has too many ports")),
        ] {
            assert_eq!(ports(&Query::read(query)), expected.map_err(Refusal::bad_request), "{query}");
        }
    }
}
