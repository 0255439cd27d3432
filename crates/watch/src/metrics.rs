//! How the watches are doing, as metrics.

use telemetry::Metrics;

use crate::progress::Progress;

/// Shows the progress of every kind, read anew for each scrape.
pub fn watch_progress(metrics: &Metrics, progress: &Progress) {
    let kind = &["kind"];
    let synced =
        metrics.gauge("signalbox_watch_synced", "Whether a complete list of the kind was seen.", kind);
    let heard = metrics.gauge(
        "signalbox_watch_last_heard_timestamp_seconds",
        "When something was last heard of the kind, bookmarks included, in seconds since 1970.",
        kind,
    );
    let counter = |name: &str, help: &str| metrics.counter(name, help, kind);
    let events =
        counter("signalbox_watch_events_total", "Objects applied and deleted, those of lists included.");
    let lists = counter("signalbox_watch_lists_total", "Complete lists.");
    let errors = counter("signalbox_watch_errors_total", "Failed requests and watches that broke off.");
    let progress = progress.clone();
    metrics.before_scrape(move || {
        for now in progress.snapshot() {
            let label = [now.kind.name()];
            synced.with_label_values(&label).set(f64::from(u8::from(now.synced)));
            heard.with_label_values(&label).set(now.last_event_millis as f64 / 1000.0);
            for (counter, value) in [(&events, now.events), (&lists, now.lists), (&errors, now.errors)] {
                let counter = counter.with_label_values(&label);
                counter.inc_by((value as f64 - counter.get()).max(0.0));
            }
        }
    });
}
