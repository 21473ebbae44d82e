// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Downloads files with curl(1).

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::lock::Held;
use crate::process::{self, Event};

/// curl(1)'s exit code for a file that is not there (with `--fail`, and for `file://`).
const NOT_FOUND: [i32; 2] = [22, 37];

/// curl(1)'s exit code if it cannot write the file.
const CANNOT_WRITE: i32 = 23;

/// A download that failed.
pub(crate) struct Failed {
    /// The server answers, and does not have the file.
    pub(crate) not_found: bool,
    /// The error of curl, one line.
    pub(crate) said: String,
}

/// Downloads a file. Progress is shown against its `expected` size in bytes; 0 shows none.
///
/// # Errors
/// [`Error::DiskFull`], [`Error::Interrupted`], or without curl.
pub(crate) fn download(
    ctx: &mut Ctx<'_>,
    url: &str,
    to: &Path,
    expected: u64,
) -> Result<Result<(), Failed>, Error> {
    let mut curl: Command = process::network_command("curl", ctx.cache.owner);
    // -q: no settings of the user's; a dead network must be noticed within seconds.
    curl.args(["-q", "--fail", "--silent", "--show-error", "--location"]);
    curl.args(["--proto", "=http,https,file", "--connect-timeout", "3"]);
    curl.args(["--speed-limit", "1000", "--speed-time", "4"]);
    curl.arg("--output").arg(to).arg("--").arg(url);
    let mut said = String::new();
    let statuses = process::run(
        vec![curl],
        &Held::default(),
        ctx.monitor,
        &mut |monitor, event| match event {
            Event::Line(line) => said = line.trim_start_matches("curl: ").to_owned(),
            Event::Tick if expected != 0 => {
                monitor.progress(fs::metadata(to).map_or(0, |meta| meta.len()), expected, "bytes");
            }
            Event::Tick => {}
        },
    )?;
    let code = statuses.first().and_then(std::process::ExitStatus::code);
    if code == Some(0) {
        return Ok(Ok(()));
    }
    if code == Some(CANNOT_WRITE) {
        return Err(Error::DiskFull(format!("download {url}")));
    }
    // 22 is any HTTP status from 400 on. Only 404 means that the file is not there: other answers
    // may come from a proxy.
    let not_found = code.is_some_and(|code| NOT_FOUND.contains(&code))
        && (code == Some(37) || said.contains("404"));
    Ok(Err(Failed { not_found, said }))
}
