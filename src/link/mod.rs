//! An emulated lossy link: two kernel network stacks with a bad link between them, in one process.
//!
//! TCP loses and retransmits segments inside the kernel, so a proxy in user space cannot compare
//! it with QUIC. Here both run over ordinary kernel sockets in two network namespaces, and what
//! lies between them is packets of at most 1,500 bytes passing through this module.
//!
//! ```text
//! near namespace                this process                 far namespace
//! sockets -> tun --read--> Pipe (up: sender to receiver) --write--> tun -> sockets
//! sockets <- tun <-write-- Pipe (down: receiver to sender) <--read-- tun <- sockets
//! ```
//!
//! From the bottom: [`effect`] has one impairment a file, pure; [`Pipe`] composes them for one
//! direction; [`LinkSpec`] is what users write; [`Emulation`] is the namespaces, the devices and
//! the thread that moves packets.

pub mod effect;
mod emulation;
mod pipe;
mod spec;

pub use emulation::{
    Emulation, EmulationError, FAR_ADDR, LinkStats, MTU, NEAR_ADDR, NamespaceHandle, Privilege,
    Punctuality, available_congestion_controls, enter_user_namespace,
};
pub use pipe::{Direction, DirectionStats, Pipe};
pub use spec::{
    Capacity, DirectionSpec, LinkKey, LinkSpec, Outage, Preset, QueueLimit, Reorder, SpecError,
    Trace, TraceError, link_keys, presets,
};
