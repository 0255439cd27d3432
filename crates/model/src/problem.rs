//! What is wrong with an object, for people.

use std::fmt;

/// One mistake in one field of one object. The rest of the object stays in force.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Problem {
    /// Kind and name, such as `Service shop/web`.
    pub object: String,
    /// Path of the field, such as `spec.ports[1].port`.
    pub field: String,
    /// What is wrong and what happens instead, a fragment without a full stop.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.object, self.field, self.reason)
    }
}
