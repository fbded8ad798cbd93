//! The real binary, end to end over loopback, and real receivers against peers that misbehave.
//!
//! Every test has a folder of its own with its own identities and configuration, listens on ports
//! that the system picks, and waits for events, never for time to pass.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

mod bad_input;
mod cli;
mod clock;
mod crash;
mod crash_live;
mod demo;
mod doctor;
mod door;
mod door_receiver;
mod either;
mod hostile;
mod limits;
mod live;
mod live_memory;
mod live_watch;
mod months;
mod own_link;
mod owners;
mod paths;
mod reach;
mod resume;
mod service;
mod spool;
mod store_trouble;
mod support;
mod trust;
mod verify;
mod view;
mod weights;
