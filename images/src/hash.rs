// SPDX-License-Identifier: Apache-2.0 OR MIT

//! SHA-256 digests as text.

use std::fs::File;
use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::error::{Context as _, Error};

/// The checksum of a file.
pub(crate) fn sha256_of(path: &Path) -> Result<String, Error> {
    let mut hasher = Sha256::new();
    File::open(path).and_then(|mut file| io::copy(&mut file, &mut hasher)).context("read", path)?;
    Ok(hex(&hasher.finalize()))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first 128 bits of the SHA-256 of these texts, in hexadecimal. Each text is hashed with its
/// length, so that no two lists of texts run together.
pub(crate) fn digest(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part);
    }
    hex(&hasher.finalize()[..16])
}
