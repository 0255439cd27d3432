//! A Pod shall leave its node: what `POST pods/NAME/eviction` does. There are no PodDisruptionBudgets that could forbid it.

use serde_json::Value;

use super::read;
use crate::kinds::Acted;
use crate::rest::{DeleteOptions, Query};
use crate::status::Status;
use crate::writing::Writing;

/// Deletes a Pod as an Eviction says.
pub(super) fn act(_: &mut Writing<'_>, pod: &mut Value, eviction: &Value) -> Result<Acted, Status> {
    Ok(Acted::Delete(Box::new(check(pod, eviction)?)))
}

fn check(pod: &Value, eviction: &Value) -> Result<DeleteOptions, Status> {
    if read::text(&eviction["metadata"], "name") != read::text(&pod["metadata"], "name") {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let given = &eviction["deleteOptions"];
    DeleteOptions::parse(&Query::default(), Some(given).filter(|given| given.is_object()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(eviction: &Value) -> Result<DeleteOptions, String> {
        check(&json!({"metadata": {"name": "p"}}), eviction).map_err(|status| status.message)
    }

    #[test]
    fn an_eviction_is_a_delete_with_its_options() {
        let named = json!({"metadata": {"name": "p"}});
        assert_eq!(told(&named), Ok(DeleteOptions::default()));
        let given = json!({"gracePeriodSeconds": 3, "preconditions": {"uid": "u"}, "dryRun": ["All"]});
        let options = told(&json!({"metadata": {"name": "p"}, "deleteOptions": given})).expect("it is right");
        assert_eq!((options.grace, options.uid.as_deref(), options.is_dry_run), (Some(3), Some("u"), true));
        let other = json!({"metadata": {"name": "q"}});
        assert_eq!(told(&other), Err("name in URL does not match name in Eviction object".to_owned()));
    }
}
