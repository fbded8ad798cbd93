//! Taking frames from a receiver, from wherever they are wanted.

use std::sync::Arc;

use super::desk::{Desk, Taken};
use super::received::Received;
use super::wants::{Want, Wants};
use crate::frame::{NameError, SourceName};

/// Takes frames from a receiver elsewhere: in another thread or task, or in several; made by
/// [`Receiver::taker`](super::Receiver::taker). It keeps no receiver alive: once that was shut down, or is dropped, there
/// are no frames.
#[derive(Debug, Clone)]
pub struct Taker {
    pub(super) desk: Arc<Desk>,
    pub(super) wants: Arc<Wants>,
}

impl Taker {
    /// As [`Receiver::next`](super::Receiver::next). Cancel safe.
    pub async fn next(&self) -> Option<Received> {
        loop {
            match self.desk.take() {
                Taken::Frame(frame) => return Some(*frame),
                Taken::End => return None,
                Taken::NothingYet => self.ready().await,
            }
        }
    }

    /// As [`Receiver::try_next`](super::Receiver::try_next).
    pub fn try_next(&self) -> Option<Received> {
        match self.desk.take() {
            Taken::Frame(frame) => Some(*frame),
            Taken::End | Taken::NothingYet => None,
        }
    }

    /// As [`Receiver::ready`](super::Receiver::ready). Cancel safe.
    pub async fn ready(&self) {
        while !self.desk.has_news() {
            self.desk.news().await;
        }
    }

    /// Has another of those that wait look again: for one who was [ready](Self::ready) and takes nothing after all.
    pub fn pass_on(&self) {
        self.desk.ring();
    }

    /// As [`Receiver::has_ended`](super::Receiver::has_ended).
    pub fn has_ended(&self) -> bool {
        self.desk.has_ended()
    }

    /// As [`Receiver::want_latest`](super::Receiver::want_latest).
    ///
    /// # Errors
    /// [`NameError`] where no source can have that name.
    pub fn want_latest(&self, source: Option<&str>) -> Result<(), NameError> {
        self.want(source, Want::Latest)
    }

    /// As [`Receiver::want_every`](super::Receiver::want_every).
    ///
    /// # Errors
    /// [`NameError`] where no source can have that name.
    pub fn want_every(&self, source: Option<&str>) -> Result<(), NameError> {
        self.want(source, Want::Every)
    }

    fn want(&self, source: Option<&str>, want: Want) -> Result<(), NameError> {
        let source = source.map(SourceName::parse).transpose()?;
        self.wants.set(source.clone(), want);
        if want == Want::Latest {
            self.desk.keep_newest(source.as_ref());
        }
        Ok(())
    }
}
