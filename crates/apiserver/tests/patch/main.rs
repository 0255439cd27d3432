//! Patches: a table, the answers recorded from a real API server, and patches by chance.

mod by_chance;
mod recorded;

use apiserver::patch::{Kind, PatchError, apply, unknown_fields};
use apiserver::schema::Schema;
use serde_json::{Value, json};

fn check(case: &Value) {
    let name = case["name"].as_str().expect("a case has a name");
    let kind = match case["kind"].as_str() {
        Some("json") => Kind::Json,
        Some("merge") => Kind::Merge,
        Some("strategic") => Kind::Strategic,
        other => panic!("{name}: {other:?} is no kind"),
    };
    let of = Schema::get().find(case["of"].as_str().expect("of")).unwrap_or_else(|| panic!("{name}: of"));
    let body = case
        .get("raw")
        .map_or_else(|| case["patch"].to_string(), |raw| raw.as_str().expect("a raw body is a text").into());
    let answered = match apply(kind, body.as_bytes(), &case["object"], of) {
        Ok(patched) => json!({"patched": patched}),
        Err(error) => json!({"error": format!("{} {error}", error.code())}),
    };
    let member = if case.get("error").is_some() { "error" } else { "patched" };
    assert_eq!(answered, json!({ member: case[member] }), "{name}: {body}");
}

/// Reads a list of cases. `y` and `n` are texts.
fn read_cases(text: &str) -> Vec<Value> {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_table() {
    let cases = read_cases(include_str!("cases.yaml"));
    assert!(cases.len() > 80, "{}", cases.len());
    cases.iter().for_each(check);
}

#[test]
fn content_types() {
    let check = |text, kind| assert_eq!(Kind::of_content_type(text), kind, "{text}");
    check("application/json-patch+json", Some(Kind::Json));
    check("application/merge-patch+json; charset=utf-8", Some(Kind::Merge));
    check("application/strategic-merge-patch+json", Some(Kind::Strategic));
    check("application/apply-patch+yaml", None);
    check("application/json", None);
    check("", None);
}

#[test]
fn too_many_operations_or_copies_are_refused() {
    let of = Schema::get().find("core.v1.ConfigMap").unwrap();
    let patch = |operations: Vec<Value>| {
        apply(Kind::Json, Value::from(operations).to_string().as_bytes(), &json!({"a": ["xx"]}), of)
    };
    let test = json!({"op": "test", "path": "/b", "value": null});
    assert!(patch(vec![test.clone(); 10_000]).is_ok());
    let error = patch(vec![test; 10_001]).unwrap_err();
    assert_eq!((error.code(), error.reason()), (413, Some("RequestEntityTooLarge")));
    assert_eq!(
        error.to_string(),
        "Request entity is too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
    );
    let copy = json!({"op": "copy", "from": "/a", "path": "/a/-"});
    assert!(matches!(patch(vec![copy; 40]), Err(PatchError::Inapplicable(_))));
}

/// Operations can wrap what is there again and again; objects thousands of levels deep would exhaust the stack.
#[test]
fn wrapping_has_an_end() {
    let of = Schema::get().find("core.v1.ConfigMap").unwrap();
    let wrap = [
        json!({"op": "add", "path": "/b", "value": {}}),
        json!({"op": "move", "from": "/a", "path": "/b/a"}),
        json!({"op": "move", "from": "/b", "path": "/a"}),
    ];
    let wrapped = |times: usize| {
        let patch = Value::from(wrap.iter().cycle().take(3 * times).cloned().collect::<Vec<_>>()).to_string();
        apply(Kind::Json, patch.as_bytes(), &json!({"a": 1}), of)
    };
    let deep = wrapped(125).unwrap();
    assert!(serde_json::from_str::<Value>(&deep.to_string()).is_ok());
    assert!(matches!(wrapped(3000), Err(PatchError::Inapplicable(_))));
}

#[test]
fn fields_that_no_operation_has() {
    let patch = br#"[{"op":"add","path":"/a","zzz":1},{"OP":"x"}]"#;
    assert_eq!(unknown_fields(Kind::Json, patch), ["[0].zzz", "[1].OP"]);
    assert!(unknown_fields(Kind::Strategic, br#"{"zzz":1}"#).is_empty());
}

#[test]
fn what_cannot_be_decoded_is_quoted() {
    let why = || "strict decoding error: unknown field \"nope\"".to_owned();
    let of_json = PatchError::invalid(Kind::Json, b"[]", &json!({"nope": 1}), why());
    assert_eq!(
        of_json.to_string(),
        r#" "" is invalid: patch: Invalid value: "{\"nope\":1}": strict decoding error: unknown field "nope""#
    );
    let strategic = PatchError::invalid(Kind::Strategic, br#"{"nope":[1,"x"]}"#, &json!({}), why());
    assert_eq!(
        strategic.to_string(),
        r#" "" is invalid: patch: Invalid value: "map[nope:[1 x]]": strict decoding error: unknown field "nope""#
    );
}
