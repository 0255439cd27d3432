//! One request: what it is about, what it may, what becomes of it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, USER_AGENT};
use http::{Extensions, HeaderMap, Method, Uri};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{Request, Response};
use serde_json::{Value, json};

use super::Server;
use super::accept::{Form, Shape};
use super::answer::{self, Chunks, Writer};
use super::asked::RequestBody;
use super::documents;
use super::gate;
use super::limits::{Held, TooMany};
use super::route::{Question, Route};
use super::stream::Stream;
use super::table::Include;
use crate::access::review::Court;
use crate::access::{Attributes, Facts, Identity, token_request};
use crate::body::{self, Expected, MediaType};
use crate::chance::Chance;
use crate::connect::Passes;
use crate::kinds::{Does, Kind, Scope};
use crate::patch;
use crate::rest::change::Change;
use crate::rest::delete::Deleted;
use crate::rest::{DeleteOptions, ListOptions, Place, Query, WriteOptions, Writes, Written, parts};
use crate::schema::Schema;
use crate::status::Status;

/// The most bytes of a body.
const MOST_BODY: usize = 3 * 1024 * 1024;
/// How long a client may take for its body.
const BODY_TIME: Duration = Duration::from_secs(60);
/// How long the answer to a client that was refused waits for its body.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// The shortest time after which a watch ends by itself, in seconds; the longest is twice that.
const WATCH_TIME: u64 = 1800;

/// A request while it is answered.
pub(crate) struct Handling<'a> {
    pub(crate) server: &'a Server,
    pub(crate) writer: Writer,
    pub(crate) method: Method,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<RequestBody>,
    pub(crate) identity: Identity,
    /// The address and what else the connection brought with the request.
    pub(crate) uri: Uri,
    pub(crate) extensions: Extensions,
    /// The body, once it was read.
    read: Bytes,
    /// What the client holds of what there is only so much of.
    pub(crate) held: Held,
}

impl<'a> Handling<'a> {
    /// Begins to answer a request; or refuses it for what it accepts.
    pub(crate) fn begin(server: &'a Server, request: Request<RequestBody>) -> (Self, Result<(), Status>) {
        let (head, body) = request.into_parts();
        let query = Query::parse(head.uri.query().unwrap_or_default());
        let text = |name: &HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
        // Discovery and OpenAPI have forms of their own.
        let has_own_forms = ["/api", "/apis", "/openapi/v2"].contains(&head.uri.path().trim_end_matches('/'));
        let accept = text(&ACCEPT).filter(|_| !has_own_forms);
        let form = Form::parse(accept.unwrap_or_default());
        let (mut form, refusal) = match form {
            Ok(form) => (form, Ok(())),
            Err(status) => (Form::JSON, Err(status)),
        };
        // People read what these ask for.
        let agent = text(&USER_AGENT).unwrap_or_default();
        let is_read = ["curl", "Wget", "Mozilla"].iter().any(|name| agent.starts_with(name));
        form.is_pretty = query.flag("pretty").unwrap_or(form.is_pretty || is_read);
        let include = Include::parse(query.get("includeObject").unwrap_or_default());
        let (include, refusal) = match (include, form.shape) {
            (Ok(include), _) => (include, refusal),
            (Err(status), Shape::Table(_)) => (Include::None, refusal.and(Err(status))),
            (Err(_), Shape::Whole | Shape::Metadata) => (Include::None, refusal),
        };
        let now = (server.rest.clock.now)().seconds;
        let writer = Writer { form, include, now };
        let handling = Self {
            server,
            writer,
            method: head.method,
            query,
            headers: head.headers,
            body: Some(body),
            identity: Identity::anonymous(),
            uri: head.uri,
            extensions: head.extensions,
            read: Bytes::new(),
            held: Held::default(),
        };
        (handling, refusal)
    }

    fn header(&self, name: &HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Answers a request for a route, in which the client may do that.
    pub(crate) async fn answer(&mut self, route: Route) -> Result<Response<Chunks>, Status> {
        match route {
            Route::Resource(place) => {
                let deprecation = place.kind.rules.deprecation.map(str::to_owned);
                let mut response = match self.resource(place).await {
                    Ok(response) => response,
                    Err(status) => self.refusal(&status),
                };
                if let Some(warning) = deprecation {
                    answer::warn(&mut response, &[warning]);
                }
                Ok(response)
            }
            Route::Review(review) => {
                if self.method != Method::POST {
                    return Err(Status::method_not_allowed());
                }
                self.review(&review).await
            }
            Route::Nowhere => Err(Status::no_such_path()),
            Route::Health { .. }
            | Route::Version
            | Route::Metrics
            | Route::CoreVersions
            | Route::Groups
            | Route::Group(_)
            | Route::Resources(..)
            | Route::OpenApiV2
            | Route::OpenApiV3(_)
            | Route::Compact
            | Route::Index => documents::answer(self, &route),
        }
    }

    async fn resource(&mut self, place: Place) -> Result<Response<Chunks>, Status> {
        let verb = verb(&self.method, &place, &self.query).ok_or_else(Status::method_not_allowed)?;
        if !place.name.is_empty() {
            let wrong = crate::names::path_segment(&place.name);
            if let Some(why) = wrong.first() {
                let name = body::quoted(&place.name);
                return Err(Status::bad_request(format!("Name parameter invalid: {name}: {why}")));
            }
        }
        if let Some(connect) = place.connects() {
            return super::connect::answer(self, &place, connect).await;
        }
        match verb {
            "get" => self.get(&place),
            "list" => {
                let options = ListOptions::parse(&self.query)?;
                let listed = self.server.rest.list(&place, &options)?;
                Ok(self.writer.list(place.kind, listed))
            }
            "watch" => self.watch(&place),
            "create" => self.create(place).await,
            "update" => self.update(place).await,
            "patch" => self.patch(place).await,
            "delete" => self.delete(place).await,
            _ => self.delete_collection(place).await,
        }
    }

    fn get(&self, place: &Place) -> Result<Response<Chunks>, Status> {
        let options = ListOptions::parse(&self.query)?;
        let text = self.server.rest.get(place, &options)?;
        match parts::shown(place, &text) {
            parts::Shown::Object => Ok(self.writer.object(200, place.kind, &text)),
            parts::Shown::Part(kind, text) => Ok(self.writer.object(200, kind, &text)),
        }
    }

    fn watch(&self, place: &Place) -> Result<Response<Chunks>, Status> {
        if self.writer.form.media_type == MediaType::Yaml {
            return Err(super::accept::not_acceptable());
        }
        let mut options = ListOptions::parse(&self.query)?;
        options.watch = true;
        let watching = self.server.rest.watch(place, &options)?;
        let mut chance = crate::chance::Chance::new((self.server.rest.clock.seed)());
        let timeout = options.timeout.unwrap_or_else(|| WATCH_TIME + chance.below(WATCH_TIME));
        let mut writer = self.writer;
        writer.form.is_pretty = false;
        let stream = Stream {
            kind: place.kind,
            writer,
            bookmarks: options.bookmarks,
            timeout: Duration::from_secs(timeout),
            stopping: self.server.stopping.clone(),
            clock: self.server.rest.clock,
            _counted: self.server.counts.watch(place.kind.plural),
        };
        Ok(stream.start(watching))
    }

    async fn create(&mut self, place: Place) -> Result<Response<Chunks>, Status> {
        let options = WriteOptions::parse(&self.query, Writes::Create, self.header(&USER_AGENT))?;
        if !place.part.is_empty() {
            return self.create_part(place, options).await;
        }
        let (object, warnings) = self.decoded(&place, &options).await?;
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let wanted = to_create(&place, name);
        self.server.access.policy.check_new(&self.identity, &wanted, place.kind)?;
        let mut written = self.server.rest.create(place.clone(), object, options).await?;
        written.warnings.splice(0..0, warnings);
        Ok(self.written(place.kind, &written))
    }

    async fn create_part(&mut self, place: Place, options: WriteOptions) -> Result<Response<Chunks>, Status> {
        let (given, warnings) = self.decoded(&place, &options).await?;
        let mut response = if matches!(place.does(), Some(Does::Token)) {
            self.token(&place, &given)?
        } else {
            let answer = self.server.rest.act(place, given, options).await?;
            self.writer.value(201, &answer)
        };
        answer::warn(&mut response, &warnings);
        Ok(response)
    }

    /// Signs a token for a ServiceAccount.
    fn token(&self, place: &Place, given: &Value) -> Result<Response<Chunks>, Status> {
        let id = Chance::new((self.server.rest.clock.seed)()).uid();
        let account = (place.namespace.as_str(), place.name.as_str());
        let is_node = self.identity.is_in("system:nodes") && !self.identity.is_in("system:masters");
        // Who is in that group under another name has no Pods.
        let name = self.identity.user.strip_prefix("system:node:").unwrap_or_default();
        let node = is_node.then_some(name);
        let answer = self.in_court(|court| {
            node.map_or(Ok(()), |node| token_request::check_node(node, account, given, court))?;
            token_request::answer(account, given, id, court)
        })?;
        let kind = token_request::kind();
        Ok(self.writer.object(201, kind, &body::text(&answer, kind.of_type()).into()))
    }

    /// Answers a question about access.
    async fn review(&mut self, question: &Question) -> Result<Response<Chunks>, Status> {
        let body = self.read_body();
        let (kind, api_version) = (question.kind, question.kind.api_version());
        let expected = Expected { api_version: &api_version, kind: kind.kind, of: kind.of_type() };
        let decoded = body::decode(&body, self.header(&CONTENT_TYPE), &expected, body::Strictness::Ignore);
        let (mut asked, _) = decoded.map_err(|error| refuse_body(&error))?;
        if !question.namespace.is_empty() {
            asked["metadata"]["namespace"] = question.namespace.as_str().into();
        }
        let answer = self.in_court(|court| question.review.answer(&self.identity, &asked, court))?;
        let text = Bytes::from(body::text(&answer, kind.of_type()));
        Ok(self.writer.object(201, kind, &text))
    }

    fn in_court<T>(&self, judge: impl FnOnce(&Court<'_>) -> T) -> T {
        let rest = &self.server.rest;
        let object_of =
            |plural: &str, namespace: &str, name: &str| gate::object_of(rest, plural, namespace, name);
        let facts = Facts { now: self.writer.now, object_of: &object_of };
        let access = &self.server.access;
        judge(&Court { policy: &access.policy, tokens: &access.tokens, facts: &facts })
    }

    async fn update(&mut self, place: Place) -> Result<Response<Chunks>, Status> {
        let options = WriteOptions::parse(&self.query, Writes::Update, self.header(&USER_AGENT))?;
        let (object, warnings) = self.decoded(&place, &options).await?;
        self.change(place, Change::Put(object), (options, warnings)).await
    }

    async fn patch(&mut self, place: Place) -> Result<Response<Chunks>, Status> {
        let content_type = self.header(&CONTENT_TYPE).to_owned();
        let is_apply =
            content_type.split(';').next().unwrap_or_default().trim() == "application/apply-patch+yaml";
        let writes = if is_apply { Writes::Apply } else { Writes::Patch };
        let kind = patch::Kind::of_content_type(&content_type);
        if kind.is_none() && !is_apply {
            return Err(unsupported_patch());
        }
        let options = WriteOptions::parse(&self.query, writes, self.header(&USER_AGENT))?;
        let body = self.read_body();
        let change = match kind {
            Some(kind) => Change::Patch(kind, body),
            None => {
                let wrong = |why: String| Status::bad_request(format!("error decoding YAML: {why}"));
                Change::Apply(body::plain(&body).map_err(wrong)?)
            }
        };
        self.change(place, change, (options, Vec::new())).await
    }

    async fn change(
        &self,
        place: Place,
        change: Change,
        (mut options, warnings): (WriteOptions, Vec<String>),
    ) -> Result<Response<Chunks>, Status> {
        // Whether there is something to change is known only when it is changed.
        let may_create = self.server.access.policy.check(&self.identity, &to_create(&place, &place.name));
        options.create_refusal = may_create.err().map(Box::new);
        let mut written = self.server.rest.change(place.clone(), change, options).await?;
        written.warnings.splice(0..0, warnings);
        if matches!(place.does(), Some(Does::Scale)) {
            return Ok(self.written(&crate::scale::KIND, &written));
        }
        Ok(self.written(place.kind, &written))
    }

    fn written(&self, kind: &'static Kind, written: &Written) -> Response<Chunks> {
        let mut response = self.writer.object(written.code, kind, &written.object);
        answer::warn(&mut response, &written.warnings);
        response
    }

    async fn delete(&mut self, place: Place) -> Result<Response<Chunks>, Status> {
        let options = self.delete_options().await?;
        let kind = place.kind;
        match self.server.rest.delete(place, options).await? {
            Deleted::Object(written) => Ok(self.written(kind, &written)),
            Deleted::Gone(name, uid) => {
                let mut details = json!({"name": name, "kind": kind.plural, "uid": uid});
                let group = kind.stored().group;
                if !group.is_empty() {
                    details["group"] = group.into();
                }
                let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                                    "details": details});
                Ok(self.writer.value(200, &status))
            }
        }
    }

    async fn delete_collection(&mut self, place: Place) -> Result<Response<Chunks>, Status> {
        let options = self.delete_options().await?;
        let list = ListOptions::parse(&self.query)?;
        let listed = self.server.rest.delete_collection(&place, &list, &options).await?;
        Ok(self.writer.list(place.kind, listed))
    }

    async fn delete_options(&mut self) -> Result<DeleteOptions, Status> {
        let body = self.read_body();
        if body.is_empty() {
            return DeleteOptions::parse(&self.query, None);
        }
        let of = Schema::get().find("meta.v1.DeleteOptions").expect("a test looks it up");
        let expected = Expected { api_version: "meta.k8s.io/v1", kind: "DeleteOptions", of };
        let content_type = self.header(&CONTENT_TYPE);
        let decoded = body::decode(&body, content_type, &expected, body::Strictness::Ignore);
        let (given, _) = decoded.map_err(|error| match error.code() {
            415 => Status::unsupported_media_type(),
            _ => Status::bad_request(error.reason()),
        })?;
        DeleteOptions::parse(&self.query, Some(&given))
    }

    /// Reads the body as an object of the kind; in canonical form.
    async fn decoded(
        &mut self,
        place: &Place,
        options: &WriteOptions,
    ) -> Result<(Value, Vec<String>), Status> {
        let body = self.read_body();
        let content_type = self.header(&CONTENT_TYPE);
        let (group_version, kind, of) = parts::expected(place);
        let expected = Expected { api_version: &group_version, kind, of };
        let decoded = body::decode(&body, content_type, &expected, options.strictness);
        let (object, warnings) = decoded.map_err(|error| refuse_body(&error))?;
        Ok((object, warnings.into_iter().map(|warning| warning.0).collect()))
    }

    /// Answers the body, which was read before the client had its turn.
    fn read_body(&mut self) -> Bytes {
        std::mem::take(&mut self.read)
    }

    /// Reads the body of a request that has one. One that is too large, or that does not come, is refused.
    pub(crate) async fn read_ahead(&mut self) -> Result<(), Status> {
        if !matches!(self.method, Method::POST | Method::PUT | Method::PATCH | Method::DELETE) {
            return Ok(());
        }
        let Some(body) = self.body.take() else { return Ok(()) };
        let read = tokio::time::timeout(BODY_TIME, self.collect(Limited::new(body, MOST_BODY))).await;
        self.read = read.map_err(|_| Status::timed_out("the body of the request did not come in time"))??;
        Ok(())
    }

    async fn collect(&mut self, mut body: Limited<RequestBody>) -> Result<Bytes, Status> {
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    Status::too_large(MOST_BODY)
                } else {
                    Status::bad_request(format!("failed to read the body: {error}"))
                }
            })?;
            let Ok(bytes) = frame.into_data() else { continue };
            let room = self.server.throttle.body(&self.identity, bytes.len(), &mut self.held);
            room.map_err(|TooMany(what)| {
                self.server.counts.turned_away(what);
                Status::too_many_requests()
            })?;
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }

    /// Reads what the client still sends, and keeps nothing of it: its next request on this connection is understood, and
    /// its answer is not lost by a connection that is closed while it sends.
    pub(crate) async fn drain(&mut self) {
        let Some(mut body) = self.body.take() else { return };
        let reading = async {
            let mut left = MOST_BODY;
            while let (Some(Ok(frame)), 1..) = (body.frame().await, left) {
                left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            }
        };
        drop(tokio::time::timeout(DRAIN_TIME, reading).await);
    }

    /// Answers with a refusal, for people or for programs as asked.
    pub(crate) fn refusal(&self, status: &Status) -> Response<Chunks> {
        let form = Form { shape: Shape::Whole, ..self.writer.form };
        Writer { form, ..self.writer }.refusal(status)
    }
}

/// Answers what a request does to a place, in the words of authorization. `None`: nothing that can be done.
pub(crate) fn verb(method: &Method, place: &Place, query: &Query) -> Option<&'static str> {
    let is_collection = place.name.is_empty();
    let verb = match method.as_str() {
        "GET" if place.is_old_watch => "watch",
        "GET" if is_collection && query.flag("watch").unwrap_or(false) => "watch",
        "GET" if is_collection => "list",
        "GET" => "get",
        "HEAD" if passes_requests(place) => "get",
        // What a client may ask of somebody else is no verb of ours.
        "OPTIONS" if passes_requests(place) => return Some("options"),
        "POST" if is_collection != place.part.is_empty() => return None,
        "POST" => "create",
        "PUT" if !is_collection => "update",
        "PATCH" if !is_collection => "patch",
        "DELETE" if is_collection => "deletecollection",
        "DELETE" => "delete",
        _ => return None,
    };
    // Over all namespaces one can only look.
    let needs_namespace = place.kind.scope == Scope::Namespaced && place.namespace.is_empty();
    if place.is_old_watch && verb != "watch" || needs_namespace && !matches!(verb, "list" | "watch") {
        return None;
    }
    let verbs = if place.part.is_empty() { place.kind.verbs } else { place.subresource()?.verbs };
    verbs.contains(&verb).then_some(verb)
}

fn passes_requests(place: &Place) -> bool {
    place.connects().is_some_and(|connect| connect.passes == Passes::Requests)
}

/// What it takes to create an object at a place.
fn to_create<'a>(place: &'a Place, name: &'a str) -> Attributes<'a> {
    Attributes {
        verb: "create",
        group: place.kind.group,
        resource: place.kind.plural,
        namespace: if place.kind.plural == "namespaces" { name } else { &place.namespace },
        name,
        ..Attributes::default()
    }
}

fn refuse_body(error: &body::BodyError) -> Status {
    match error.code() {
        415 => Status::unsupported_media_type(),
        _ => Status::bad_request(error.to_string()),
    }
}

fn unsupported_patch() -> Status {
    Status::new(415, "UnsupportedMediaType", "415: Unsupported Media Type").about(json!({}))
}
