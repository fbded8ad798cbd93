//! The real binary, end to end over loopback, and real receivers against peers that misbehave.
//!
//! Every test has a folder of its own with its own identities and configuration, listens on ports
//! that the system picks, and waits for events, never for time to pass.

mod cli;
mod hostile;
mod support;
mod trust;
