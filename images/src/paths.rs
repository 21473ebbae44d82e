// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Paths that users type, and directory names for the cache.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Expands `~` and `~/...` as a shell does, for paths in make variables, which no shell expands.
#[must_use]
pub fn expand_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        // Joining an empty path would append a slash.
        (Ok(below_home), Some(home)) if below_home.as_os_str().is_empty() => home,
        (Ok(below_home), Some(home)) => home.join(below_home),
        _ => path.to_owned(),
    }
}

/// Reads a text file that the user named. Does not wait for a FIFO to get a writer.
///
/// # Errors
/// If the file cannot be read, is not UTF-8, or is a FIFO without a writer.
pub fn read_text(path: &Path) -> io::Result<String> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    // Reads may wait: `<(command)` of a shell is a FIFO whose writer needs time.
    rustix::fs::fcntl_setfl(&file, rustix::fs::OFlags::empty())?;
    let is_fifo = file.metadata()?.file_type().is_fifo();
    let mut text = String::new();
    (&file).read_to_string(&mut text)?;
    if is_fifo && text.is_empty() {
        return Err(io::Error::other("a FIFO to which nothing writes"));
    }
    Ok(text)
}

/// The name of a directory for cache keys: at most 40 letters, digits, and `-`, `_`, `.`.
pub(crate) fn name_for_cache(tree: &Path) -> String {
    let name = tree.file_name().unwrap_or_default().to_string_lossy();
    let is_allowed = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
    name.chars().filter(is_allowed).take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifo_with_a_writer_is_read_and_one_without_is_an_error() {
        use std::process::{Command, Stdio};
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        assert!(read_text(&fifo).unwrap_err().to_string().contains("nothing writes"));
        let mut writer = Command::new("sh");
        writer.args(["-c", "sleep 0.2; echo text"]).stdout(Stdio::piped());
        let mut writer = writer.spawn().unwrap();
        let pipe = writer.stdout.take().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&pipe));
        assert_eq!(read_text(Path::new(&path)).unwrap(), "text\n");
        assert!(writer.wait().unwrap().success());
    }

    #[test]
    fn a_leading_tilde_is_expanded_to_the_home_directory() {
        let home = PathBuf::from(std::env::var_os("HOME").unwrap());
        assert_eq!(expand_home(Path::new("~/src/linux")), home.join("src/linux"));
        assert_eq!(expand_home(Path::new("~")), home);
        assert_eq!(expand_home(Path::new("./~/x")), PathBuf::from("./~/x"));
    }
}
