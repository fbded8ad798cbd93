//! Real receivers against QUIC peers that break the rules, on purpose or because they are slow.

mod beside;
mod bodies;
mod decoding;
mod fair;
mod floods;
mod frames;
mod gaps;
mod peer;
mod receiver;
mod sessions;
mod stalled;
mod stalls;
