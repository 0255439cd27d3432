//! The resources that the test API server knows, and where an object lives.

use std::fmt;

use serde_json::Value;

/// A resource of the test API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// `v1` namespaces.
    Namespaces,
    /// `v1` nodes.
    Nodes,
    /// `v1` services.
    Services,
    /// `discovery.k8s.io/v1` endpointslices.
    EndpointSlices,
    /// `networking.k8s.io/v1` servicecidrs.
    ServiceCidrs,
    /// `events.k8s.io/v1` events.
    Events,
}

impl Resource {
    /// Every resource.
    pub const ALL: [Self; 6] = [
        Self::Namespaces,
        Self::Nodes,
        Self::Services,
        Self::EndpointSlices,
        Self::ServiceCidrs,
        Self::Events,
    ];

    /// Answers the kind of its objects, such as `Service`.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Namespaces => "Namespace",
            Self::Nodes => "Node",
            Self::Services => "Service",
            Self::EndpointSlices => "EndpointSlice",
            Self::ServiceCidrs => "ServiceCIDR",
            Self::Events => "Event",
        }
    }

    /// Answers its name in paths, such as `services`.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Nodes => "nodes",
            Self::Services => "services",
            Self::EndpointSlices => "endpointslices",
            Self::ServiceCidrs => "servicecidrs",
            Self::Events => "events",
        }
    }

    /// Answers its `apiVersion`, such as `discovery.k8s.io/v1`.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Namespaces | Self::Nodes | Self::Services => "v1",
            Self::EndpointSlices => "discovery.k8s.io/v1",
            Self::ServiceCidrs => "networking.k8s.io/v1",
            Self::Events => "events.k8s.io/v1",
        }
    }

    /// Answers the API group, empty for the core group.
    pub fn group(self) -> &'static str {
        self.api_version().split_once('/').map_or("", |(group, _)| group)
    }

    /// Answers whether its objects live in namespaces.
    pub fn is_namespaced(self) -> bool {
        match self {
            Self::Services | Self::EndpointSlices | Self::Events => true,
            Self::Namespaces | Self::Nodes | Self::ServiceCidrs => false,
        }
    }

    /// Answers whether its objects have a `status` subresource.
    pub fn has_status(self) -> bool {
        match self {
            Self::EndpointSlices | Self::Events => false,
            Self::Services | Self::Namespaces | Self::Nodes | Self::ServiceCidrs => true,
        }
    }

    /// Answers the path of the whole collection, such as `/api/v1/services`.
    pub fn path(self) -> String {
        let root = if self.group().is_empty() { "/api" } else { "/apis" };
        format!("{root}/{}/{}", self.api_version(), self.plural())
    }

    /// Answers the resource of this kind; the plural and lower case are understood, too.
    pub fn named(kind: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|r| r.kind().eq_ignore_ascii_case(kind) || r.plural().eq_ignore_ascii_case(kind))
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.plural())
    }
}

/// Where an object lives; the namespace is empty for resources without namespaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Location {
    pub(super) resource: Resource,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Location {
    pub(super) fn new(resource: Resource, namespace: &str, name: &str) -> Self {
        let namespace = match (resource.is_namespaced(), namespace) {
            (false, _) => "",
            (true, "") => "default",
            (true, namespace) => namespace,
        };
        Self { resource, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Reads kind, namespace and name from an object.
    pub(super) fn of(object: &Value) -> Result<Self, String> {
        let kind = object["kind"].as_str().ok_or("the object has no kind")?;
        let resource = Resource::named(kind).ok_or_else(|| format!("kind {kind} is not served"))?;
        let name =
            object["metadata"]["name"].as_str().ok_or_else(|| format!("the {kind} has no metadata.name"))?;
        Ok(Self::new(resource, object["metadata"]["namespace"].as_str().unwrap_or(""), name))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.resource, self.namespace, self.name)
    }
}
