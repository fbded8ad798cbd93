//! Who this machine is to its peers.

use std::path::PathBuf;
use std::time::SystemTime;

use framelane::Identity;
use framelane::identity::{DEFAULT_DAYS, NewCertificate};
use pyo3::prelude::*;

use crate::fault::{Kind, raise};

/// The identity in a folder, made where there is none.
pub(crate) fn load(py: Python<'_>, folder: PathBuf) -> PyResult<Identity> {
    let new = NewCertificate { names: Vec::new(), days: DEFAULT_DAYS, now: SystemTime::now() };
    let loaded = py.detach(|| Identity::load_or_create(&folder, &new));
    loaded.map(|(identity, _)| identity).map_err(|error| raise(py, Kind::Identity, error))
}

/// The pin of the identity in a folder, which is made where there is none.
#[pyfunction]
pub(crate) fn own_pin(py: Python<'_>, folder: PathBuf) -> PyResult<String> {
    load(py, folder).map(|identity| identity.pin().to_string())
}

/// The pin of the certificate in a folder, where there is one.
#[pyfunction]
pub(crate) fn pin_in(folder: PathBuf) -> Option<String> {
    Identity::known_pin(&folder).map(|pin| pin.to_string())
}
