//! Leader election through a Lease, as Kubernetes' own controllers do it: of several processes one works.
//!
//! A leader that cannot renew in time stops before others may begin. Clocks are not compared: who waits measures by its
//! own clock how long the lease has not changed.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Client, ClientError};
use crate::events::micro_time;
use crate::timing::chance;

/// How long a leader that is silent is respected.
const DURATION: Duration = Duration::from_secs(15);
/// How long a leader tries to renew before it gives up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the lease is read, and renewed.
const RETRY: Duration = Duration::from_secs(2);

/// Who wants to lead what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The namespace of the Lease, such as `kube-system`.
    pub namespace: String,
    /// Its name, which is that of the work.
    pub name: String,
    /// The name of this process, which no other has.
    pub identity: String,
}

/// Waits until this process leads, then works. Answers what the work answered, or `None` when the lead was lost and the
/// work dropped where it stood. The lease is given back at the end of the work, so that another goes on at once.
pub async fn lead<T>(client: Client, lease: Lease, work: impl Future<Output = T>) -> Option<T> {
    let mut candidate = Candidate { client, lease, seen: None };
    candidate.acquire().await;
    tracing::info!(lease = candidate.lease.name, identity = candidate.lease.identity, "leading");
    let done = tokio::select! {
        done = work => Some(done),
        () = candidate.hold() => None,
    };
    if done.is_none() {
        tracing::warn!(lease = candidate.lease.name, "the lead is lost");
    }
    candidate.release().await;
    done
}

struct Candidate {
    client: Client,
    lease: Lease,
    /// The lease as it was last seen, and when it was first seen so.
    seen: Option<(Value, Instant)>,
}

impl Candidate {
    async fn acquire(&mut self) {
        let mut said = String::new();
        loop {
            match self.attempt().await {
                Ok(Attempt::Leads) => return,
                Ok(Attempt::LedBy(other)) if other == said => {}
                Ok(Attempt::LedBy(other)) => {
                    tracing::info!(lease = self.lease.name, leader = other, "waiting for the lead");
                    said = other;
                }
                Err(error) => tracing::debug!(lease = self.lease.name, %error, "cannot ask for the lead"),
            }
            tokio::time::sleep(RETRY.mul_f64(1.0 + 0.2 * chance())).await;
        }
    }

    /// Renews until that fails for too long, or another leads.
    async fn hold(&mut self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(RETRY).await;
            let left = PATIENCE.saturating_sub(renewed.elapsed());
            match timeout(left, self.attempt()).await {
                Ok(Ok(Attempt::Leads)) => renewed = Instant::now(),
                Ok(Ok(Attempt::LedBy(_))) | Err(_) => return,
                Ok(Err(error)) => {
                    tracing::debug!(lease = self.lease.name, %error, "cannot renew the lead");
                    if renewed.elapsed() + RETRY > PATIENCE {
                        return;
                    }
                }
            }
        }
    }

    async fn attempt(&mut self) -> Result<Attempt, ClientError> {
        let stored = match self.client.get(&self.path()).await {
            Ok(stored) => stored,
            Err(error) if error.is_not_found() => {
                self.client.create(&self.collection(), &self.fresh(SystemTime::now())).await?;
                return Ok(Attempt::Leads);
            }
            Err(error) => return Err(error),
        };
        self.observe(&stored, Instant::now());
        match self.claim(&stored, Instant::now(), SystemTime::now()) {
            Claim::Write(lease) => {
                self.client.update(&self.path(), &lease).await?;
                Ok(Attempt::Leads)
            }
            Claim::Wait(other) => Ok(Attempt::LedBy(other)),
        }
    }

    fn observe(&mut self, stored: &Value, now: Instant) {
        let spec = &stored["spec"];
        if self.seen.as_ref().is_none_or(|(seen, _)| seen != spec) {
            self.seen = Some((spec.clone(), now));
        }
    }

    /// Decides what a lease that is there means.
    fn claim(&self, stored: &Value, now: Instant, wall: SystemTime) -> Claim {
        let spec = &stored["spec"];
        let holder = spec["holderIdentity"].as_str().unwrap_or_default();
        let is_ours = holder == self.lease.identity;
        let duration = spec["leaseDurationSeconds"].as_u64().map_or(DURATION, Duration::from_secs);
        let since = self.seen.as_ref().map_or(now, |(_, since)| *since);
        if !is_ours && !holder.is_empty() && now.duration_since(since) < duration {
            return Claim::Wait(holder.to_owned());
        }
        let mut lease = stored.clone();
        let transitions = spec["leaseTransitions"].as_u64().unwrap_or_default();
        let acquired = if is_ours { spec["acquireTime"].clone() } else { json!(micro_time(wall)) };
        lease["spec"] = json!({
            "holderIdentity": self.lease.identity,
            "leaseDurationSeconds": DURATION.as_secs(),
            "acquireTime": acquired,
            "renewTime": micro_time(wall),
            "leaseTransitions": transitions + u64::from(!is_ours),
        });
        Claim::Write(lease)
    }

    fn fresh(&self, wall: SystemTime) -> Value {
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"namespace": self.lease.namespace, "name": self.lease.name},
            "spec": {
                "holderIdentity": self.lease.identity,
                "leaseDurationSeconds": DURATION.as_secs(),
                "acquireTime": micro_time(wall),
                "renewTime": micro_time(wall),
                "leaseTransitions": 0,
            },
        })
    }

    /// Gives the lease back, if it is ours. Who waits finds out by itself where that fails.
    async fn release(&self) {
        let result = timeout(RETRY, async {
            let mut stored = self.client.get(&self.path()).await?;
            if stored["spec"]["holderIdentity"] == self.lease.identity {
                stored["spec"]["holderIdentity"] = json!("");
                stored["spec"]["leaseDurationSeconds"] = json!(1);
                self.client.update(&self.path(), &stored).await?;
            }
            Ok::<(), ClientError>(())
        });
        if let Ok(Err(error)) = result.await {
            tracing::debug!(lease = self.lease.name, %error, "cannot give back the lead");
        }
    }

    fn collection(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.lease.namespace)
    }

    fn path(&self) -> String {
        format!("{}/{}", self.collection(), self.lease.name)
    }
}

/// How an attempt to get or keep the lead ended.
#[derive(Debug, PartialEq, Eq)]
enum Attempt {
    Leads,
    LedBy(String),
}

/// What a lease that is there allows.
#[derive(Debug, PartialEq)]
enum Claim {
    Write(Value),
    Wait(String),
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::ApiConfig;

    /// What `me` makes of a lease that it has seen unchanged for this many seconds.
    async fn check(spec: &str, seconds: u64, expected: &str) {
        let config = ApiConfig::new(None, Some("http://127.0.0.1:1".into()), "");
        let lease = Lease { namespace: "a".into(), name: "b".into(), identity: "me".into() };
        let client = Client::connect(&config).await.unwrap();
        let mut candidate = Candidate { client, lease, seen: None };
        let stored = json!({"metadata": {"resourceVersion": "7"}, "spec": serde_json::from_str::<Value>(spec).unwrap()});
        let start = Instant::now();
        candidate.observe(&stored, start);
        let now = start + Duration::from_secs(seconds);
        candidate.observe(&stored, now);
        let said = match candidate.claim(&stored, now, UNIX_EPOCH + Duration::from_secs(60)) {
            Claim::Wait(other) => format!("wait for {other}"),
            Claim::Write(lease) => {
                assert_eq!(lease["metadata"]["resourceVersion"], "7");
                let spec = &lease["spec"];
                format!("{} {} {}", spec["holderIdentity"], spec["acquireTime"], spec["leaseTransitions"])
            }
        };
        assert_eq!(said, expected, "{spec} after {seconds} s");
    }

    #[tokio::test]
    async fn a_lease_is_taken_when_it_is_free_ours_or_old() {
        let theirs = r#"{"holderIdentity":"you","leaseDurationSeconds":15,"leaseTransitions":3}"#;
        check(theirs, 14, "wait for you").await;
        check(theirs, 15, r#""me" "1970-01-01T00:01:00.000000Z" 4"#).await;
        check(r#"{"holderIdentity":"you","leaseDurationSeconds":30}"#, 29, "wait for you").await;
        check(r#"{"holderIdentity":"","leaseTransitions":3}"#, 0, r#""me" "1970-01-01T00:01:00.000000Z" 4"#)
            .await;
        let ours = r#"{"holderIdentity":"me","acquireTime":"then","leaseTransitions":3}"#;
        check(ours, 0, r#""me" "then" 3"#).await;
    }
}
