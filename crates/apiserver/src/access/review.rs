//! Questions about who somebody is and what they may do, which clients ask by creating objects that are kept nowhere.

use serde_json::{Value, json};

use super::identity::Identity;
use super::rbac::{Attributes, Policy, Rule};
use super::tokens::{Facts, Tokens};
use crate::body::time::{Instant, Precision};
use crate::kinds::{Kind, Rules, Scope};
use crate::mistake::{self, Mistake, Path};
use crate::status::Status;

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Review {
    /// Who am I?
    SelfSubject,
    /// May I do this?
    SelfSubjectAccess,
    /// What may I do?
    SelfSubjectRules,
    /// May they do this?
    SubjectAccess,
    /// May they do this here?
    LocalSubjectAccess,
    /// Whose token is this?
    Token,
}

/// What answers follow from.
#[derive(Clone, Copy)]
pub struct Court<'a> {
    /// Who may do what.
    pub policy: &'a Policy,
    /// Who has which token.
    pub tokens: &'a Tokens,
    /// What is so.
    pub facts: &'a Facts<'a>,
}

impl Review {
    /// Every question.
    pub const ALL: [Self; 6] = [
        Self::SelfSubject,
        Self::SelfSubjectAccess,
        Self::SelfSubjectRules,
        Self::SubjectAccess,
        Self::LocalSubjectAccess,
        Self::Token,
    ];

    /// Answers which question is asked at a place in the paths.
    pub fn find(group: &str, version: &str, plural: &str) -> Option<Self> {
        let is = |kind: &Kind| (kind.group, kind.version, kind.plural) == (group, version, plural);
        Self::ALL.into_iter().find(|review| is(review.kind()))
    }

    /// Answers what the question is called.
    pub fn kind(self) -> &'static Kind {
        match self {
            Self::SelfSubject => &SELF_SUBJECT,
            Self::SelfSubjectAccess => &SELF_SUBJECT_ACCESS,
            Self::SelfSubjectRules => &SELF_SUBJECT_RULES,
            Self::SubjectAccess => &SUBJECT_ACCESS,
            Self::LocalSubjectAccess => &LOCAL_SUBJECT_ACCESS,
            Self::Token => &TOKEN,
        }
    }

    /// Answers the question that `identity` asks. `asked`: the object of the request, with the namespace of its path.
    pub fn answer(self, identity: &Identity, asked: &Value, court: &Court<'_>) -> Result<Value, Status> {
        let kind = self.kind();
        let mut answer =
            json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": asked["metadata"]});
        if !answer["metadata"].is_object() {
            answer["metadata"] = json!({});
        }
        if asked["spec"].is_object() {
            answer["spec"] = asked["spec"].clone();
        }
        answer["status"] = match self {
            Self::SelfSubject => {
                answer["metadata"] = json!({"creationTimestamp": time(court.facts.now)});
                json!({"userInfo": identity.json()})
            }
            Self::SelfSubjectAccess => {
                let mut found = attributes_mistakes(asked);
                found.extend(metadata_mistake(asked, self));
                refuse(kind, &found)?;
                access(court.policy, identity, &asked["spec"])
            }
            Self::SelfSubjectRules => {
                if asked["spec"]["namespace"].as_str().unwrap_or_default().is_empty() {
                    return Err(Status::bad_request("no namespace on request"));
                }
                rules(&court.policy.rules(identity))
            }
            Self::SubjectAccess | Self::LocalSubjectAccess => {
                refuse(kind, &subject_mistakes(asked, self))?;
                access(court.policy, &subject(&asked["spec"]), &asked["spec"])
            }
            Self::Token => token(&asked["spec"], court)?,
        };
        Ok(answer)
    }
}

fn refuse(kind: &Kind, mistakes: &[Mistake]) -> Result<(), Status> {
    if mistakes.is_empty() { Ok(()) } else { Err(mistake::refuse(kind, "", mistakes)) }
}

fn attributes_mistakes(asked: &Value) -> Vec<Mistake> {
    let (spec, path) = (&asked["spec"], Path::new("spec"));
    match (spec["resourceAttributes"].is_object(), spec["nonResourceAttributes"].is_object()) {
        (true, true) => {
            let why = "cannot be specified in combination with resourceAttributes";
            vec![Mistake::invalid(
                &path.child("nonResourceAttributes"),
                spec["nonResourceAttributes"].clone(),
                why,
            )]
        }
        (false, false) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            vec![Mistake::invalid(&path.child("resourceAttributes"), "null", why)]
        }
        (true, false) | (false, true) => Vec::new(),
    }
}

fn subject_mistakes(asked: &Value, review: Review) -> Vec<Mistake> {
    let (spec, path) = (&asked["spec"], Path::new("spec"));
    let mut found = attributes_mistakes(asked);
    let has_groups = spec["groups"].as_array().is_some_and(|groups| !groups.is_empty());
    if spec["user"].as_str().unwrap_or_default().is_empty() && !has_groups {
        found.push(Mistake::invalid(
            &path.child("user"),
            "",
            "at least one of user or group must be specified",
        ));
    }
    found.extend(metadata_mistake(asked, review));
    if review != Review::LocalSubjectAccess {
        return found;
    }
    let resource = &spec["resourceAttributes"];
    let namespace = resource["namespace"].as_str().unwrap_or_default();
    if resource.is_object() && namespace != asked["metadata"]["namespace"].as_str().unwrap_or_default() {
        let field = path.child("resourceAttributes").child("namespace");
        found.push(Mistake::invalid(&field, namespace, "must match metadata.namespace"));
    }
    if spec["nonResourceAttributes"].is_object() {
        let field = path.child("nonResourceAttributes");
        let value = spec["nonResourceAttributes"].clone();
        found.push(Mistake::invalid(&field, value, "disallowed on this kind of request"));
    }
    found
}

/// A question has no name.
fn metadata_mistake(asked: &Value, review: Review) -> Option<Mistake> {
    let is_local = review == Review::LocalSubjectAccess;
    let may_be = |field: &str| field == "managedFields" || is_local && field == "namespace";
    let is_set = |(field, value): (&String, &Value)| !may_be(field) && !value.is_null();
    let metadata = &asked["metadata"];
    let is_wrong = metadata.as_object().is_some_and(|fields| fields.iter().any(is_set));
    let why = if is_local { "must be empty except for namespace" } else { "must be empty" };
    is_wrong.then(|| Mistake::invalid(&Path::new("metadata"), metadata.clone(), why))
}

/// Whom a question is about. Nobody is in a group that it does not name.
fn subject(spec: &Value) -> Identity {
    let text = |field: &str| spec[field].as_str().unwrap_or_default().to_owned();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let extra = spec["extra"].as_object().into_iter().flatten();
    Identity {
        user: text("user"),
        uid: text("uid"),
        groups: texts(&spec["groups"]),
        extra: extra.map(|(key, values)| (key.to_lowercase(), texts(values))).collect(),
    }
}

fn access(policy: &Policy, identity: &Identity, spec: &Value) -> Value {
    let text = |of: &'static str, field: &str| spec[of][field].as_str().unwrap_or_default();
    let (resource, path) = ("resourceAttributes", "nonResourceAttributes");
    let wanted = if spec[resource].is_object() {
        Attributes {
            verb: text(resource, "verb"),
            group: text(resource, "group"),
            resource: text(resource, "resource"),
            subresource: text(resource, "subresource"),
            namespace: text(resource, "namespace"),
            name: text(resource, "name"),
            path: "",
        }
    } else {
        Attributes { verb: text(path, "verb"), path: text(path, "path"), ..Attributes::default() }
    };
    let decision = policy.authorize(identity, &wanted);
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    status
}

fn rules(rules: &[&Rule]) -> Value {
    let of_resources = rules.iter().filter(|rule| !rule.resources.is_empty());
    let resources: Vec<Value> = of_resources
        .map(|rule| json!({"verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources}))
        .collect();
    let of_paths = rules.iter().filter(|rule| !rule.paths.is_empty());
    let paths: Vec<Value> =
        of_paths.map(|rule| json!({"verbs": rule.verbs, "nonResourceURLs": rule.paths})).collect();
    json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false})
}

fn token(spec: &Value, court: &Court<'_>) -> Result<Value, Status> {
    let token = spec["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences = spec["audiences"].as_array().into_iter().flatten();
    let audiences: Vec<String> = audiences.filter_map(|text| text.as_str().map(str::to_owned)).collect();
    Ok(match court.tokens.review(token, &audiences, court.facts) {
        Ok((identity, audiences)) => {
            json!({"authenticated": true, "user": identity.json(), "audiences": audiences})
        }
        Err(why) => json!({"user": {}, "error": why}),
    })
}

/// A second as metadata has it.
pub(super) fn time(seconds: i64) -> String {
    Instant { seconds, nanos: 0 }.print(Precision::Seconds).unwrap_or_default()
}

const fn kind(kind: &'static str, plural: &'static str, scope: Scope) -> Kind {
    Kind {
        group: "authorization.k8s.io",
        version: "v1",
        kind,
        type_name: "",
        plural,
        singular: "",
        short_names: &[],
        categories: &[],
        scope,
        verbs: &["create"],
        subresources: &[],
        selectable: &[],
        table: "",
        rules: Rules::PLAIN,
    }
}

static SELF_SUBJECT: Kind = Kind {
    group: "authentication.k8s.io",
    type_name: "authentication.v1.SelfSubjectReview",
    singular: "selfsubjectreview",
    ..kind("SelfSubjectReview", "selfsubjectreviews", Scope::Cluster)
};
static SELF_SUBJECT_ACCESS: Kind = Kind {
    type_name: "authorization.v1.SelfSubjectAccessReview",
    singular: "selfsubjectaccessreview",
    ..kind("SelfSubjectAccessReview", "selfsubjectaccessreviews", Scope::Cluster)
};
static SELF_SUBJECT_RULES: Kind = Kind {
    type_name: "authorization.v1.SelfSubjectRulesReview",
    singular: "selfsubjectrulesreview",
    ..kind("SelfSubjectRulesReview", "selfsubjectrulesreviews", Scope::Cluster)
};
static SUBJECT_ACCESS: Kind = Kind {
    type_name: "authorization.v1.SubjectAccessReview",
    singular: "subjectaccessreview",
    ..kind("SubjectAccessReview", "subjectaccessreviews", Scope::Cluster)
};
static LOCAL_SUBJECT_ACCESS: Kind = Kind {
    type_name: "authorization.v1.LocalSubjectAccessReview",
    singular: "localsubjectaccessreview",
    ..kind("LocalSubjectAccessReview", "localsubjectaccessreviews", Scope::Namespaced)
};
static TOKEN: Kind = Kind {
    group: "authentication.k8s.io",
    type_name: "authentication.v1.TokenReview",
    singular: "tokenreview",
    ..kind("TokenReview", "tokenreviews", Scope::Cluster)
};
/// What is sent to `serviceaccounts/NAME/token`. It has no place of its own.
pub(super) static TOKEN_REQUEST: Kind = Kind {
    group: "authentication.k8s.io",
    type_name: "authentication.v1.TokenRequest",
    ..kind("TokenRequest", "serviceaccounts/token", Scope::Namespaced)
};
