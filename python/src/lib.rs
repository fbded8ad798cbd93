//! What the Python package `framelane` is made of: the front door of the library, for Python.
//!
//! It is thin. Frames' bytes, waiting, encoding and reading manifests are here, everything with the interpreter let go;
//! what a user of the package sees is in the folder `framelane` beside it.

mod body;
mod codec;
mod engine;
mod fault;
mod identity;
mod logging;
mod manifest;
mod notice;
mod pairs;
mod promise;
mod ready;
mod receipt;
mod receiver;
mod sender;
mod units;

/// The compiled part of `framelane`; not for use from elsewhere.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use super::body::Body;
    #[pymodule_export]
    use super::codec::{decode, encode_jpeg, encode_png_u8, encode_png_u16, joined};
    #[pymodule_export]
    use super::engine::end_telling;
    #[pymodule_export]
    use super::identity::{own_pin, pin_in};
    #[pymodule_export]
    use super::manifest::{Columns, read_drops, read_manifest};
    #[pymodule_export]
    use super::pairs::closest_pairs;
    #[pymodule_export]
    use super::ready::Ready;
    #[pymodule_export]
    use super::receipt::Receipt;
    #[pymodule_export]
    use super::receiver::{Received, Receiver};
    #[pymodule_export]
    use super::sender::Sender;
    #[pymodule_export]
    use super::units::{parse_size, parse_span};
    /// The version of the package.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
