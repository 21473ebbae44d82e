// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Downloads files with curl(1).

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::lock::EntryLock;
use crate::process::{self, Event};

/// Exit codes of curl(1) for a missing file: with `--fail`, and for `file://`.
const NOT_FOUND_CODES: [i32; 2] = [22, 37];

/// Exit code of curl(1) if it cannot write the file.
const CANNOT_WRITE_CODE: i32 = 23;

/// A failed download.
pub(crate) struct FailedDownload {
    /// Whether the server was reached and does not have the file.
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
    let mut curl: Command = process::network_command("curl", ctx.cache.owner);
    // -q ignores the user's curlrc. The limits detect a dead network within seconds.
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
    // curl exits with 22 for any HTTP status from 400 on. Only 404 means that the file is missing;
    // other statuses may come from a proxy.
    let not_found = exit_code.is_some_and(|code| NOT_FOUND_CODES.contains(&code))
        && (exit_code == Some(37) || output.contains("404"));
    Ok(Err(FailedDownload { not_found, output }))
}
