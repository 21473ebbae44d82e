// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Compresses data with a program of this machine; `None` if the program is not installed.
pub(crate) fn compress(command: &[&str], plain: &[u8]) -> Option<Vec<u8>> {
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take().unwrap();
    let plain = plain.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&plain));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{command:?}");
    Some(output.stdout)
}

/// Each compression, with commands of the kernel's build (scripts/Makefile.lib) and others.
pub(crate) const COMPRESSORS: [(Compression, &[&str]); 8] = [
    (Compression::Gzip, &["gzip", "-n", "-f", "-9"]),
    (Compression::Xz, &["xz", "--check=crc32", "--x86", "--lzma2=dict=32MiB"]),
    (Compression::Xz, &["xz"]),
    (Compression::Lzma, &["xz", "--format=lzma", "-9"]),
    (Compression::Zstd, &["zstd", "-22", "--ultra"]),
    (Compression::Bzip2, &["bzip2", "-9"]),
    (Compression::Lz4, &["lz4", "-l", "-9", "-"]),
    (Compression::Lz4, &["lz4", "-9", "-"]),
];

/// Returns 3 MB of data that can be compressed.
fn sample() -> Vec<u8> {
    (0..3_000_000_u32).map(|i| (i.wrapping_mul(i) >> 11).to_le_bytes()[0] & 0x3f).collect()
}

#[test]
fn output_of_the_compression_programs_is_decompressed() {
    let plain = sample();
    for (compression, command) in COMPRESSORS {
        let Some(bytes) = compress(command, &plain) else {
            eprintln!("NOT RUN: {} is not installed", command[0]);
            continue;
        };
        assert_eq!(Compression::detect(&bytes), Some(compression), "{command:?}");
        assert!(compression.decompress(&bytes, KERNEL_LIMIT).unwrap() == plain, "{command:?}");
    }
}

#[test]
fn truncated_and_damaged_data_is_an_error_or_differs() {
    let plain = sample();
    for (compression, command) in COMPRESSORS {
        let Some(mut bytes) = compress(command, &plain) else { continue };
        let truncated = compression.decompress(&bytes[..bytes.len() / 2], KERNEL_LIMIT);
        assert!(truncated.is_err() || truncated.is_ok_and(|data| data.len() < plain.len()));
        // Formats without checksums (.lzma, lz4 -l) may decompress to other content.
        let middle = bytes.len() / 2;
        bytes[middle..middle + 64].fill(0xff);
        let damaged = compression.decompress(&bytes, KERNEL_LIMIT);
        assert!(damaged.is_err() || damaged.is_ok_and(|data| data != plain), "{command:?}");
    }
}

#[test]
fn uncompressed_data_is_returned_unchanged() {
    let plain = Cow::Borrowed(&b"\x7fELF"[..]);
    assert_eq!(decompress_if_compressed(plain, MODULE_LIMIT).unwrap(), b"\x7fELF");
}

#[test]
fn data_beyond_the_limit_is_refused() {
    let Some(bytes) = compress(&["gzip"], &sample()) else { panic!("gzip") };
    let limit = 3_000_000;
    assert_eq!(Compression::Gzip.decompress(&bytes, limit).unwrap().len(), 3_000_000);
    let error = Compression::Gzip.decompress(&bytes, limit - 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    assert!(error.to_string().contains("longer than 2 MiB"), "{error}");
    // Without the limit this would not end.
    let error = read_limited(io::repeat(0), 1 << 20).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
}
