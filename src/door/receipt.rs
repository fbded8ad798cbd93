//! What becomes of a frame that was pushed.

use std::pin::Pin;
use std::task::{Context, Poll};

use thiserror::Error;
use tokio::sync::oneshot;

use crate::source::Fate;

/// Tells what becomes of a frame. Whoever does not want to know drops it.
#[derive(Debug)]
#[must_use = "to be waited for, or dropped"]
pub struct Receipt(pub(super) oneshot::Receiver<Fate>);

/// A frame that was pushed is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotStored {
    /// It was given up: too late, or refused. The report says more.
    #[error("the frame was given up: it came too late, or the receiver refused it")]
    Lost,
    /// The run has ended before.
    #[error("the run has ended before the frame was stored; `finish` says why")]
    Ended,
}

impl Receipt {
    /// Waits until the receiver has stored the frame.
    ///
    /// # Errors
    /// [`NotStored`].
    pub async fn stored(self) -> Result<(), NotStored> {
        self.await
    }
}

/// The same as [`Receipt::stored`], for programs that wait for many receipts at once. Cancel safe, as long as the receipt is
/// kept.
impl Future for Receipt {
    type Output = Result<(), NotStored>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|fate| match fate {
            Ok(Fate::Stored | Fate::StoredBefore) => Ok(()),
            Ok(_) => Err(NotStored::Lost),
            Err(_) => Err(NotStored::Ended),
        })
    }
}
