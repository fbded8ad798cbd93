//! Going on over another link, without a pause where that is possible.
//!
//! The other link is greeted while frames still go over the old one. When its receiver has said its welcome
//! nothing more is handed to the old link, and when what that has is confirmed, the session ends and the next
//! begins on the other link. From the hello on there is no way back: the receiver takes the session that began
//! last for the one that says how its sources stand.

use std::time::{Duration, Instant};

use super::Opened;
use crate::transport::{Better, SenderLink};
use crate::wire::{Hello, Message, Welcome};

/// How long the welcome may take: as long as a store takes to be opened again.
const WELCOME_PATIENCE: Duration = Duration::from_secs(5);

/// How long the old link may bring nothing of what it has, and how long that may take altogether. What is not
/// confirmed then is offered again.
const DRAIN_PAUSE: Duration = Duration::from_secs(1);
/// See [`DRAIN_PAUSE`].
const DRAIN: Duration = Duration::from_secs(4);

/// A link that is to take over.
#[derive(Debug)]
pub(super) struct Handover {
    link: SenderLink,
    drains: bool,
    welcome: Option<Welcome>,
    /// When it was greeted, and then when its welcome came.
    since: Instant,
    /// When the old link brought something last.
    brought: Instant,
}

impl Handover {
    /// Greets the receiver on the other link; `None` where that is gone already.
    pub(super) fn begin(better: Better, hello: Hello, now: Instant) -> Option<Self> {
        let Better { link, drains } = better;
        link.messages.try_send(Message::Hello(hello)).ok()?;
        Some(Self { link, drains, welcome: None, since: now, brought: now })
    }

    /// Waits for the next word on the other link; false where it is gone, or says no welcome. Cancel safe.
    pub(super) async fn hear(&mut self) -> bool {
        match self.link.incoming.recv().await {
            Some(Message::Welcome(welcome)) if self.welcome.is_none() => {
                self.welcome = Some(welcome);
                (self.since, self.brought) = (Instant::now(), Instant::now());
                true
            }
            Some(Message::Skipped { .. } | Message::Notice(_)) => true,
            _ => false,
        }
    }

    /// True once nothing more goes to the old link.
    pub(super) fn is_welcome(&self) -> bool {
        self.welcome.is_some()
    }

    /// The old link has brought something.
    pub(super) fn brought(&mut self, now: Instant) {
        self.brought = now;
    }

    /// True where the old link is not to be waited for any more, which `owes` receipts.
    pub(super) fn is_due(&self, owes: bool, now: Instant) -> bool {
        self.is_welcome() && (!owes || !self.drains || now >= self.gives_up_at())
    }

    /// True where the welcome stays out.
    pub(super) fn is_in_vain(&self, now: Instant) -> bool {
        !self.is_welcome() && now >= self.gives_up_at()
    }

    /// When something is to be given up: the welcome, or what the old link has.
    pub(super) fn gives_up_at(&self) -> Instant {
        match self.is_welcome() {
            true => (self.since + DRAIN).min(self.brought + DRAIN_PAUSE),
            false => self.since + WELCOME_PATIENCE,
        }
    }

    /// What the next session begins with.
    pub(super) fn into_opened(self) -> Opened {
        Opened { link: self.link, welcome: self.welcome }
    }

    pub(super) fn link(&self) -> &SenderLink {
        &self.link
    }
}
