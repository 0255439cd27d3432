//! `proxy` of Pods, Services and nodes.
