//! A Pod shall leave its node: what `POST pods/NAME/eviction` does. There are no PodDisruptionBudgets that could forbid it.

use serde_json::Value;

use super::read;
use crate::kinds::Acted;
use crate::rest::{DeleteOptions, Query};
use crate::status::Status;
use crate::writing::Writing;

/// Deletes a Pod as an Eviction says.
pub(super) fn act(_: &mut Writing<'_>, pod: &mut Value, eviction: &Value) -> Result<Acted, Status> {
    if read::text(&eviction["metadata"], "name") != read::text(&pod["metadata"], "name") {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let given = &eviction["deleteOptions"];
    let options = DeleteOptions::parse(&Query::default(), Some(given).filter(|given| given.is_object()))?;
    Ok(Acted::Delete(Box::new(options)))
}
