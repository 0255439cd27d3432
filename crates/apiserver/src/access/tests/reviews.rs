//! Questions and their answers.

use serde_json::{Value, json};

use super::*;
use crate::access::review::Court;
use crate::access::{Facts, Identity, Policy, Review, StaticTokens, Tokens, token_request};
use crate::schema::Schema;
use crate::status::Status;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

fn object_of(plural: &str, namespace: &str, name: &str) -> Option<Value> {
    match (plural, namespace, name) {
        ("serviceaccounts", "n", "s") => Some(json!({"metadata": {"uid": "u-1"}})),
        ("pods", "n", "p") => Some(json!({"metadata": {"uid": "u-2"}, "spec": {"serviceAccountName": "s"}})),
        ("pods", "n", "q") => {
            Some(json!({"metadata": {"uid": "u-3"}, "spec": {"serviceAccountName": "default"}}))
        }
        ("serviceaccounts", "n", "default") => Some(json!({"metadata": {"uid": "u-4"}})),
        ("pods", "n", "unnamed") => Some(json!({"metadata": {"uid": "u-5"}, "spec": {"nodeName": "a"}})),
        _ => None,
    }
}

fn in_court<T>(act: impl FnOnce(&Court<'_>) -> T) -> T {
    let folder = Folder::new();
    let fixed = StaticTokens::read("secret,bob,7,ops").unwrap();
    let tokens = Tokens { fixed, key: open(&folder).token_key(), issuer: ISSUER.into() };
    let facts = Facts { now: NOW, object_of: &object_of };
    act(&Court { policy: &Policy::default(), tokens: &tokens, facts: &facts })
}

fn who(user: &str, groups: &[&str]) -> Identity {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    Identity { user: user.into(), groups, ..Identity::default() }.authenticated()
}

fn ask(review: Review, identity: &Identity, asked: Value) -> Result<Value, Status> {
    in_court(|court| review.answer(identity, &asked, court))
}

#[test]
fn every_question_has_a_place_and_a_type() {
    for review in Review::ALL {
        let kind = review.kind();
        assert_eq!(Review::find(kind.group, kind.version, kind.plural), Some(review));
        assert!(Schema::get().find(kind.type_name).is_some(), "{}", kind.type_name);
    }
    assert!(Schema::get().find(token_request::kind().type_name).is_some());
}

#[test]
fn who_may_what() {
    let (root, bob) = (who("admin", &["system:masters"]), who("bob", &[]));
    let list =
        json!({"resourceAttributes": {"verb": "create", "resource": "services", "namespace": "default"}});
    let path = json!({"nonResourceAttributes": {"verb": "get", "path": "/api/v1"}});
    let about = |mut spec: Value, user: &str, groups: &[&str]| {
        spec["user"] = user.into();
        spec["groups"] = json!(groups);
        spec
    };
    let discovery = "RBAC: allowed by ClusterRoleBinding \"system:discovery\" of ClusterRole \"system:discovery\" to Group \
                     \"system:authenticated\"";
    for (review, identity, spec, status) in [
        (Review::SelfSubjectAccess, &root, list.clone(), json!({"allowed": true})),
        (Review::SelfSubjectAccess, &bob, list.clone(), json!({"allowed": false})),
        (Review::SelfSubjectAccess, &bob, path.clone(), json!({"allowed": true, "reason": discovery})),
        (
            Review::SubjectAccess,
            &root,
            about(list.clone(), "x", &["system:masters"]),
            json!({"allowed": true}),
        ),
        (Review::SubjectAccess, &root, about(path, "x", &[]), json!({"allowed": false})),
    ] {
        let answer = ask(review, identity, json!({"metadata": {}, "spec": spec.clone()})).unwrap();
        let kind = review.kind();
        assert_eq!(
            answer,
            json!({"kind": kind.kind, "apiVersion": "authorization.k8s.io/v1", "metadata": {}, "spec": spec, "status": status})
        );
    }
    let local = json!({"metadata": {"namespace": "default"}, "spec": about(list, "system:kube-proxy", &[])});
    let answer = ask(Review::LocalSubjectAccess, &root, local).unwrap();
    assert_eq!(answer["status"], json!({"allowed": false}));
}

#[test]
fn questions_that_make_no_sense() {
    let both =
        json!({"resourceAttributes": {"verb": "get"}, "nonResourceAttributes": {"path": "/"}, "user": "a"});
    let of_b = json!({"resourceAttributes": {"namespace": "b"}, "user": "a"});
    for (review, asked, code, message) in [
        (
            Review::SelfSubjectAccess,
            json!({}),
            422,
            "SelfSubjectAccessReview.authorization.k8s.io \"\" is invalid: spec.resourceAttributes: Invalid value: \"null\": \
          exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ),
        (
            Review::SubjectAccess,
            json!({"spec": both}),
            422,
            "SubjectAccessReview.authorization.k8s.io \"\" is invalid: spec.nonResourceAttributes: Invalid value: \
          {\"path\":\"/\"}: cannot be specified in combination with resourceAttributes",
        ),
        (
            Review::SubjectAccess,
            json!({"spec": {"resourceAttributes": {}}}),
            422,
            "SubjectAccessReview.authorization.k8s.io \"\" is invalid: spec.user: Invalid value: \"\": at least one of user or \
          group must be specified",
        ),
        (
            Review::SelfSubjectAccess,
            json!({"metadata": {"name": "a"}, "spec": {"resourceAttributes": {}}}),
            422,
            "SelfSubjectAccessReview.authorization.k8s.io \"\" is invalid: metadata: Invalid value: {\"name\":\"a\"}: must be empty",
        ),
        (
            Review::LocalSubjectAccess,
            json!({"metadata": {"namespace": "a"}, "spec": of_b}),
            422,
            "LocalSubjectAccessReview.authorization.k8s.io \"\" is invalid: spec.resourceAttributes.namespace: Invalid value: \
          \"b\": must match metadata.namespace",
        ),
        (Review::SelfSubjectRules, json!({"spec": {}}), 400, "no namespace on request"),
        (Review::Token, json!({"spec": {}}), 400, "token is required for TokenReview in authentication"),
    ] {
        let status = ask(review, &who("a", &[]), asked).unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (code, message));
    }
}

#[test]
fn who_somebody_is_and_what_there_is_for_them() {
    let answer = ask(Review::SelfSubject, &who("admin", &["system:masters"]), json!({})).unwrap();
    assert_eq!(
        answer,
        json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1",
               "metadata": {"creationTimestamp": "2027-01-15T08:00:00Z"},
               "status": {"userInfo": {"username": "admin", "groups": ["system:masters", "system:authenticated"]}}})
    );
    let asked = json!({"spec": {"namespace": "default"}});
    let answer = ask(Review::SelfSubjectRules, &who("bob", &[]), asked.clone()).unwrap();
    assert_eq!(
        answer["status"]["resourceRules"][0],
        json!({"verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
               "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]})
    );
    assert_eq!(answer["status"]["incomplete"], false);
    let answer = ask(Review::SelfSubjectRules, &who("admin", &["system:masters"]), asked).unwrap();
    assert_eq!(
        answer["status"]["resourceRules"][0],
        json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
    );
}

#[test]
fn whose_token_it_is() {
    for (spec, status) in [
        (
            json!({"token": "secret"}),
            json!({"authenticated": true, "audiences": [ISSUER],
                "user": {"username": "bob", "uid": "7", "groups": ["ops", "system:authenticated"]}}),
        ),
        (json!({"token": "nope"}), json!({"user": {}, "error": "invalid bearer token"})),
        (
            json!({"token": "secret", "audiences": ["x"]}),
            json!({"user": {}, "error": "token audiences are invalid for this server"}),
        ),
    ] {
        assert_eq!(ask(Review::Token, &who("a", &[]), json!({"spec": spec})).unwrap()["status"], status);
    }
}

/// As recorded (subresources/token), and what the token is good for.
#[test]
fn a_token_can_be_had() {
    in_court(|court| {
        let asked = json!({"spec": {"audiences": ["x"], "expirationSeconds": 600}});
        let answer = token_request::answer(("n", "s"), &asked, "j-1".into(), court).unwrap();
        assert_eq!(
            answer["spec"],
            json!({"audiences": ["x"], "expirationSeconds": 600, "boundObjectRef": null})
        );
        assert_eq!(answer["status"]["expirationTimestamp"], "2027-01-15T08:10:00Z");
        let token = answer["status"]["token"].as_str().unwrap();
        assert!(court.tokens.review(token, &[], court.facts).is_err());
        let (identity, audiences) =
            court.tokens.review(token, &["y".into(), "x".into()], court.facts).unwrap();
        assert_eq!(
            (identity.user.as_str(), &audiences[..]),
            ("system:serviceaccount:n:s", &["x".to_owned()][..])
        );

        let asked = json!({"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}}});
        let answer = token_request::answer(("n", "s"), &asked, "j-2".into(), court).unwrap();
        assert_eq!(
            (&answer["spec"]["audiences"], &answer["spec"]["expirationSeconds"]),
            (&json!([ISSUER]), &json!(3600))
        );
        let (identity, _) =
            court.tokens.review(answer["status"]["token"].as_str().unwrap(), &[], court.facts).unwrap();
        assert_eq!(identity.extra["authentication.kubernetes.io/pod-uid"], ["u-2"]);
    });
}

#[test]
fn tokens_that_cannot_be_had() {
    let to = |kind: &str, version: &str, name: &str, uid: &str| json!({"spec": {"boundObjectRef": {"kind": kind, "apiVersion": version, "name": name, "uid": uid}}});
    for (account, asked, code, message) in [
        (
            "s",
            json!({"spec": {"expirationSeconds": 10}}),
            422,
            "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 10: may not specify a \
          duration less than 10 minutes",
        ),
        (
            "s",
            json!({"spec": {"expirationSeconds": i64::MAX}}),
            422,
            "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 9223372036854775807: may \
          not specify a duration larger than 2^32 seconds",
        ),
        (
            "s",
            json!({"metadata": {"name": "t"}}),
            422,
            "TokenRequest.authentication.k8s.io \"\" is invalid: metadata.name: Invalid value: \"t\": must match the service \
          account name if specified",
        ),
        ("t", json!({}), 404, "serviceaccounts \"t\" not found"),
        ("s", to("Pod", "v1", "r", ""), 404, "pods \"r\" not found"),
        (
            "s",
            to("Pod", "v1", "q", ""),
            400,
            "cannot bind token for serviceaccount \"s\" to pod running with serviceaccount \"default\"",
        ),
        (
            "s",
            to("Deployment", "apps/v1", "q", ""),
            400,
            "cannot bind token to object of type apps/v1, Kind=Deployment",
        ),
        (
            "s",
            to("Pod", "v1", "p", "u-9"),
            409,
            "Operation cannot be fulfilled on Pod \"p\": the UID in the bound object reference (u-9) does not match the UID in \
          record. The object might have been deleted and then recreated",
        ),
    ] {
        let status =
            in_court(|court| token_request::answer(("n", account), &asked, "j".into(), court)).unwrap_err();
        assert_eq!((status.code, status.message.as_str()), (code, message));
    }
}

#[test]
fn a_node_gets_tokens_for_its_own_pods() {
    let to = |name: &str, uid: &str| json!({"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": name, "uid": uid}}});
    // A Pod that names no account runs as the usual one.
    for (node, asked, expected) in [
        ("a", to("unnamed", "u-5"), ""),
        ("b", to("unnamed", "u-5"), "node requested token bound to a pod scheduled on a different node"),
        ("a", to("unnamed", ""), "node requested token with a pod binding without a uid"),
        (
            "a",
            to("unnamed", "u-6"),
            "the UID in the bound object reference (u-6) does not match the UID in record. The object might have been deleted \
          and then recreated",
        ),
        ("a", json!({}), "node requested token not bound to a pod"),
    ] {
        let place = ("n", "default");
        let found = in_court(|court| {
            token_request::check_node(node, place, &asked, court)?;
            token_request::answer(place, &asked, "j".into(), court)
        });
        let found = found.map_or_else(|status| status.message, |_| String::new());
        let expected = match expected {
            "" => String::new(),
            why => format!("serviceaccounts \"default\" is forbidden: {why}"),
        };
        assert_eq!(found, expected, "{node} {asked}");
    }
}
