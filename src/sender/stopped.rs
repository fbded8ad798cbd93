//! Waiting for the user.

use tokio::sync::watch;

/// Waits until `stop` turns true; for ever, where nobody can turn it any more.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}
