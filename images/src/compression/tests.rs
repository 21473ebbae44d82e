// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// What a packer of this machine makes of it; `None` if it is not installed.
pub(crate) fn packed(command: &[&str], plain: &[u8]) -> Option<Vec<u8>> {
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

/// Each compression, as the kernel's build calls its packer (scripts/Makefile.lib).
pub(crate) const PACKERS: [(Compression, &[&str]); 8] = [
    (Compression::Gzip, &["gzip", "-n", "-f", "-9"]),
    (Compression::Xz, &["xz", "--check=crc32", "--x86", "--lzma2=dict=32MiB"]),
    (Compression::Xz, &["xz"]),
    (Compression::Lzma, &["xz", "--format=lzma", "-9"]),
    (Compression::Zstd, &["zstd", "-22", "--ultra"]),
    (Compression::Bzip2, &["bzip2", "-9"]),
    (Compression::Lz4, &["lz4", "-l", "-9", "-"]),
    (Compression::Lz4, &["lz4", "-9", "-"]),
];

fn sample() -> Vec<u8> {
    (0..3_000_000_u32).map(|i| (i.wrapping_mul(i) >> 11).to_le_bytes()[0] & 0x3f).collect()
}

#[test]
fn what_the_packers_make_is_read() {
    let plain = sample();
    for (compression, packer) in PACKERS {
        let Some(bytes) = packed(packer, &plain) else {
            eprintln!("NOT RUN: {} is not installed", packer[0]);
            continue;
        };
        assert_eq!(Compression::of(&bytes), Some(compression), "{packer:?}");
        assert!(compression.unpack(&bytes).unwrap() == plain, "{packer:?}");
    }
}

#[test]
fn what_is_cut_short_or_damaged_is_an_error_or_less() {
    let plain = sample();
    for (compression, packer) in PACKERS {
        let Some(mut bytes) = packed(packer, &plain) else { continue };
        let cut = compression.unpack(&bytes[..bytes.len() / 2]);
        assert!(cut.is_err() || cut.is_ok_and(|cut| cut.len() < plain.len()), "{packer:?}");
        // Without checksums (.lzma, lz4 -l) damage may only change the content.
        let middle = bytes.len() / 2;
        bytes[middle..middle + 64].fill(0xff);
        let damaged = compression.unpack(&bytes);
        assert!(damaged.is_err() || damaged.is_ok_and(|d| d != plain), "{packer:?}");
    }
}

#[test]
fn what_is_not_packed_stays_as_it_is() {
    assert_eq!(unpack_if_packed(b"\x7fELF".to_vec()).unwrap(), b"\x7fELF");
}
