//! The fields that each path into the API resets: whoever writes there does not own them (`GetResetFields` of Kubernetes'
//! strategies).

use crate::kinds::Kind;

/// Answers the fields that a write of an object, or of a part of it, resets. `subresource`: empty for the whole.
pub fn resets(kind: &Kind, subresource: &str) -> &'static [&'static [&'static str]] {
    let has_status = kind.subresources.iter().any(|part| part.name == "status");
    match (subresource, kind.kind) {
        _ if !has_status => &[],
        ("scale", _) => &[],
        ("status", "Pod") => {
            &[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]]
        }
        ("status", "Deployment") => &[&["spec"], &["metadata", "labels"]],
        ("status", _) => &[&["spec"]],
        _ => &[&["status"]],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KINDS;
    use crate::schema::Schema;

    #[test]
    fn what_is_reset_exists() {
        let find = |group: &str, plural: &str| Kind::find(group, "v1", plural).unwrap();
        assert_eq!(resets(find("", "services"), ""), [["status"]]);
        assert_eq!(resets(find("", "services"), "status"), [["spec"]]);
        assert!(
            resets(find("", "configmaps"), "").is_empty()
                && resets(find("apps", "deployments"), "scale").is_empty()
        );
        for kind in KINDS {
            let of = Schema::get().find(kind.type_name).unwrap();
            for part in ["", "status", "finalize"] {
                for path in resets(kind, part) {
                    assert!(Schema::get().field(of, path[0]).is_some(), "{} {path:?}", kind.kind);
                }
            }
        }
    }
}
