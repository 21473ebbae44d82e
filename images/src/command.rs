// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Commands of the host with a clean environment.

use crate::file_owner::Owner;
use std::process::{Command, Stdio};

/// Environment variables that child processes inherit. All other variables are removed, because
/// MAKEFLAGS, KBUILD_*, ARCH, CROSS_COMPILE, CC, LOCALVERSION and others, exported by a shell or an
/// outer make, would change the build.
const INHERITED_VARIABLES: [&str; 7] =
    ["PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LD_LIBRARY_PATH", "SHELL"];

/// Prefixes of other variables that children inherit: settings of ccache, of compilers outside /usr
/// (Nix), and of directories (XDG).
const INHERITED_PREFIXES: [&str; 3] = ["CCACHE_", "NIX_", "XDG_"];

/// Proxy settings, inherited by children that use the network.
const PROXY_VARIABLES: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// A command with a clean environment, English messages and an empty stdin.
pub(crate) fn clean(program: impl AsRef<std::ffi::OsStr>, owner: Owner) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").stdin(Stdio::null());
    for (name, value) in std::env::vars_os() {
        let is_inherited = name.to_str().is_some_and(|name| {
            INHERITED_VARIABLES.contains(&name)
                || INHERITED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        });
        if is_inherited {
            command.env(name, value);
        }
    }
    owner.run_as_owner(&mut command);
    command
}

/// Like [`clean`], with the proxy variables, for programs that use the network.
pub(crate) fn with_network(program: &str, owner: Owner) -> Command {
    let mut command = clean(program, owner);
    for name in PROXY_VARIABLES {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Runs one command. Returns its stdout; `None` if it failed or cannot be started.
pub(crate) fn stdout_of(mut command: Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests;
