//! Who set which fields: what each way into the API hands to `manage`.

use serde_json::Value;

use crate::body::time::Precision;
use crate::rest::{Place, WriteOptions};
use crate::status::Status;
use crate::writing::Writing;

/// The time of a write as objects have it.
pub(crate) fn time(writing: &Writing<'_>) -> String {
    writing.now.print(Precision::Seconds).unwrap_or_default()
}

/// Records what a create, an update or a patch sets.
pub(crate) fn record(
    writing: &Writing<'_>,
    place: &Place,
    options: &WriteOptions,
    (live, new): (Option<&Value>, &mut Value),
) -> Result<(), Status> {
    let _ = (writing, place, options, live, new);
    Ok(())
}

/// Applies a configuration: to an object, or as a new one.
pub(crate) fn apply(
    writing: &mut Writing<'_>,
    place: &Place,
    options: &WriteOptions,
    (live, applied): (Option<&Value>, Value),
) -> Result<super::Written, Status> {
    let _ = (writing, place, options, live, applied);
    Err(Status::internal("not yet"))
}
