//! Waiting for the user.

use tokio::sync::watch;

/// What is said of a run that was stopped, and of each frame that was not confirmed then.
pub(crate) const INTERRUPTED: &str = "interrupted";

/// Waits until `stop` turns true; for ever, where nobody can turn it any more.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}
