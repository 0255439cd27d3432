//! Objects of every type, through every encoding and back.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use super::protobuf::{self, Envelope};
use super::{Expected, MediaType, Strictness, Warning, canonical, decode, go, text, transcode, yaml};
use crate::schema::{Schema, Shape, TypeId};

fn id(name: &str) -> TypeId {
    Schema::get().find(name).unwrap_or_else(|| panic!("{name} is no type"))
}

/// Draws numbers out of the bytes that proptest gives, so that it can make them smaller.
struct Dice {
    bytes: Vec<u8>,
    at: usize,
}

impl Dice {
    fn roll(&mut self, sides: u8) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte % sides
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[usize::from(self.roll(u8::try_from(from.len()).unwrap()))].clone()
    }

    fn value(&mut self, shape: &Shape) -> Value {
        match shape {
            Shape::Text => {
                self.pick(&["", "a", "true", "10.0.0.1", "ž\u{1F40E}", "two\nlines", " x: y"]).into()
            }
            Shape::Bool => (self.roll(2) == 0).into(),
            Shape::Int32 => self.pick(&[0, 1, -1, 80, i32::MAX, i32::MIN]).into(),
            Shape::Int64 => self.pick(&[0, 1, -1, 1 << 40, i64::MAX, i64::MIN]).into(),
            Shape::Double => self.pick(&[0.5, -1.25]).into(),
            Shape::Bytes => self.pick(&["", "eA==", "AAEC/w=="]).into(),
            Shape::Time => {
                self.pick(&["1970-01-01T00:00:00Z", "2026-11-23T14:06:07Z", "1950-01-01T23:59:59Z"]).into()
            }
            Shape::MicroTime => {
                self.pick(&["2026-11-23T14:06:07.000250Z", "1970-01-01T00:00:00.000000Z"]).into()
            }
            Shape::Quantity => self.pick(&["0", "100m", "1Gi", "1500", "-1"]).into(),
            Shape::IntOrString => self.pick(&[json!(0), json!(80), json!("http"), json!(""), json!(-1)]),
            Shape::Fields | Shape::Raw => self.pick(&[
                json!({}),
                json!({"f:spec": {".": {}, "n": [1, null]}}),
                json!({"k:{\"a\":\"<\"}": "\\u\n"}),
            ]),
            Shape::Object(id) => Value::Object(self.object(*id)),
            Shape::List(of) => (0..self.roll(3)).map(|_| self.value(of)).collect(),
            Shape::Map(of) => {
                let keys = ["", "a", "kubernetes.io/x"];
                Value::Object(
                    (0..self.roll(3)).map(|_| (self.pick(&keys).to_owned(), self.value(of))).collect(),
                )
            }
        }
    }

    fn object(&mut self, id: TypeId) -> Map<String, Value> {
        let mut object = Map::new();
        for (name, member) in &go::fields_of(id).flat {
            if member.field.number > 0 && self.roll(3) == 0 {
                object.insert((*name).to_owned(), self.value(&member.field.shape));
            }
        }
        object
    }
}

/// Runs a check on objects of every type, in their canonical form.
fn check_every_type(check: impl Fn(TypeId, &'static str, &Value)) {
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let dice = proptest::collection::vec(any::<u8>(), 0..600);
    for (id, kind) in Schema::get().types() {
        runner
            .run(&dice, |bytes| {
                let mut object = Value::Object(Dice { bytes, at: 0 }.object(id));
                canonical(&mut object, id);
                check(id, kind.name, &object);
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{}: {error}", kind.name));
    }
}

#[test]
fn protobuf_gives_every_object_back() {
    check_every_type(|id, name, object| {
        let bytes = protobuf::encode(object, id);
        assert_eq!(protobuf::decode(&bytes, id).as_ref(), Ok(object), "{name}");
        let mut from_text = Vec::new();
        transcode::put_message(&mut from_text, &text(object, id), id).expect(name);
        assert_eq!(from_text, bytes, "{name}");
        assert_eq!(protobuf::encode(&protobuf::decode(&bytes, id).unwrap(), id), bytes, "{name}");
    });
}

#[test]
fn canonical_objects_stay_as_they_are() {
    check_every_type(|id, name, object| {
        let mut again = object.clone();
        canonical(&mut again, id);
        assert_eq!(again, *object, "{name}");
    });
}

#[test]
fn broken_protobuf_is_an_error_and_no_panic() {
    let types: Vec<TypeId> = Schema::get().types().map(|(id, _)| id).collect();
    let mut runner = TestRunner::new(Config { cases: 2000, failure_persistence: None, ..Config::default() });
    let bytes = proptest::collection::vec(any::<u8>(), 0..200);
    runner
        .run(&(bytes, 0..types.len(), any::<u8>()), |(mut bytes, at, flip)| {
            let _ = protobuf::decode(&bytes, types[at]);
            let _ = Envelope::open(&bytes);
            let mut valid = protobuf::encode(
                &Value::Object(Dice { bytes: bytes.clone(), at: 0 }.object(types[at])),
                types[at],
            );
            if let Some(byte) = bytes.pop().and_then(|place| {
                let length = valid.len().max(1);
                valid.get_mut(usize::from(place) % length)
            }) {
                *byte ^= flip;
            }
            if let Ok(object) = protobuf::decode(&valid, types[at]) {
                let again = protobuf::decode(&protobuf::encode(&object, types[at]), types[at]);
                prop_assert_eq!(again, Ok(object));
            }
            Ok(())
        })
        .unwrap();
}

/// Decodes a body as a kind; answers the object, or code and message, and the warnings behind it.
fn outcome(kind: &str, media_type: &str, body: &[u8], strictness: Strictness) -> String {
    let (prefix, name) = kind.rsplit_once('.').unwrap();
    let api_version = match prefix {
        "core.v1" | "meta.v1" => "v1",
        "discovery.v1" => "discovery.k8s.io/v1",
        "events.v1" => "events.k8s.io/v1",
        other => &other.replace('.', "/"),
    };
    let expected = Expected { api_version, kind: name, of: id(kind) };
    match decode(body, media_type, &expected, strictness) {
        Ok((object, warnings)) => {
            let warnings: String = warnings.iter().map(|Warning(text)| format!(" | {text}")).collect();
            format!("{object}{warnings}")
        }
        Err(error) => format!("{} {error}", error.code()),
    }
}

#[track_caller]
fn check(kind: &str, body: &str, expected: &str) {
    assert_eq!(outcome(kind, "application/json", body.as_bytes(), Strictness::Warn), expected, "{body}");
}

#[track_caller]
fn check_strict(kind: &str, body: &str, expected: &str) {
    assert_eq!(outcome(kind, "application/json", body.as_bytes(), Strictness::Strict), expected, "{body}");
}

#[track_caller]
fn check_yaml(kind: &str, body: &str, strictness: Strictness, expected: &str) {
    assert_eq!(outcome(kind, "application/yaml", body.as_bytes(), strictness), expected, "{body}");
}

const CONFIG_MAP: &str = "core.v1.ConfigMap";
const SERVICE: &str = "core.v1.Service";

#[test]
fn recorded_bodies_without_an_object_are_refused_in_the_same_words() {
    let unrecognized = "400 the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; \
                        json parse error: ";
    let check = |body: &str, expected: &str| check(CONFIG_MAP, body, &format!("{unrecognized}{expected}"));
    check("", "unexpected end of JSON input (<empty>)");
    check(r#"{"a":"#, r#"unexpected end of JSON input ({"a":)"#);
    let no_struct = |found: &str, summary: &str| {
        let fields = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
        format!("json: cannot unmarshal {found} into Go value of type {fields} ({summary})")
    };
    check("[]", &no_struct("array", "5b5d"));
    check("\"x\"", &no_struct("string", "227822"));
    check("{} trailing", "invalid character 't' after top-level value ({} trailing)");
    check(
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}} {"x":1}"#,
        r#"invalid character '{' after top-level value ({"apiVersion":"v1","kind":"Con ...)"#,
    );
    check(
        r#"{"kind":1}"#,
        r#"json: cannot unmarshal number into Go struct field .kind of type string ({"kind":1})"#,
    );
    let yaml = |body: &str, expected: &str| {
        let unrecognized = "400 the object provided is unrecognized (must be of type ConfigMap): ";
        check_yaml(CONFIG_MAP, body, Strictness::Warn, &format!("{unrecognized}{expected}"));
    };
    yaml("a: [b", "yaml: line 1: did not find expected ',' or ']' (613a205b62)");
    let array =
        format!("couldn't get version/kind; json parse error: {}", no_struct("array", "2d20610a2d20620a"));
    yaml("- a\n- b\n", &array);
    super::tests::check(
        CONFIG_MAP,
        r#"{"apiVersion":"a/b/c"}"#,
        r#"400 the object provided is unrecognized (must be of type ConfigMap): unexpected GroupVersion string: a/b/c ({"apiVersion":"a/b/c"})"#,
    );
    let protobuf = outcome(CONFIG_MAP, "application/vnd.kubernetes.protobuf", b"nope", Strictness::Warn);
    assert_eq!(
        protobuf,
        "400 the object provided is unrecognized (must be of type ConfigMap): provided data does not appear to be a \
         protobuf message, expected prefix [107 56 115 0] (6e6f7065)"
    );
}

#[test]
fn recorded_media_types_are_known_or_refused() {
    for known in
        ["", "application/json", "application/json; charset=utf-8", "application/yaml", "application/JSON;"]
    {
        assert!(MediaType::parse(known).is_some(), "{known}");
    }
    for unknown in ["text/plain", "application/xml", "application/json;bad", "application/cbor"] {
        assert_eq!(MediaType::parse(unknown), None, "{unknown}");
    }
    assert_eq!(
        outcome(CONFIG_MAP, "text/plain", b"x", Strictness::Warn),
        "415 the body of the request was in an unknown format - accepted media types include: application/json, \
         application/yaml, application/vnd.kubernetes.protobuf"
    );
}

#[test]
fn recorded_kinds_that_do_not_belong_here_are_refused() {
    let check = |body: &str, expected: &str| check(CONFIG_MAP, body, expected);
    let scheme = "in scheme \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\"";
    check(
        r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}"#,
        "400 Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): \
         unknown conversion",
    );
    check(
        r#"{"apiVersion":"v2","kind":"ConfigMap"}"#,
        &format!(
            "400 ConfigMap in version \"v2\" cannot be handled as a ConfigMap: no kind \"ConfigMap\" is registered for \
             version \"v2\" {scheme}"
        ),
    );
    check(
        r#"{"apiVersion":"apps/v1","kind":"ConfigMap"}"#,
        &format!(
            "400 ConfigMap in version \"v1\" cannot be handled as a ConfigMap: no kind \"ConfigMap\" is registered for \
             version \"apps/v1\" {scheme}"
        ),
    );
    check(
        r#"{"apiVersion":"v1","kind":"Container"}"#,
        &format!(
            "400 Container in version \"v1\" cannot be handled as a ConfigMap: no kind \"Container\" is registered for \
             version \"v1\" {scheme}"
        ),
    );
    super::tests::check(
        "core.v1.Event",
        r#"{"apiVersion":"events.k8s.io/v1","kind":"Event"}"#,
        "400 the API version in the data (events.k8s.io/v1) does not match the expected API version (v1)",
    );
    let expected = Expected { api_version: "v1", kind: "DeleteOptions", of: id("meta.v1.DeleteOptions") };
    let delete = |body: &str| decode(body.as_bytes(), "", &expected, Strictness::Warn);
    assert_eq!(
        delete(r#"{"kind":"ConfigMap","apiVersion":"v1"}"#).unwrap_err().reason(),
        "no kind \"ConfigMap\" is registered for version \"v1\" in scheme \
         \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\""
    );
    assert_eq!(
        delete("{bad").unwrap_err().reason(),
        "couldn't get version/kind; json parse error: invalid character 'b' looking for beginning of object key string"
    );
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
    assert_eq!(delete(r#"{"gracePeriodSeconds":0}"#).unwrap().0, options);
    assert_eq!(
        delete(r#"{"apiVersion":"apps/v1","kind":"DeleteOptions","gracePeriodSeconds":0}"#).unwrap().0,
        options
    );
}

#[test]
fn recorded_unknown_and_doubled_fields_are_warned_about_or_refused() {
    let refused = "400 ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: ";
    check_strict(CONFIG_MAP, r#"{"nope":1,"data":{"k":"v"}}"#, &format!(r#"{refused}unknown field "nope""#));
    check_strict(
        CONFIG_MAP,
        r#"{"metadata":{"name":"a"},"data":{"k":"1"},"data":{"k":"2"}}"#,
        &format!(r#"{refused}duplicate field "data""#),
    );
    check(
        CONFIG_MAP,
        r#"{"data":{"k":"1","k":"2"}}"#,
        r#"{"apiVersion":"v1","data":{"k":"2"},"kind":"ConfigMap","metadata":{}} | duplicate field "data.k""#,
    );
    let with = |text: &str| format!(r#"{{"spec":{{{text}}}}}"#);
    check_strict(
        SERVICE,
        &with(r#""ClusterIP":"10.96.0.59""#),
        r#"400 Service in version "v1" cannot be handled as a Service: strict decoding error: unknown field "spec.ClusterIP""#,
    );
    let empty =
        r#"{"apiVersion":"v1","kind":"Service","metadata":{},"spec":{},"status":{"loadBalancer":{}}}"#;
    check(
        SERVICE,
        &with(r#""topologyKeys":["*"],"ipFamily":"IPv4","topologyKeys":{"x":1,"x":2}"#),
        &format!(r#"{empty} | unknown field "spec.topologyKeys" | unknown field "spec.ipFamily""#),
    );
    check(
        SERVICE,
        &with(r#""ports":[{"port":80},{"port":81,"nope":1,"a\"b":{}}]"#),
        concat!(
            r#"{"apiVersion":"v1","kind":"Service","metadata":{},"spec":{"ports":[{"port":80,"targetPort":0},"#,
            r#"{"port":81,"targetPort":0}]},"status":{"loadBalancer":{}}}"#,
            r#" | unknown field "spec.ports[1].nope" | unknown field "spec.ports[1].a\"b""#
        ),
    );
    let ignored = outcome(SERVICE, "", with(r#""x":1"#).as_bytes(), Strictness::Ignore);
    assert_eq!(ignored, empty);
    let many: String = (0..200).map(|number| format!(r#""x{number}":1,"#)).collect();
    let refused = outcome(SERVICE, "", format!(r#"{{{many}"kind":""}}"#).as_bytes(), Strictness::Strict);
    assert_eq!(refused.matches("unknown field").count(), 100);
}

#[test]
fn recorded_yaml_has_its_own_words() {
    let body = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\ndata: {k: w}\nnope: 1\n";
    check_yaml(
        CONFIG_MAP,
        body,
        Strictness::Strict,
        "400 ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: yaml: unmarshal \
         errors:\n  line 5: key \"data\" already set in map, unknown field \"nope\"",
    );
    let doubled = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v, k: w}\n";
    let object = r#"{"apiVersion":"v1","data":{"k":"w"},"kind":"ConfigMap","metadata":{"name":"a"}}"#;
    check_yaml(
        CONFIG_MAP,
        doubled,
        Strictness::Warn,
        &format!(r#"{object} | line 4: key "k" already set in map"#),
    );
    check_yaml(CONFIG_MAP, doubled, Strictness::Ignore, object);
    check_yaml(
        CONFIG_MAP,
        "data: {k: y}",
        Strictness::Warn,
        "400 ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal bool into Go struct \
         field ConfigMap.data of type string",
    );
    let unknown = "z: 1\nb: 1\nspec: {ports: [{port: 80, x: 1}]}\n";
    let warned = outcome(SERVICE, "application/yaml", unknown.as_bytes(), Strictness::Warn);
    assert!(
        warned.ends_with(r#" | unknown field "b" | unknown field "spec.ports[0].x" | unknown field "z""#),
        "{warned}"
    );
}

#[test]
fn wrong_types_have_the_words_of_go() {
    let spec = |text: &str, expected: &str| {
        let expected = format!(r#"400 Service in version "v1" cannot be handled as a Service: {expected}"#);
        check(SERVICE, &format!(r#"{{"spec":{text}}}"#), &expected);
    };
    let field = "into Go struct field ";
    spec("1", &format!("json: cannot unmarshal number {field}Service.spec of type v1.ServiceSpec"));
    spec(
        r#"{"ports":"x"}"#,
        &format!("json: cannot unmarshal string {field}ServiceSpec.spec.ports of type []v1.ServicePort"),
    );
    spec(
        r#"{"ports":[1]}"#,
        &format!("json: cannot unmarshal number {field}ServiceSpec.spec.ports of type v1.ServicePort"),
    );
    let port = "ServicePort.spec.ports.port of type int32";
    spec(r#"{"ports":[{"port":"80"}]}"#, &format!("json: cannot unmarshal string {field}{port}"));
    spec(r#"{"ports":[{"port":1.5}]}"#, &format!("json: cannot unmarshal number 1.5 {field}{port}"));
    spec(
        r#"{"ports":[{"port":2147483648}]}"#,
        &format!("json: cannot unmarshal number 2147483648 {field}{port}"),
    );
    spec(r#"{"ports":[{"port":1e400}]}"#, &format!("json: cannot unmarshal number 1e400 {field}{port}"));
    spec(
        r#"{"type":1}"#,
        &format!("json: cannot unmarshal number {field}ServiceSpec.spec.type of type v1.ServiceType"),
    );
    spec(
        r#"{"ipFamilies":[1]}"#,
        &format!("json: cannot unmarshal number {field}ServiceSpec.spec.ipFamilies of type v1.IPFamily"),
    );
    spec(
        r#"{"selector":[]}"#,
        &format!("json: cannot unmarshal array {field}ServiceSpec.spec.selector of type map[string]string"),
    );
    spec(
        r#"{"selector":{"a":1}}"#,
        &format!("json: cannot unmarshal number {field}ServiceSpec.spec.selector of type string"),
    );
    // The first one is named.
    spec(
        r#"{"clusterIP":1,"type":2}"#,
        &format!("json: cannot unmarshal number {field}ServiceSpec.spec.clusterIP of type string"),
    );
    spec(
        r#"{"ports":[{"targetPort":true}]}"#,
        &format!("json: cannot unmarshal bool {field}ServicePort.spec.ports.targetPort of type int32"),
    );
    let refused = |kind: &str, body: &str, expected: &str| {
        let name = kind.rsplit('.').next().unwrap();
        check(kind, body, &format!("400 {name} in version \"v1\" cannot be handled as a {name}: {expected}"));
    };
    refused("core.v1.Secret", r#"{"data":{"a":"***"}}"#, "illegal base64 data at input byte 0");
    refused(
        SERVICE,
        r#"{"spec":{"type":1},"metadata":{"creationTimestamp":"now"}}"#,
        r#"parsing time "now" as "2006-01-02T15:04:05Z07:00": cannot parse "now" as "2006""#,
    );
    refused(
        "core.v1.Pod",
        r#"{"spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"much"}}}]}}"#,
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    );
    refused(
        "core.v1.Pod",
        r#"{"spec":{"containers":[{"livenessProbe":{"httpGet":1}}]}}"#,
        "json: cannot unmarshal number into Go struct field Probe.spec.containers.livenessProbe.httpGet of type v1.HTTPGetAction",
    );
    refused(
        "core.v1.Pod",
        r#"{"spec":{"overhead":[]}}"#,
        "json: cannot unmarshal array into Go struct field PodSpec.spec.overhead of type v1.ResourceList",
    );
}

#[test]
fn objects_hold_what_go_prints() {
    let null = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{}}"#;
    check(CONFIG_MAP, "null", null);
    check(CONFIG_MAP, "{}", null);
    check(
        CONFIG_MAP,
        r#"{"metadata":{"name":"","labels":null,"annotations":{}},"data":null,"immutable":null}"#,
        null,
    );
    check(
        CONFIG_MAP,
        r#"{"immutable":false,"data":{"a":null},"binaryData":{"b":"eA=="}}"#,
        r#"{"apiVersion":"v1","binaryData":{"b":"eA=="},"data":{"a":""},"immutable":false,"kind":"ConfigMap","metadata":{}}"#,
    );
    // Objects and maps that are given twice are put together.
    check(
        CONFIG_MAP,
        r#"{"metadata":{"name":"a"},"metadata":{"namespace":"b"},"data":{"a":"1"},"data":{"b":"2"}}"#,
        concat!(
            r#"{"apiVersion":"v1","data":{"a":"1","b":"2"},"kind":"ConfigMap","metadata":{"name":"a","namespace":"b"}}"#,
            r#" | duplicate field "metadata" | duplicate field "data""#
        ),
    );
    check(
        "discovery.v1.EndpointSlice",
        r#"{"addressType":"IPv4","endpoints":[{"conditions":{"ready":true,"serving":null}}]}"#,
        concat!(
            r#"{"addressType":"IPv4","apiVersion":"discovery.k8s.io/v1","#,
            r#""endpoints":[{"addresses":null,"conditions":{"ready":true}}],"kind":"EndpointSlice","metadata":{},"ports":null}"#
        ),
    );
    check(
        "core.v1.Pod",
        concat!(
            r#"{"metadata":{"creationTimestamp":"2026-01-01T01:00:00.7+01:00"},"#,
            r#""spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"1000m","memory":1073741824,"x":0.5}}}],"#,
            r#""overhead":{"cpu":null},"hostNetwork":false,"priority":0},"status":{"conditions":[{"type":"Ready","status":"True"}]}}"#
        ),
        concat!(
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"creationTimestamp":"2026-01-01T00:00:00Z"},"#,
            r#""spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"1","memory":"1073741824","x":"500m"}}}],"#,
            r#""overhead":{"cpu":"0"},"priority":0},"status":{"conditions":[{"lastProbeTime":null,"lastTransitionTime":null,"#,
            r#""status":"True","type":"Ready"}]}}"#
        ),
    );
    check(
        "events.v1.Event",
        r#"{"eventTime":"2026-01-01T00:00:00.000001Z","note":"n"}"#,
        concat!(
            r#"{"apiVersion":"events.k8s.io/v1","deprecatedFirstTimestamp":null,"deprecatedLastTimestamp":null,"#,
            r#""deprecatedSource":{},"eventTime":"2026-01-01T00:00:00.000001Z","kind":"Event","metadata":{},"note":"n","regarding":{}}"#
        ),
    );
}

#[test]
fn bytes_that_are_no_text_become_marks() {
    let found = outcome(CONFIG_MAP, "", b"{\"data\":{\"k\":\"a\xff\"}}", Strictness::Warn);
    assert_eq!(
        found,
        "{\"apiVersion\":\"v1\",\"data\":{\"k\":\"a\u{fffd}\"},\"kind\":\"ConfigMap\",\"metadata\":{}}"
    );
    let refused = outcome(CONFIG_MAP, "application/yaml", b"a: \xff", Strictness::Warn);
    assert_eq!(
        refused,
        "400 the object provided is unrecognized (must be of type ConfigMap): yaml: invalid leading UTF-8 octet (613a20ff)"
    );
}

#[test]
fn every_language_gives_every_object_back() {
    check_every_type(|of, name, object| {
        let mut object = object.clone();
        let is_kind = Schema::get().field(of, "metadata").is_some_and(|metadata| metadata.is_required);
        if !is_kind || name == "meta.v1.Status" {
            return;
        }
        object["apiVersion"] = "x/v1".into();
        object["kind"] = "X".into();
        let expected = Expected { api_version: "x/v1", kind: "X", of };
        let found = |bytes: &[u8], media_type: &str| decode(bytes, media_type, &expected, Strictness::Strict);
        let same = Ok((object.clone(), Vec::new()));
        assert_eq!(found(object.to_string().as_bytes(), "application/json"), same, "{name}");
        let text = yaml::encode(&object);
        assert_eq!(found(text.as_bytes(), "application/yaml"), same, "{name}:\n{text}");
        let sealed = Envelope::seal("x/v1", "X", &protobuf::encode(&object, of));
        assert_eq!(found(&sealed, "application/vnd.kubernetes.protobuf"), same, "{name}");
    });
}

#[test]
fn any_bytes_are_answered_without_a_panic() {
    let mut runner = TestRunner::new(Config { cases: 3000, failure_persistence: None, ..Config::default() });
    let words = proptest::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "\n",
        " ",
        "  ",
        "- ",
        "k8s\0",
        "spec",
        "ports",
        "\"spec\"",
        "\"ports\"",
        "1e9",
        "null",
        "&a ",
        "*a",
        "<<: ",
        "true",
        "\"metadata\":",
        "data",
        "|\n",
        ">",
        "#",
        "!!binary ",
        "? ",
        "---\n",
        "'",
        "\t",
        "\u{1F40E}",
        "-0",
    ]);
    let bodies = proptest::collection::vec(words, 0..40).prop_map(|words| words.concat().into_bytes());
    let bodies = prop_oneof![bodies, proptest::collection::vec(any::<u8>(), 0..60)];
    runner
        .run(&bodies, |body| {
            for media_type in ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"]
            {
                let _ = outcome("core.v1.Pod", media_type, &body, Strictness::Strict);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn our_own_decoder_reads_the_same_from_protobuf_as_from_json() {
    use objects::{Kind, Names, decode_json, decode_protobuf};
    for (type_name, kind) in [
        (SERVICE, Kind::Service),
        ("discovery.v1.EndpointSlice", Kind::EndpointSlice),
        ("core.v1.Node", Kind::Node),
        ("networking.v1.ServiceCIDR", Kind::ServiceCidr),
    ] {
        let of = id(type_name);
        let mut runner =
            TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
        runner
            .run(&proptest::collection::vec(any::<u8>(), 0..600), |bytes| {
                let mut object = Value::Object(Dice { bytes, at: 0 }.object(of));
                object["metadata"] = json!({"name": "a", "namespace": "b", "uid": "u", "labels": {"x": "y"},
                                            "creationTimestamp": "2026-01-01T00:00:00Z"});
                canonical(&mut object, of);
                let mut names = Names::default();
                let json = decode_json(kind, object.to_string().as_bytes(), &mut names);
                let protobuf = decode_protobuf(kind, &protobuf::encode(&object, of), &mut names);
                prop_assert_eq!(format!("{:?}", json), format!("{:?}", protobuf), "{}", object);
                Ok(())
            })
            .unwrap();
    }
}

#[test]
fn known_bytes() {
    let object = json!({"metadata": {"name": "a"}, "data": {"k": "v"}});
    let metadata = b"\x0a\x11\x0a\x01a\x12\0\x1a\0\x22\0\x2a\0\x32\0\x38\0\x42\0";
    let expected = [metadata.as_slice(), b"\x12\x06\x0a\x01k\x12\x01v"].concat();
    assert_eq!(protobuf::encode(&object, id(CONFIG_MAP)), expected);
    let sealed = Envelope::seal("v1", "ConfigMap", &expected);
    let envelope = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x1b";
    assert_eq!(sealed, [envelope.as_slice(), &expected, b"\x1a\0\x22\0"].concat());
    let opened = Envelope::open(&sealed).unwrap();
    assert_eq!(
        (opened.api_version.as_str(), opened.kind.as_str(), opened.raw),
        ("v1", "ConfigMap", &expected[..])
    );
    let event = protobuf::encode_event("ADDED", &sealed);
    assert_eq!(event[..11], *b"\x0a\x05ADDED\x12\x38\x0a\x36");
    assert_eq!(event[11..], sealed);
    let list = json!({"metadata": {"resourceVersion": "7", "remainingItemCount": 2}, "items": [object]});
    let bytes = protobuf::encode_list(&list, id(CONFIG_MAP));
    assert_eq!(bytes[..11], *b"\x0a\x09\x0a\0\x12\x017\x1a\0\x20\x02");
    assert_eq!(protobuf::decode_list(&bytes, id(CONFIG_MAP)), Ok(list));
}

#[test]
fn mistakes_are_worded_as_kubectl_words_them() {
    let rows = include_str!("observed/mistakes.txt").lines().filter(|row| !row.starts_with('#'));
    for (body, expected) in rows.map(|row| row.split_once('\t').unwrap()) {
        check(
            "core.v1.Pod",
            body,
            &format!("400 Pod in version \"v1\" cannot be handled as a Pod: {expected}"),
        );
    }
}

#[test]
fn texts_are_printed_as_kubectl_prints_them() {
    let object: Value = serde_json::from_str(include_str!("observed/texts.json")).unwrap();
    let expected = include_str!("observed/texts.yaml");
    for (found, expected) in yaml::encode(&object).lines().zip(expected.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(yaml::encode(&object), expected);
    let kind = Expected { api_version: "v1", kind: "ConfigMap", of: id(CONFIG_MAP) };
    assert_eq!(
        decode(expected.as_bytes(), "application/yaml", &kind, Strictness::Strict),
        Ok((object, Vec::new()))
    );
}
