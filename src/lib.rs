//! framelane moves sequences of camera frames over lossy links and proves that every one arrived.
//!
//! The modules are the path of a frame, and imports go down this list only:
//!
//! ```text
//! source -> sender -> transport ~~ link ~~> transport -> receiver -> sink
//!                        |                      |            |
//!                  wire, identity             wire        manifest
//! ```

pub mod cli;
pub mod compare;
pub mod congestion;
pub mod frame;
pub mod identity;
pub mod link;
pub mod manifest;
pub mod receiver;
pub mod repair;
pub mod report;
pub mod sender;
pub mod sink;
pub mod source;
pub mod transport;
pub mod verify;
pub mod wire;
