//! The parts of a Pod that have paths of their own.

use super::{binding, eviction};
use crate::connect;
use crate::kinds::{Does, PROXY_VERBS, STATUS, Subresource, UPGRADE_VERBS};

/// All of them, sorted.
pub(super) const PARTS: &[Subresource] = &[
    Subresource {
        name: "attach",
        kind: Some(("", "v1", "PodAttachOptions")),
        verbs: UPGRADE_VERBS,
        does: Does::Connect(connect::ATTACH),
    },
    Subresource {
        name: "binding",
        kind: Some(("", "v1", "Binding")),
        verbs: &["create"],
        does: Does::Act(binding::act),
    },
    Subresource {
        name: "eviction",
        kind: Some(("policy", "v1", "Eviction")),
        verbs: &["create"],
        does: Does::Act(eviction::act),
    },
    Subresource {
        name: "exec",
        kind: Some(("", "v1", "PodExecOptions")),
        verbs: UPGRADE_VERBS,
        does: Does::Connect(connect::EXEC),
    },
    Subresource { name: "log", kind: None, verbs: &["get"], does: Does::Connect(connect::LOG) },
    Subresource {
        name: "portforward",
        kind: Some(("", "v1", "PodPortForwardOptions")),
        verbs: UPGRADE_VERBS,
        does: Does::Connect(connect::PORT_FORWARD),
    },
    Subresource {
        name: "proxy",
        kind: Some(("", "v1", "PodProxyOptions")),
        verbs: PROXY_VERBS,
        does: Does::Connect(connect::POD_PROXY),
    },
    STATUS,
];
