//! The content of a stored file.

use std::fs::File;
use std::io::{self, Read};

use crate::frame::ContentHash;

/// Large enough for BLAKE3's widest vectors, small enough to stay in the processor's cache.
const READ_BYTES: usize = 128 * 1024;

/// BLAKE3 of a file's content and its length, read in bounded memory. `buffer` is scratch space,
/// kept by the caller between files.
pub(crate) fn hash_file(mut file: &File, buffer: &mut Vec<u8>) -> io::Result<(ContentHash, u64)> {
    buffer.resize(READ_BYTES, 0);
    let mut hasher = blake3::Hasher::new();
    let mut length = 0;
    loop {
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
