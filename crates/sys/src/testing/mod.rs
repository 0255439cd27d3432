//! What tests need of the kernel: network namespaces that leave nothing to clean up, and sockets for traffic.

pub mod flows;
pub mod sockets;

use std::thread;

/// Runs a function in a thread of its own in a new network namespace, which vanishes with the last socket in it.
///
/// `None`, after a loud line on standard error: this process may not make namespaces (it is not root).
pub fn in_new_network_namespace<T: Send>(function: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let ran = scope.spawn(|| {
            // SAFETY: only the namespace of this new thread changes; no memory is involved.
            let unshared = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            (unshared == 0).then(function)
        });
        let result = ran.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        if result.is_none() {
            eprintln!("SKIPPED (needs root): a test in a network namespace of its own");
        }
        result
    })
}
