//! Received frames as a stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::sync::futures::OwnedNotified;

use super::desk::{Desk, Taken};
use super::received::Received;

/// The frames of a receiver as a [`Stream`], for programs that combine streams; see
/// [`Receiver::frames`](super::Receiver::frames).
///
/// Cancel safe: it holds no frame. What was not yielded when it is dropped, or when whoever polls it turns to something
/// else, is still there for the next one, or for [`Receiver::next`](super::Receiver::next).
#[derive(Debug)]
#[must_use = "a stream does nothing unless it is polled"]
pub struct Frames<'a> {
    desk: &'a Desk,
    /// What is waited for while there is no frame. Where it has come and nobody has looked, dropping it tells the next.
    news: Option<Pin<Box<OwnedNotified>>>,
}

impl<'a> Frames<'a> {
    pub(super) fn of(desk: &'a Desk) -> Self {
        Self { desk, news: None }
    }
}

impl Stream for Frames<'_> {
    type Item = Received;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Received>> {
        let Self { desk, news } = &mut *self;
        loop {
            match desk.take() {
                Taken::Frame(frame) => return Poll::Ready(Some(*frame)),
                Taken::End => return Poll::Ready(None),
                Taken::NothingYet => {}
            }
            // Whatever comes between the look and this is kept until it is waited for.
            let waiting = news.get_or_insert_with(|| Box::pin(desk.next_news()));
            ready!(waiting.as_mut().poll(context));
            *news = None;
        }
    }
}
