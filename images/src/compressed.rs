//! What kernels, modules and packages are compressed with.

use std::io::{self, BufReader, Cursor, Read};

/// A compression, known by how it begins.
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
    /// lz4 in the frames of the kernel's build, `lz4 -l`, or in today's.
    Lz4,
}

/// How each begins. `.lzma` has no magic number: properties 5Dh and the dictionary's size, which is
/// a multiple of 64 KiB in all that is made.
const BEGINNINGS: [(&[u8], Compression); 7] = [
    (b"\x1f\x8b\x08", Compression::Gzip),
    (b"\xfd7zXZ\0", Compression::Xz),
    (b"\x5d\0\0", Compression::Lzma),
    (b"\x28\xb5\x2f\xfd", Compression::Zstd),
    (b"BZh", Compression::Bzip2),
    (b"\x02\x21\x4c\x18", Compression::Lz4),
    (b"\x04\x22\x4d\x18", Compression::Lz4),
];

/// Most that is unpacked at once, in bytes: more than any kernel or package of one holds, and what a
/// few bytes of a hostile file cannot exceed.
const LIMIT: u64 = 2 << 30;

impl Compression {
    /// The compression of a file that begins so.
    pub(crate) fn of(head: &[u8]) -> Option<Compression> {
        BEGINNINGS.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, known)| *known)
    }

    /// Its name for people.
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

    /// Reads what is packed in `from`.
    ///
    /// # Errors
    /// If the beginning is not what it seemed; what is wrong later is an error of the reading.
    pub(crate) fn reader<'a, R: Read + 'a>(self, from: R) -> io::Result<Box<dyn Read + 'a>> {
        let from = BufReader::with_capacity(1 << 16, from);
        let plain: Box<dyn Read + 'a> = match self {
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(from)),
            Compression::Xz => Box::new(lzma_rust2::XzReader::new(from, true)),
            Compression::Lzma => {
                // As much as a dictionary of the largest preset takes, in KiB.
                Box::new(lzma_rust2::LzmaReader::new_mem_limit(from, 1 << 20, None)?)
            }
            Compression::Zstd => {
                Box::new(ruzstd::decoding::StreamingDecoder::new(from).map_err(io::Error::other)?)
            }
            Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(from)),
            Compression::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(from)),
        };
        Ok(Box::new(plain.take(LIMIT)))
    }

    /// Unpacks all of it.
    ///
    /// # Errors
    /// If it is damaged.
    pub(crate) fn unpack(self, packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        self.reader(Cursor::new(packed))?.read_to_end(&mut plain)?;
        Ok(plain)
    }
}

/// The content of a file that may be compressed.
///
/// # Errors
/// If it is damaged.
pub(crate) fn unpack_if_packed(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    match Compression::of(&bytes) {
        Some(compression) => compression.unpack(&bytes),
        None => Ok(bytes),
    }
}

#[cfg(test)]
pub(crate) mod tests {
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
}
