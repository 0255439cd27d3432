//! What must be there before anybody is served: the namespaces that every cluster has, the ranges of addresses, and the
//! Service by which the server is found. What a crash or an older version left wrong is put right.

use serde_json::json;

use crate::allocate::{self, Cluster};
use crate::kinds::Kind;
use crate::rest::{Place, Rest, WriteOptions, create};
use crate::status::Status;

/// The namespaces that are always there.
pub const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Creates what is missing, and repairs what is taken but not used. Answers what was wrong.
pub async fn prepare(rest: &Rest, cluster: Cluster) -> Result<Vec<String>, Status> {
    rest.write(false, move |writing| {
        let kind = Kind::find("", "v1", "namespaces").expect("namespaces are served");
        for name in NAMESPACES {
            if writing.has(kind.table, name) {
                continue;
            }
            let place = Place {
                kind,
                namespace: String::new(),
                name: name.to_owned(),
                part: String::new(),
                is_old_watch: false,
            };
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            create::create(writing, &place, object, &WriteOptions::by("apiserver"))?;
        }
        let mut wrong = allocate::set_up(writing, &cluster);
        wrong.extend(allocate::repair(writing));
        Ok(wrong)
    })
    .await
}
