// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Installs what is missing, or says how.
//!
//! Without a question as root in a container or without a terminal, and under CI also by a sudo
//! that asks nothing; on a terminal the line is shown and asked for; without the right to install,
//! it is printed.

use crate::arch;
use crate::failure::Failure;
use crate::output::progress::Progress;
use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use sudbox_images::{Arch, Tool, is_on_path};

/// A distribution's package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manager {
    Apt,
    Dnf,
    Pacman,
    Zypper,
}

impl Manager {
    const ALL: [(Manager, &'static str); 4] = [
        (Manager::Apt, "apt-get"),
        (Manager::Dnf, "dnf"),
        (Manager::Pacman, "pacman"),
        (Manager::Zypper, "zypper"),
    ];

    /// The one of this machine.
    pub(crate) fn find() -> Option<Manager> {
        Manager::ALL.iter().find(|(_, program)| is_on_path(program)).map(|(manager, _)| *manager)
    }

    /// The packages in which this distribution has the tool: none where it has none.
    pub(crate) fn packages(self, tool: &Tool) -> impl Iterator<Item = &'static str> {
        let names = match self {
            Manager::Apt => tool.packages.apt,
            Manager::Dnf => tool.packages.dnf,
            Manager::Pacman => tool.packages.pacman,
            Manager::Zypper => tool.packages.zypper,
        };
        names.split_whitespace()
    }

    /// The command that installs `packages`, word by word.
    pub(crate) fn command(self, packages: &[&'static str]) -> Vec<&'static str> {
        // Without Recommends: they pull in what is not needed and can be what cannot be installed.
        let mut words = match self {
            Manager::Apt => vec!["apt-get", "install", "-y", "--no-install-recommends"],
            Manager::Dnf => vec!["dnf", "install", "-y", "--setopt=install_weak_deps=False"],
            Manager::Pacman => vec!["pacman", "-S", "--needed", "--noconfirm"],
            Manager::Zypper => vec!["zypper", "--non-interactive", "install", "--no-recommends"],
        };
        words.extend(packages);
        words
    }
}

/// QEMU for guests of this architecture.
pub(crate) fn qemu(arch: Arch) -> Tool {
    emulator(sudbox_vmm::qemu::program(arch), arch)
}

/// The program that a backend runs for guests of this architecture.
pub(crate) fn emulator(program: &str, arch: Arch) -> Tool {
    Tool { name: program.to_owned(), packages: arch::of(arch).qemu }
}

/// Installs `tools`.
///
/// # Errors
/// When they cannot be installed or the person says no: the message holds the line to type.
pub(crate) fn install(tools: &[Tool], progress: &mut Progress) -> anyhow::Result<()> {
    let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    let names = names.join(", ");
    let Some(manager) = Manager::find() else {
        return Err(Failure::machine(format!(
            "missing: {names}; no package manager that sudbox knows is here, so install them by hand"
        )));
    };
    let mut packages: Vec<&'static str> =
        tools.iter().flat_map(|tool| manager.packages(tool)).collect();
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return Err(Failure::machine(format!(
            "missing: {names}; no package is known for it, so install it by hand or name another \
             with --cc, --llvm or --cross-compile (CC=, LLVM=, CROSS_COMPILE=)"
        )));
    }
    let command = manager.command(&packages);
    let root = rustix::process::geteuid().is_root();
    let sudo = !root && is_on_path("sudo");
    let line = format!("{}{}", if root { "" } else { "sudo " }, command.join(" "));
    let refusal = || Failure::machine(format!("missing: {names}; install with: {line}"));

    let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    // Where there is no terminal there is nobody to ask, and root was given to get things done.
    let unattended =
        (root && (!terminal || in_ci() || in_container())) || (sudo && in_ci() && sudo_is_free());
    if !unattended && (!terminal || !(root || sudo) || !asked(&names, &line)?) {
        return Err(refusal());
    }
    progress.say("install", &packages.join(" "));
    if manager == Manager::Apt {
        // A machine straight from its image has no package lists, or old ones.
        let _ = run(&["apt-get", "update", "-qq"], sudo);
    }
    if run(&command, sudo)? {
        return Ok(());
    }
    Err(Failure::machine(format!("missing: {names}; installing them failed: {line}")))
}

/// Whether this is a run of a CI, which says so.
pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// Whether sudo asks for no password.
fn sudo_is_free() -> bool {
    let mut sudo = Command::new("sudo");
    sudo.args(["-n", "true"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    sudo.status().is_ok_and(|status| status.success())
}

/// Lets every user of this machine open /dev/kvm, and keeps udev from taking that back.
///
/// # Errors
/// When a command cannot be run.
pub(crate) fn open_kvm(progress: &mut Progress) -> anyhow::Result<()> {
    let sudo = !rustix::process::geteuid().is_root();
    if sudo && !(is_on_path("sudo") && sudo_is_free()) {
        progress.say("note", "/dev/kvm may not be opened, and there is no right to change that");
        return Ok(());
    }
    progress.say("setup", "opening /dev/kvm to every user of this runner");
    if is_on_path("udevadm") && Path::new("/etc/udev/rules.d").is_dir() {
        // The rule that packages bring says 0660; events that are still on their way come first.
        let rule = r#"echo 'KERNEL=="kvm", MODE="0666"' > /etc/udev/rules.d/99-sudbox-kvm.rules"#;
        run(&["sh", "-c", rule], sudo)?;
        let _ = run(&["udevadm", "control", "--reload"], sudo)?;
        let _ = run(&["udevadm", "settle", "--timeout=10"], sudo)?;
    }
    run(&["chmod", "0666", "/dev/kvm"], sudo)?;
    Ok(())
}

fn asked(names: &str, line: &str) -> anyhow::Result<bool> {
    let mut stderr = std::io::stderr();
    write!(stderr, "missing: {names}\n    {line}\nrun this now? [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn run(words: &[&str], sudo: bool) -> anyhow::Result<bool> {
    let mut all: Vec<&str> = if sudo { vec!["sudo"] } else { Vec::new() };
    all.extend(words);
    // The report alone goes to stdout, so a package manager's chatter goes to stderr.
    let chatter = std::io::stderr();
    let status = Command::new(all[0])
        .args(&all[1..])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::from(std::os::fd::AsFd::as_fd(&chatter).try_clone_to_owned()?))
        .status()?;
    Ok(status.success())
}

/// Whether this is a container or a throwaway VM made for jobs: there is nobody to ask.
fn in_container() -> bool {
    Path::new("/.dockerenv").exists()
        || Path::new("/run/.containerenv").exists()
        || std::env::var_os("container").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_is_told_to_leave_recommends_out() {
        let line = Manager::Apt.command(&["flex", "bison"]).join(" ");
        assert_eq!(line, "apt-get install -y --no-install-recommends flex bison");
    }

    #[test]
    fn every_manager_has_a_package_for_qemu() {
        for (manager, _) in Manager::ALL {
            for arch in Arch::ALL {
                assert_eq!(manager.packages(&qemu(arch)).count(), 1);
            }
        }
    }
}
