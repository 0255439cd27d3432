//! The file itself: read at the start, and again when it changes.

use std::path::Path;
use std::time::Duration;

use telemetry::Counter;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Mistakes, Remark, Settings};

/// Variables of the environment, for `{$NAME}` in a Corefile.
pub type Environment = fn(&str) -> Option<String>;

/// How often a file is looked at when the one before said nothing of `reload`, but the caller wants it followed.
const USUAL: Duration = Duration::from_secs(30);

/// Reads a file.
pub fn read(path: &Path, environment: Environment) -> Result<Settings, Mistakes> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| Mistakes(vec![Remark::new("", error.to_string())]))?;
    Settings::parse(&text, &environment)
}

/// Looks at the file as often as it wants, and tells of other settings in it. What is wrong with it is logged once, and
/// the settings stay what they were. Ends when nobody listens any more, or when the file no longer says `reload`.
pub async fn follow(
    path: &Path,
    environment: Environment,
    settings: watch::Sender<Settings>,
    mistakes_made: Counter,
) {
    let mut last_mistake = None;
    loop {
        let Some(interval) = settings.borrow().reload else { return };
        let interval = if interval.is_zero() { USUAL } else { interval };
        tokio::select! {
            () = settings.closed() => return,
            () = tokio::time::sleep(interval) => {}
        }
        match read(path, environment) {
            Ok(found) => {
                last_mistake = None;
                let is_other = settings.send_if_modified(|current| {
                    let is_other = *current != found;
                    *current = found;
                    is_other
                });
                if is_other {
                    info!(file = %path.display(), "the DNS configuration has changed");
                }
            }
            Err(mistakes) if last_mistake.as_ref() == Some(&mistakes) => {}
            Err(mistakes) => {
                mistakes_made.inc();
                warn!(file = %path.display(), %mistakes, "the changed DNS configuration is wrong; the one before stays");
                last_mistake = Some(mistakes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_is_taken_over_and_a_mistake_is_not() {
        let path = std::env::temp_dir().join(format!("signalbox-corefile-{}", std::process::id()));
        let write = |text: &str| std::fs::write(&path, text).expect("the temporary directory can be written");
        write(".:53 {\n reload 10s\n}");
        let environment: Environment = |_| None;
        let (sender, mut told) = watch::channel(read(&path, environment).expect("it is right"));
        let file = path.clone();
        let counter = Counter::new("mistakes", "Mistakes.").expect("a name");
        let count = counter.clone();
        let following = tokio::spawn(async move { follow(&file, environment, sender, count).await });
        let second = Duration::from_secs(1);

        write(".:53 {\n reload 10s\n nonsense\n}");
        tokio::time::sleep(second * 35).await;
        assert!(!told.has_changed().expect("it is still followed"));
        assert_eq!(counter.get(), 1.0);

        write(".:54 {\n reload 20s\n}");
        tokio::time::sleep(second * 11).await;
        assert!(told.has_changed().expect("it is still followed"));
        assert_eq!(told.borrow_and_update().servers[0].port, 54);

        write(".:55 {\n}");
        tokio::time::sleep(second * 21).await;
        assert_eq!(told.borrow_and_update().servers[0].port, 55);
        following.await.expect("it ends without a panic");
        std::fs::remove_file(&path).expect("it was written");
    }
}
