//! QUIC and nothing else, with another connection where nothing comes over the one in use any more.

use std::sync::Arc;

use super::super::{Better, BoxFuture, Dial, PathWatch, SenderLink, TransportError, Via};
use super::instead::instead_of;

/// A way over QUIC alone.
pub(in super::super) struct Anew(Arc<dyn Dial>);

impl Anew {
    pub(in super::super) fn new(quic: Arc<dyn Dial>) -> Self {
        Self(quic)
    }
}

impl Dial for Anew {
    fn dial(&self) -> BoxFuture<'_, Result<SenderLink, TransportError>> {
        self.0.dial()
    }

    fn better<'a>(&'a self, via: &'a Via, path: &'a PathWatch) -> BoxFuture<'a, Better> {
        Box::pin(async {
            let link = instead_of(via.address, path, || self.0.dial()).await;
            Better { link, drains: false }
        })
    }

    fn linger(&self) -> BoxFuture<'_, ()> {
        self.0.linger()
    }
}
