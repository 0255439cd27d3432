//! What is counted of the work, for each controller under the name that its work queue has in Kubernetes.

use std::collections::BTreeMap;

use telemetry::{WorkQueue, WorkQueues};

use crate::Controller;

/// The metrics of the controllers' queues.
#[derive(Debug)]
pub(crate) struct Tally {
    queues: BTreeMap<Controller, WorkQueue>,
}

impl Tally {
    pub(crate) fn new(queues: &WorkQueues) -> Self {
        let all = Controller::ALL.iter().map(|(_, controller)| *controller);
        Self { queues: all.map(|controller| (controller, queues.queue(name(controller)))).collect() }
    }

    /// Those of a controller.
    pub(crate) fn of(&self, controller: Controller) -> &WorkQueue {
        self.queues.get(&controller).expect("each controller has a queue")
    }

    /// Takes what waits, one after the other.
    pub(crate) fn set_depths(&self, waiting: impl Iterator<Item = Controller>) {
        let mut depths: BTreeMap<Controller, usize> = BTreeMap::new();
        waiting.for_each(|controller| *depths.entry(controller).or_default() += 1);
        for (controller, queue) in &self.queues {
            queue.set_depth(depths.get(controller).copied().unwrap_or_default());
        }
    }
}

fn name(controller: Controller) -> &'static str {
    match controller {
        Controller::ReplicaSet => "replicaset",
        Controller::Deployment => "deployment",
        Controller::Scheduler => "scheduler",
        Controller::NodeIpam => "node",
        Controller::NodeLifecycle => "node_lifecycle_controller",
        Controller::TaintEviction => "noexec_taint_node",
        Controller::PodGc => "orphaned_pods_nodes",
        Controller::ServiceAccount => "serviceaccount",
        Controller::RootCa => "root_ca_cert_publisher",
    }
}
