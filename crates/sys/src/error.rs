//! Why the kernel could not be asked, or said no.

use std::io;

/// An error of a kernel interface. Reads after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call on a socket or file failed.
    #[error("{call}: {source}")]
    Call {
        /// The call, with what it was for.
        call: &'static str,
        /// The error.
        source: io::Error,
    },
    /// The process may not do this.
    #[error("{what}: not permitted; this needs root or the capability CAP_NET_ADMIN")]
    NotPermitted {
        /// What was tried.
        what: &'static str,
    },
    /// The kernel was built without nftables, or its module cannot be loaded.
    #[error("use nftables: this kernel has no nf_tables (CONFIG_NF_TABLES)")]
    NoNfTables,
    /// The kernel was built without sets that rules can ask, or their modules cannot be loaded.
    #[error(
        "make the ipset {name}: this kernel lacks {lacks}; load the modules (modprobe -a ip_set_hash_ipportip xt_set), or use --proxy-mode=nftables, which needs none"
    )]
    NoIpset {
        /// The set.
        name: String,
        /// What is missing, as the kernel's configuration calls it.
        lacks: &'static str,
    },
    /// The kernel was built without a family, or started without it.
    #[error("use {family}: this kernel has none of it")]
    NoFamily {
        /// Which.
        family: model::Family,
    },
    /// The kernel answered a request with an error.
    #[error("{what}: {}{}", io::Error::from_raw_os_error(*errno), if text.is_empty() { String::new() } else { format!(" ({text})") })]
    Refused {
        /// What was asked.
        what: String,
        /// The error number, positive.
        errno: i32,
        /// The kernel's explanation, often empty.
        text: String,
    },
    /// The kernel dropped messages because nobody read them in time.
    #[error("read from netlink: messages were lost (ENOBUFS)")]
    Lost,
    /// The table changed while it was read.
    #[error("read {what}: it changed meanwhile")]
    Interrupted {
        /// What was read.
        what: &'static str,
    },
    /// An answer does not have the form it must have.
    #[error("understand the kernel's answer: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// Somebody else holds a lock.
    #[error("get {what}: somebody else holds it")]
    Busy {
        /// The lock.
        what: String,
    },
    /// A program of the host failed.
    #[error("run {program}: {reason}")]
    Program {
        /// Its path.
        program: String,
        /// What it said.
        reason: String,
    },
}

impl Error {
    /// Names the call that just failed, with the reason in `errno`.
    pub(crate) fn last(call: &'static str) -> Self {
        Self::Call { call, source: io::Error::last_os_error() }
    }

    /// Answers whether what was asked for does not exist.
    pub fn is_missing(&self) -> bool {
        self.errno() == Some(libc::ENOENT)
    }

    /// Answers the error number of a refusal.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            Self::Call { source, .. } => source.raw_os_error(),
            Self::NotPermitted { .. } => Some(libc::EPERM),
            Self::NoNfTables
            | Self::Lost
            | Self::Interrupted { .. }
            | Self::Malformed { .. }
            | Self::Busy { .. }
            | Self::NoIpset { .. }
            | Self::NoFamily { .. }
            | Self::Program { .. } => None,
        }
    }
}
