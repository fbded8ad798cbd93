//! How a source says that it has changed.

use std::fmt;
use std::sync::Arc;

use tokio::sync::Notify;

/// Wakes the run that a source belongs to. Clones ring the same bell.
#[derive(Clone, Default)]
pub struct Bell(Arc<Notify>, Option<Hook>);

/// What is called at each ring.
type Hook = Arc<dyn Fn() + Send + Sync>;

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bell")
    }
}

impl Bell {
    /// One that calls `hook` at each ring, on the thread that rings: for whoever waits in a thread of his own. The hook
    /// must not block.
    pub fn calling(hook: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::default(), Some(Arc::new(hook)))
    }

    /// Wakes whoever waits; where nobody does, the next who would wait returns at once. Never blocks, and
    /// may be called on any thread.
    pub fn ring(&self) {
        self.0.notify_one();
        if let Some(hook) = &self.1 {
            hook();
        }
    }

    /// Waits until it rings. One at a time waits: rings in between are one. Cancel safe.
    pub async fn rung(&self) {
        self.0.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_ring_that_nobody_waits_for_is_not_lost() {
        let bell = Bell::default();
        let rope = bell.clone();
        std::thread::spawn(move || (0..3).for_each(|_| rope.ring())).join().unwrap();
        bell.rung().await;
        let again = tokio::time::timeout(std::time::Duration::ZERO, bell.rung()).await;
        assert!(again.is_err(), "three rings that nobody waited for are one");
    }
}
