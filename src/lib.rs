//! framelane moves sequences of camera frames over lossy links and proves that every one arrived.
//!
//! The modules are the path of a frame, and imports go down this list only:
//!
//! ```text
//! source -> sender -> transport ~~ link ~~> transport -> receiver -> sink
//!                        |                      |            |
//!                  wire, identity             wire        manifest
//! ```

pub mod frame;
pub mod congestion;
pub mod repair;
pub mod wire;
pub mod identity;
pub mod source;
pub mod manifest;
pub mod sink;
pub mod verify;
pub mod transport;
pub mod sender;
pub mod receiver;
pub mod link;
pub mod cli;
