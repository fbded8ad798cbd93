//! Both roles against the scripts as the protocol's description has them, byte by byte.

mod receiver;
mod scripts;
mod sender;
mod sessions;

use std::time::Duration;

/// Ends a test that hangs, long after a healthy one is done.
async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("the test hangs")
}
