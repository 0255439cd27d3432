//! Follows the configuration file: what can be changed in a process that runs is, for the rest it ends.

use std::path::{Path, PathBuf};
use std::time::Duration;

use agent::{Event, apply_settings};
use anyhow::bail;
use config::{Changed, Configuration, File, Flags, Mistakes, Remark, Settings, changes};
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tracing::{error, info, warn};

/// How often the file is read: kubelet brings a changed ConfigMap to the node within a minute, so this adds little.
const LOOK: Duration = Duration::from_secs(2);

/// What the process was told.
pub(crate) struct Told {
    pub(crate) configuration: Configuration,
    pub(crate) settings: Settings,
    /// What of it means nothing.
    pub(crate) warnings: Vec<Remark>,
}

impl Told {
    /// Reads flags, and the file they name.
    pub(crate) fn read(flags: &Flags, host_name: &str) -> Result<Self, Mistakes> {
        let Some(path) = flags.config() else {
            return Self::of(flags.configuration()?, host_name).map_err(Flags::name);
        };
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Mistakes(vec![Remark { field: path.display().to_string(), reason: error.to_string() }])
        })?;
        Self::of_file(flags, host_name, &path, &text)
    }

    /// Reads flags, and the text of the file they name.
    fn of_file(flags: &Flags, host_name: &str, path: &Path, text: &str) -> Result<Self, Mistakes> {
        let file = File::parse(text).map_err(|mistakes| mistakes.of_file(path))?;
        let mut told = Self::of(flags.beside(file.configuration)?, host_name)?;
        if told.configuration.leaves_mode_open() {
            let reason = "is empty; kube-proxy would choose iptables, signalbox uses nftables";
            told.warnings.push(Remark { field: "mode".to_owned(), reason: reason.to_owned() });
        }
        told.warnings.extend(flags.ignored_beside());
        told.warnings.splice(0..0, file.warnings);
        Ok(told)
    }

    fn of(configuration: Configuration, host_name: &str) -> Result<Self, Mistakes> {
        let (settings, warnings) = Settings::new(&configuration, host_name)?;
        Ok(Self { configuration, settings, warnings })
    }

    /// Says in the log what means nothing.
    pub(crate) fn warn(&self) {
        for Remark { field, reason } in &self.warnings {
            warn!(field, reason, "the configuration has something that means nothing here");
        }
    }
}

/// Follows the file until a change needs a new process; then it says which.
pub(crate) async fn follow_config(
    (flags, host_name): (&Flags, &str),
    in_force: watch::Sender<Configuration>,
    events: Sender<Event>,
) -> anyhow::Result<()> {
    let Some(path) = flags.config() else { return std::future::pending().await };
    // The first look finds nothing new, unless the file changed while the process started.
    let (mut last, mut seen) = (None, None);
    loop {
        tokio::time::sleep(LOOK).await;
        let before = std::mem::replace(&mut seen, text(&path).await);
        let Some(now) = seen.as_deref().filter(|text| !text.trim().is_empty()) else { continue };
        // Twice the same: nobody is in the middle of writing it.
        if before.as_deref() != Some(now) || last.as_deref() == Some(now) {
            continue;
        }
        last = Some(now.to_owned());
        let told = match Told::of_file(flags, host_name, &path, now) {
            Ok(told) => told,
            Err(Mistakes(mistakes)) => {
                for Remark { field, reason } in &mistakes {
                    error!(
                        field,
                        reason, "the changed configuration has a mistake; the one before stays in force"
                    );
                }
                continue;
            }
        };
        let before = in_force.borrow().clone();
        let Changed { live, at_start } = changes(&before, &told.configuration);
        if !at_start.is_empty() {
            bail!("{}: {} changed, which needs a new process", path.display(), at_start.join(", "));
        }
        if live.is_empty() {
            continue;
        }
        info!(fields = live.join(", "), "the configuration changed");
        told.warn();
        if live.iter().any(|field| field == "logging.verbosity") {
            telemetry::set_verbosity(told.settings.log.verbosity);
        }
        apply(&told.settings, &events).await;
        in_force.send_replace(told.configuration);
    }
}

async fn apply(settings: &Settings, events: &Sender<Event>) {
    apply_settings(&settings.kernel);
    // Its receiver is only gone when the process ends.
    let _ = events.send(Event::Settings(Box::new(crate::proxy::agent_settings(settings)))).await;
}

async fn text(path: &PathBuf) -> Option<String> {
    tokio::fs::read_to_string(path).await.ok()
}
