//! The content of a stored file.

use std::fs::File;
use std::io::{self, Read};

use crate::frame::ContentHash;

/// Large enough for BLAKE3's widest vectors, small enough to stay in the processor's cache.
const READ_BYTES: usize = 128 * 1024;

/// BLAKE3 of a file's content and its length, read in bounded memory. `buffer` is scratch space,
/// kept by the caller between files.
pub(crate) fn hash_file(file: &File, buffer: &mut Vec<u8>) -> io::Result<(ContentHash, u64)> {
    hash_file_while(file, buffer, &|| true)
}

/// The same as long as it is wanted; an error of the kind [`Interrupted`](io::ErrorKind::Interrupted) once it is not.
pub(crate) fn hash_file_while(
    mut file: &File,
    buffer: &mut Vec<u8>,
    is_wanted: &dyn Fn() -> bool,
) -> io::Result<(ContentHash, u64)> {
    buffer.resize(READ_BYTES, 0);
    let mut hasher = blake3::Hasher::new();
    let mut length = 0;
    loop {
        if !is_wanted() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match file.read(buffer) {
            Ok(0) => return Ok((hasher.finalize(), length)),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                length += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
