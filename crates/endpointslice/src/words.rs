//! Labels, annotations and names that other programs know.

/// On a slice: its Service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// On a slice: who manages it.
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The manager of slices that come of selectors.
pub(crate) const SELECTOR: &str = "endpointslice-controller.k8s.io";
/// The manager of slices that come of Endpoints.
pub(crate) const MIRROR: &str = "endpointslicemirroring-controller.k8s.io";
/// On slices and Endpoints of Services without an address.
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";
/// On Endpoints: who manages them.
pub(crate) const ENDPOINTS_MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
/// The manager of Endpoints that come of selectors.
pub(crate) const ENDPOINTS_CONTROLLER: &str = "endpoint-controller";
/// On Endpoints that are not to be mirrored.
pub(crate) const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
/// On Endpoints that are a lock.
pub(crate) const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// When what caused the last write happened.
pub(crate) const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// On Endpoints that had more than a thousand addresses.
pub(crate) const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// What `kubectl apply` remembers.
pub(crate) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// On Services: whether there are hints in proportion to processors.
pub(crate) const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
/// Its older name, which wins.
pub(crate) const OLD_TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-aware-hints";
/// On nodes: the zone.
pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";
/// On nodes of the control plane.
pub(crate) const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
/// Its older name.
pub(crate) const MASTER: &str = "node-role.kubernetes.io/master";
