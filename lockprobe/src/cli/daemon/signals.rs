//! What the daemon is told by signals.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// Signals that came.
pub struct Signals {
    terminate: Arc<AtomicBool>,
    hang_up: Arc<AtomicBool>,
}

impl Signals {
    /// Catches them from now on. The second that asks for the end gets it at once, whatever is
    /// still to be delivered.
    pub fn catch() -> std::io::Result<Self> {
        let (terminate, hang_up) = (Arc::default(), Arc::default());
        for signal in [SIGTERM, SIGINT] {
            // In this order: the first one finds the flag still down.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&terminate))?;
            flag::register(signal, Arc::clone(&terminate))?;
        }
        flag::register(SIGHUP, Arc::clone(&hang_up))?;
        Ok(Self { terminate, hang_up })
    }

    /// Whether the end was asked for.
    pub fn terminated(&self) -> bool {
        self.terminate.load(Ordering::Relaxed)
    }

    /// Whether the configuration is to be read again; asked for once.
    pub fn hung_up(&self) -> bool {
        self.hang_up.swap(false, Ordering::Relaxed)
    }
}
