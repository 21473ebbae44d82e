// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Downloads files with curl(1).

use std::fs;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use sudbox_confinement::limit;

use crate::command;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::file_owner::Owner;
use crate::lock::EntryLock;
use crate::process::{self, Event};

/// Exit code of curl(1) with `--fail` for an HTTP status from 400 on.
const HTTP_ERROR_CODE: i32 = 22;

/// Exit code of curl(1) for a `file://` that cannot be read.
const CANNOT_READ_FILE_CODE: i32 = 37;

/// Exit code of curl(1) if it cannot write the file.
const CANNOT_WRITE_CODE: i32 = 23;

/// Exit code of curl(1) if the server announces a larger file than `--max-filesize`.
const FILE_TOO_LARGE_CODE: i32 = 63;

/// Limits of a download. curl is stopped beyond them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Size of the file in bytes.
    pub(crate) bytes: u64,
    /// Duration in seconds.
    pub(crate) seconds: u32,
}

/// A failed download.
pub(crate) struct FailedDownload {
    /// Whether the server answered that it does not have the file.
    pub(crate) not_found: bool,
    /// The last line of curl's output.
    pub(crate) output: String,
}

/// Downloads a file to `path`. Reports progress if `expected_bytes`, the size of the file, is not
/// 0.
///
/// # Errors
/// [`Error::DiskFull`], [`Error::Interrupted`], or [`Error::CannotRun`] without curl. A failed
/// download is the inner error.
pub(crate) fn download(
    ctx: &mut Ctx<'_>,
    url: &str,
    path: &Path,
    expected_bytes: u64,
    limits: Limits,
) -> Result<Result<(), FailedDownload>, Error> {
    let curl = command(ctx.cache.owner, url, path, limits);
    let mut output = String::new();
    let statuses =
        process::run(vec![curl], &EntryLock::default(), ctx.monitor, &mut |monitor, event| {
            match event {
                Event::Line(line) => output = line.trim_start_matches("curl: ").to_owned(),
                Event::Tick if expected_bytes != 0 => {
                    monitor.progress(
                        fs::metadata(path).map_or(0, |metadata| metadata.len()),
                        expected_bytes,
                        "bytes",
                    );
                }
                Event::Tick => {}
            }
        })?;
    let status = statuses.first().copied().unwrap_or_default();
    let exit_code = status.code();
    if exit_code == Some(0) {
        return Ok(Ok(()));
    }
    // If SIGXFSZ is ignored, the write beyond the limit fails.
    let is_at_limit = || fs::metadata(path).is_ok_and(|metadata| metadata.len() >= limits.bytes);
    if exit_code == Some(FILE_TOO_LARGE_CODE)
        || status.signal() == Some(Signal::XFSZ.as_raw())
        || (exit_code == Some(CANNOT_WRITE_CODE) && is_at_limit())
    {
        let output = format!("it is larger than {} MiB", limits.bytes >> 20);
        return Ok(Err(FailedDownload { not_found: false, output }));
    }
    if exit_code == Some(CANNOT_WRITE_CODE) {
        return Err(Error::DiskFull(format!("download {url}")));
    }
    // Of the HTTP statuses, only 404 means that the file is missing; others may come from a proxy.
    let not_found = exit_code == Some(CANNOT_READ_FILE_CODE)
        || (exit_code == Some(HTTP_ERROR_CODE) && output.contains("404"));
    Ok(Err(FailedDownload { not_found, output }))
}

/// The command that downloads a file: by https or from this machine, also where a server sends it on.
fn command(owner: Owner, url: &str, path: &Path, limits: Limits) -> Command {
    let mut curl = command::with_network("curl", owner);
    // -q ignores the user's curlrc. With these limits, curl gives up on a dead network within
    // seconds.
    curl.args(["-q", "--fail", "--silent", "--show-error", "--location"]);
    curl.args(["--proto", "=https,file", "--proto-redir", "=https", "--connect-timeout", "3"]);
    curl.args(["--speed-limit", "1000", "--speed-time", "4"]);
    curl.args(["--max-time", &limits.seconds.to_string()]);
    curl.args(["--max-filesize", &limits.bytes.to_string()]);
    curl.arg("--output").arg(path).args(["--url", url]);
    // curl before 8.4 limits only files whose size the server announces.
    let limit_files = move || {
        limit(libc::RLIMIT_CORE, 0)?;
        limit(libc::RLIMIT_FSIZE, limits.bytes)
    };
    // SAFETY: between fork and exec the closure only makes system calls (setrlimit), which are
    // allowed there, and allocates nothing.
    unsafe { curl.pre_exec(limit_files) };
    curl
}

#[cfg(test)]
mod tests;
