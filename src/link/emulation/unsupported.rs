//! The same names where there are no network namespaces: nothing can be made of them.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;

use super::{EmulationError, LinkStats};
use crate::link::LinkSpec;

/// Leave to make network namespaces; not to be had on this system.
#[derive(Debug, Clone, Copy)]
pub struct Privilege(Infallible);

/// A network namespace; none can exist on this system.
#[derive(Debug, Clone)]
pub struct NamespaceHandle(Infallible);

/// An emulated link; none can exist on this system.
#[derive(Debug)]
pub struct Emulation(Infallible);

/// Refuses, naming the system.
///
/// # Errors
/// Always [`EmulationError::NotLinux`].
pub fn enter_user_namespace() -> Result<Privilege, EmulationError> {
    Err(EmulationError::NotLinux { os: std::env::consts::OS })
}

/// The kernel's TCP congestion controls are known on Linux only.
///
/// # Errors
/// Always.
pub fn available_congestion_controls() -> io::Result<Vec<String>> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

impl Privilege {
    /// Never called.
    pub fn is_user_namespace(self) -> bool {
        match self.0 {}
    }
}

impl NamespaceHandle {
    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn enter_current_thread(&self) -> Result<(), EmulationError> {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn run<T: Send>(&self, _work: impl FnOnce() -> T + Send) -> Result<T, EmulationError> {
        match self.0 {}
    }
}

impl Emulation {
    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn start(privilege: Privilege, _spec: &LinkSpec) -> Result<Self, EmulationError> {
        match privilege.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn start_paths(privilege: Privilege, _specs: &[LinkSpec]) -> Result<Self, EmulationError> {
        match privilege.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn replace_path(&self, _path: usize, _spec: &LinkSpec) -> Result<u64, EmulationError> {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn forget_mappings(&self, _path: usize) -> Result<(), EmulationError> {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn block_udp(&self, _path: usize, _block: bool) -> Result<(), EmulationError> {
        match self.0 {}
    }

    /// Never called.
    pub fn near_addr_of(&self, _path: usize) -> Ipv4Addr {
        match self.0 {}
    }

    /// Never called.
    pub fn far_addr_of(&self, _path: usize) -> Ipv4Addr {
        match self.0 {}
    }

    /// Never called.
    pub fn device_of(&self, _path: usize) -> String {
        match self.0 {}
    }

    /// Never called.
    pub fn stats_of(&self, _path: usize) -> LinkStats {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn replace(&self, _spec: &LinkSpec) -> Result<u64, EmulationError> {
        match self.0 {}
    }

    /// Never called.
    pub fn near(&self) -> &NamespaceHandle {
        match self.0 {}
    }

    /// Never called.
    pub fn far(&self) -> &NamespaceHandle {
        match self.0 {}
    }

    /// Never called.
    pub fn near_addr(&self) -> Ipv4Addr {
        match self.0 {}
    }

    /// Never called.
    pub fn far_addr(&self) -> Ipv4Addr {
        match self.0 {}
    }

    /// Never called.
    pub fn seed(&self) -> u64 {
        match self.0 {}
    }

    /// Never called.
    pub fn stats(&self) -> LinkStats {
        match self.0 {}
    }
}
