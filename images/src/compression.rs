// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Compression formats of kernels, modules and packages.

use std::borrow::Cow;
use std::io::{self, BufReader, Cursor, Read};

use crate::regular_file::read_limited;

/// A compression format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// gzip (RFC 1952).
    Gzip,
    /// xz.
    Xz,
    /// The format before xz, `.lzma`.
    Lzma,
    /// Zstandard (RFC 8878).
    Zstd,
    /// bzip2.
    Bzip2,
    /// lz4: legacy frames, as the kernel's build makes them (`lz4 -l`), or the frames of later
    /// versions.
    Lz4,
}

/// The first bytes of each format. `.lzma` has no magic number: a file begins with the properties
/// byte, usually 0x5d, and the dictionary size (little-endian), in practice a multiple of 64 KiB.
const MAGIC_NUMBERS: [(&[u8], Compression); 7] = [
    (b"\x1f\x8b\x08", Compression::Gzip),
    (b"\xfd7zXZ\0", Compression::Xz),
    (b"\x5d\0\0", Compression::Lzma),
    (b"\x28\xb5\x2f\xfd", Compression::Zstd),
    (b"BZh", Compression::Bzip2),
    (b"\x02\x21\x4c\x18", Compression::Lz4),
    (b"\x04\x22\x4d\x18", Compression::Lz4),
];

/// Limit of a decompressed stream in bytes, against decompression bombs. Packages are far smaller.
const STREAM_LIMIT: u64 = 2 << 30;

/// Maximum size of a kernel image in bytes, packed or unpacked. Without debug information it has about 60 MiB.
pub(crate) const KERNEL_LIMIT: u64 = 512 << 20;

/// Maximum size of a module in bytes, packed or unpacked. The largest, of graphics drivers, have about 30 MiB.
pub(crate) const MODULE_LIMIT: u64 = 64 << 20;

/// Maximum size of a configuration in bytes. Those of distributions have about 300 KiB.
pub(crate) const CONFIG_LIMIT: u64 = 16 << 20;

impl Compression {
    /// The compression of a file with these first bytes; `None` if it is not compressed.
    pub(crate) fn detect(head: &[u8]) -> Option<Compression> {
        MAGIC_NUMBERS
            .iter()
            .find(|(magic, _)| head.starts_with(magic))
            .map(|(_, compression)| *compression)
    }

    /// The name for messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Xz => "xz",
            Compression::Lzma => "lzma",
            Compression::Zstd => "zstd",
            Compression::Bzip2 => "bzip2",
            Compression::Lz4 => "lz4",
        }
    }

    /// A reader that decompresses `compressed`.
    ///
    /// # Errors
    /// If the header is damaged. The reader returns an error if later data is damaged.
    pub(crate) fn reader<'a, R: Read + 'a>(self, compressed: R) -> io::Result<Box<dyn Read + 'a>> {
        let compressed = BufReader::with_capacity(1 << 16, compressed);
        let reader: Box<dyn Read + 'a> = match self {
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(compressed)),
            Compression::Xz => Box::new(lzma_rust2::XzReader::new(compressed, true)),
            Compression::Lzma => {
                // Memory limit in KiB: enough for the dictionary of the largest preset.
                Box::new(lzma_rust2::LzmaReader::new_mem_limit(compressed, 1 << 20, None)?)
            }
            Compression::Zstd => Box::new(
                ruzstd::decoding::StreamingDecoder::new(compressed).map_err(io::Error::other)?,
            ),
            Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(compressed)),
            Compression::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(compressed)),
        };
        Ok(Box::new(reader.take(STREAM_LIMIT)))
    }

    /// Decompresses `compressed` to at most `limit` bytes.
    ///
    /// # Errors
    /// If the data is damaged or too large.
    pub(crate) fn decompress(self, compressed: &[u8], limit: u64) -> io::Result<Vec<u8>> {
        read_limited(self.reader(Cursor::new(compressed))?, limit)
    }
}

/// Decompresses the content of a file to at most `limit` bytes if it is compressed; otherwise returns it
/// unchanged.
///
/// # Errors
/// If the data is damaged or too large.
pub(crate) fn decompress_if_compressed(bytes: Cow<'_, [u8]>, limit: u64) -> io::Result<Vec<u8>> {
    match Compression::detect(&bytes) {
        Some(compression) => compression.decompress(&bytes, limit),
        None => Ok(bytes.into_owned()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
