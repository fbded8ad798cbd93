//! Both ends against each other over loopback, and the receiver against peers that mean harm.

mod ends;
mod frames;
mod hostile;
pub(super) mod support;
