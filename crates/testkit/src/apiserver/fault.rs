//! Faults that tests inject into the answers of the API server.

use std::time::Duration;

use super::resource::Resource;
use super::status::Refusal;

/// What goes wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No answer ever comes.
    Hang,
    /// The connection is reset before an answer.
    Reset,
    /// The answer is this one instead.
    Answer {
        /// HTTP status code.
        code: u16,
        /// `Content-Type`; empty for none.
        content_type: String,
        /// The body.
        body: Vec<u8>,
    },
    /// This many bytes of the body come, then nothing more while the connection stays open.
    HangAfter(usize),
    /// This many bytes of the body come, then the connection is reset.
    ResetAfter(usize),
    /// This many bytes of the body come, then the body ends as if it were complete.
    EndAfter(usize),
    /// This many bytes of the body come, then these in place of the rest, then the body ends.
    GarbageAfter(usize, Vec<u8>),
    /// The body comes in pieces of at most 512 bytes with this pause before each.
    Slow(Duration),
    /// A watch begins with an ERROR event of 410. Lists are not touched.
    GoneEvent,
}

impl Fault {
    /// An answer with a `Status` object.
    pub fn refusal(refusal: &Refusal) -> Self {
        let body = refusal.to_object().to_string().into_bytes();
        Self::Answer { code: refusal.code, content_type: "application/json".into(), body }
    }

    /// The 410 that asks for a new list.
    pub fn gone() -> Self {
        Self::refusal(&Refusal::expired("list"))
    }

    /// The 500 of a server whose store is ill.
    pub fn internal_error() -> Self {
        Self::refusal(&Refusal::new(500, "InternalError", "etcdserver: request timed out"))
    }

    /// The HTML page of a login portal, as a 200.
    pub fn html() -> Self {
        let body = b"<!DOCTYPE html><html><body>Please log in</body></html>".to_vec();
        Self::Answer { code: 200, content_type: "text/html; charset=utf-8".into(), body }
    }

    /// Bytes that are neither JSON nor protobuf, although the answer says they are.
    pub fn garbage(content_type: &str) -> Self {
        let body = (0..400_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11).to_le_bytes()[0]).collect();
        Self::Answer { code: 200, content_type: content_type.into(), body }
    }
}

/// The kinds of request that a fault can be limited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// A list.
    List,
    /// A watch.
    Watch,
    /// The creation of an object.
    Create,
    /// The patch of an object, or of its status.
    Patch,
    /// Everything else.
    Other,
}

/// A fault with the requests that it hits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultRule {
    fault: Fault,
    resource: Option<Resource>,
    verb: Option<Verb>,
    skip: u32,
    times: u32,
}

impl FaultRule {
    /// Hits every request until it is cleared.
    pub fn new(fault: Fault) -> Self {
        Self { fault, resource: None, verb: None, skip: 0, times: u32::MAX }
    }

    /// Only requests for this resource.
    #[must_use]
    pub fn on(self, resource: Resource) -> Self {
        Self { resource: Some(resource), ..self }
    }

    /// Only requests of this kind.
    #[must_use]
    pub fn verb(self, verb: Verb) -> Self {
        Self { verb: Some(verb), ..self }
    }

    /// Lets this many matching requests pass first.
    #[must_use]
    pub fn skip(self, skip: u32) -> Self {
        Self { skip, ..self }
    }

    /// Only this many matching requests.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// Answers whether the rule hits a request, and counts it.
    fn hits(&mut self, resource: Option<Resource>, verb: Verb) -> bool {
        let matches = self.resource.is_none_or(|wanted| Some(wanted) == resource)
            && self.verb.is_none_or(|wanted| wanted == verb);
        if !matches || self.times == 0 {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if self.times != u32::MAX {
            self.times -= 1;
        }
        true
    }
}

/// Takes the fault of the first rule that hits.
pub(super) fn pick(rules: &mut Vec<FaultRule>, resource: Option<Resource>, verb: Verb) -> Option<Fault> {
    let hit = rules.iter_mut().position(|rule| rule.hits(resource, verb))?;
    let fault = rules[hit].fault.clone();
    rules.retain(|rule| rule.times > 0);
    Some(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_count_and_expire() {
        let services = Some(Resource::Services);
        let mut rules =
            vec![FaultRule::new(Fault::Hang).on(Resource::Services).verb(Verb::List).skip(1).times(2)];
        assert_eq!(pick(&mut rules, services, Verb::Watch), None);
        assert_eq!(pick(&mut rules, None, Verb::List), None);
        assert_eq!(pick(&mut rules, services, Verb::List), None);
        assert_eq!(pick(&mut rules, services, Verb::List), Some(Fault::Hang));
        assert_eq!(pick(&mut rules, services, Verb::List), Some(Fault::Hang));
        assert_eq!(pick(&mut rules, services, Verb::List), None);
        assert!(rules.is_empty());
    }
}
