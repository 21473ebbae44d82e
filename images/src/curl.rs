// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Downloads files with curl(1).

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::command;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::lock::EntryLock;
use crate::process::{self, Event};

/// Exit code of curl(1) with `--fail` for an HTTP status from 400 on.
const HTTP_ERROR_CODE: i32 = 22;

/// Exit code of curl(1) for a `file://` that cannot be read.
const CANNOT_READ_FILE_CODE: i32 = 37;

/// Exit code of curl(1) if it cannot write the file.
const CANNOT_WRITE_CODE: i32 = 23;

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
) -> Result<Result<(), FailedDownload>, Error> {
    let mut curl: Command = command::with_network("curl", ctx.cache.owner);
    // -q ignores the user's curlrc. With these limits, curl gives up on a dead network within
    // seconds.
    curl.args(["-q", "--fail", "--silent", "--show-error", "--location"]);
    curl.args(["--proto", "=http,https,file", "--connect-timeout", "3"]);
    curl.args(["--speed-limit", "1000", "--speed-time", "4"]);
    curl.arg("--output").arg(path).arg("--").arg(url);
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
    let exit_code = statuses.first().and_then(std::process::ExitStatus::code);
    if exit_code == Some(0) {
        return Ok(Ok(()));
    }
    if exit_code == Some(CANNOT_WRITE_CODE) {
        return Err(Error::DiskFull(format!("download {url}")));
    }
    // Of the HTTP statuses, only 404 means that the file is missing; others may come from a proxy.
    let not_found = exit_code == Some(CANNOT_READ_FILE_CODE)
        || (exit_code == Some(HTTP_ERROR_CODE) && output.contains("404"));
    Ok(Err(FailedDownload { not_found, output }))
}
