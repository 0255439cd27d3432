//! Tells the API server a pod's status, and that the pod may go: the newest words only, until they are heard.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch as newest};
use tracing::warn;
use watch::client::{Client, PatchType};

use crate::hands::Happened;
use crate::machine::Input;
use crate::pod::Pod;

const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// What is to be told.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Words {
    /// The status.
    pub status: Value,
    /// Whether the object may go.
    pub delete: bool,
    /// How often the server was seen to say something else.
    pub doubts: u32,
}

/// The way of one pod to the API server. Ends when it is dropped.
pub(crate) struct Telling {
    words: newest::Sender<Words>,
}

impl Telling {
    /// Begins.
    pub(crate) fn start(client: Client, pod: &Pod, tell: mpsc::Sender<Happened>) -> Self {
        let (words, heard) = newest::channel(Words::default());
        let teller = Teller { client, path: pod.path(), uid: pod.uid.clone(), tell };
        tokio::spawn(teller.run(heard));
        Self { words }
    }

    /// Says what is to be told; the same again is not, unless the server says something else, as of a Pod of a node that could
    /// not be heard for a while.
    pub(crate) fn say(&self, words: Words, is_doubted: bool) {
        self.words.send_if_modified(|known| {
            let doubts = known.doubts.wrapping_add(u32::from(is_doubted));
            let words = Words { delete: words.delete || known.delete, doubts, ..words };
            let is_new = *known != words;
            *known = words;
            is_new
        });
    }
}

struct Teller {
    client: Client,
    path: String,
    uid: String,
    tell: mpsc::Sender<Happened>,
}

impl Teller {
    async fn run(self, mut heard: newest::Receiver<Words>) {
        let mut told = Value::Null;
        let mut doubts = 0;
        let mut retry = FIRST_RETRY;
        while heard.changed().await.is_ok() {
            loop {
                let words = heard.borrow_and_update().clone();
                if std::mem::replace(&mut doubts, words.doubts) != words.doubts {
                    told = Value::Null;
                }
                match self.try_tell(&words, &mut told).await {
                    Ok(()) => break,
                    Err(error) => {
                        warn!(pod = self.path, error, ?retry, "a pod's status cannot be told");
                        tokio::time::sleep(retry).await;
                        retry = (retry * 2).min(LAST_RETRY);
                    }
                }
            }
            retry = FIRST_RETRY;
        }
    }

    async fn try_tell(&self, words: &Words, told: &mut Value) -> Result<(), String> {
        if words.status != *told {
            let patch = json!({"metadata": {"uid": self.uid}, "status": words.status});
            match self.client.patch(&format!("{}/status", self.path), PatchType::Strategic, &patch).await {
                Ok(_) => *told = words.status.clone(),
                // Another pod of this name has another uid.
                Err(error) if error.is_not_found() || error.is_conflict() => return self.check_gone().await,
                Err(error) if error.is_retriable() => return Err(error.to_string()),
                Err(error) => warn!(pod = self.path, %error, "a pod's status was refused"),
            }
        }
        if words.delete {
            let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0,
                "preconditions": {"uid": self.uid}});
            match self.client.delete(&self.path, &options).await {
                Ok(_) => {}
                Err(error) if error.is_not_found() || error.is_conflict() => return self.check_gone().await,
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// Sees whether the pod is gone, rather than changed at the same moment by somebody else.
    async fn check_gone(&self) -> Result<(), String> {
        match self.client.get(&self.path).await {
            Ok(object) if object["metadata"]["uid"] == self.uid.as_str() => {
                Err("it was changed meanwhile".to_owned())
            }
            Err(error) if !error.is_not_found() => Err(error.to_string()),
            Ok(_) | Err(_) => {
                drop(self.tell.send((self.uid.clone(), Input::Gone)).await);
                Ok(())
            }
        }
    }
}
