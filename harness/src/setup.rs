// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Installs missing tools with the package manager, or prints the command that installs them.
//!
//! A root process installs without asking in CI, in a container, or without a terminal. With a sudo
//! that needs no password, sudbox installs without asking only in CI. In all other cases sudbox
//! asks on a terminal. Without root or sudo, or without a terminal, sudbox only prints the command.

use crate::arch;
use crate::failure::Failure;
use crate::output;
use crate::output::progress::Progress;
use std::io::{BufRead, IsTerminal};
use std::path::Path;
use std::process::{Command, Stdio};
use sudbox_images::{Arch, Packages, Tool, is_on_path};

/// A distribution's package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PackageManager {
    Apt,
    Dnf,
    Pacman,
    Zypper,
}

impl PackageManager {
    const ALL: [(PackageManager, &'static str); 4] = [
        (PackageManager::Apt, "apt-get"),
        (PackageManager::Dnf, "dnf"),
        (PackageManager::Pacman, "pacman"),
        (PackageManager::Zypper, "zypper"),
    ];

    /// The package manager of this machine.
    pub(crate) fn detect() -> Option<PackageManager> {
        PackageManager::ALL
            .iter()
            .find(|(_, program)| is_on_path(program))
            .map(|(manager, _)| *manager)
    }

    /// The packages that contain the tool in this distribution; empty if there are none.
    pub(crate) fn packages(self, tool: &Tool) -> impl Iterator<Item = &'static str> {
        let names = match self {
            PackageManager::Apt => tool.packages.apt,
            PackageManager::Dnf => tool.packages.dnf,
            PackageManager::Pacman => tool.packages.pacman,
            PackageManager::Zypper => tool.packages.zypper,
        };
        names.split_whitespace()
    }

    /// The command that installs `packages`, as a list of arguments.
    pub(crate) fn install_command(self, packages: &[&'static str]) -> Vec<&'static str> {
        // Recommended packages are not needed, and some cannot be installed.
        let mut command = match self {
            PackageManager::Apt => vec!["apt-get", "install", "-y", "--no-install-recommends"],
            PackageManager::Dnf => vec!["dnf", "install", "-y", "--setopt=install_weak_deps=False"],
            PackageManager::Pacman => vec!["pacman", "-S", "--needed", "--noconfirm"],
            PackageManager::Zypper => {
                vec!["zypper", "--non-interactive", "install", "--no-recommends"]
            }
        };
        command.extend(packages);
        command
    }
}

/// QEMU for guests of this architecture.
pub(crate) fn qemu_tool(arch: Arch) -> Tool {
    let name = sudbox_vmm::qemu::program(arch).to_owned();
    Tool { name, packages: arch::target_of(arch).qemu_packages }
}

/// The program that a backend runs for guests of this architecture. Without packages if it is not QEMU.
pub(crate) fn backend_program(program: &str, arch: Arch) -> Tool {
    let qemu = qemu_tool(arch);
    if program == qemu.name {
        return qemu;
    }
    let packages = Packages { apt: "", dnf: "", pacman: "", zypper: "" };
    Tool { name: program.to_owned(), packages }
}

/// Installs `tools`.
///
/// # Errors
/// If the tools cannot be installed, or the user declines. The message has the command that
/// installs them.
pub(crate) fn install(tools: &[Tool], progress: &mut Progress) -> anyhow::Result<()> {
    let tool_names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    let tool_names = tool_names.join(", ");
    let Some(manager) = PackageManager::detect() else {
        return Err(Failure::machine(format!(
            "missing: {tool_names}; no package manager that sudbox knows is here, so install them by hand"
        )));
    };
    let mut packages: Vec<&'static str> =
        tools.iter().flat_map(|tool| manager.packages(tool)).collect();
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return Err(Failure::machine(format!(
            "missing: {tool_names}; no package is known for it, so install it by hand or name another \
             with --cc, --llvm or --cross-compile (CC=, LLVM=, CROSS_COMPILE=)"
        )));
    }
    let command = manager.install_command(&packages);
    let is_root = rustix::process::geteuid().is_root();
    let use_sudo = !is_root && is_on_path("sudo");
    let command_line = format!("{}{}", if is_root { "" } else { "sudo " }, command.join(" "));
    let refusal =
        || Failure::machine(format!("missing: {tool_names}; install with: {command_line}"));

    let has_terminal = std::io::stdin().is_terminal() && output::stderr_is_terminal();
    let is_unasked = installs_unasked(is_root, is_in_ci(), is_in_container())
        || (use_sudo && is_in_ci() && sudo_needs_no_password());
    if !is_unasked
        && (!has_terminal || !(is_root || use_sudo) || !ask_user(&tool_names, &command_line)?)
    {
        return Err(refusal());
    }
    progress.print("install", &packages.join(" "));
    if manager == PackageManager::Apt {
        // The package lists of a fresh machine are missing or old.
        let _ = run_command(&["apt-get", "update", "-qq"], use_sudo);
    }
    if run_command(&command, use_sudo)? {
        return Ok(());
    }
    Err(Failure::machine(format!("missing: {tool_names}; installing them failed: {command_line}")))
}

/// Whether root installs without a question: in CI and in a container, which have no user to ask and are thrown
/// away. Elsewhere a run without a terminal, such as a cron job, changes no machine.
fn installs_unasked(is_root: bool, is_in_ci: bool, is_in_container: bool) -> bool {
    is_root && (is_in_ci || is_in_container)
}

/// Whether this process runs in CI, by the variable `CI`.
pub(crate) fn is_in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// Whether sudo asks for no password.
fn sudo_needs_no_password() -> bool {
    let mut sudo = Command::new("sudo");
    sudo.args(["-n", "true"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    sudo.status().is_ok_and(|status| status.success())
}

/// Lets every user of this machine open /dev/kvm, and adds a udev rule that preserves this
/// permission.
///
/// # Errors
/// If a command cannot be run.
pub(crate) fn open_kvm_to_all_users(progress: &mut Progress) -> anyhow::Result<()> {
    let use_sudo = !rustix::process::geteuid().is_root();
    if use_sudo && !(is_on_path("sudo") && sudo_needs_no_password()) {
        progress.print("note", "/dev/kvm cannot be opened, and changing that needs root");
        return Ok(());
    }
    progress.print("setup", "opening /dev/kvm to every user of this runner");
    if is_on_path("udevadm") && Path::new("/etc/udev/rules.d").is_dir() {
        // The udev rule of the distribution sets 0660. `settle` ends pending events, which could
        // undo the chmod.
        let rule = r#"echo 'KERNEL=="kvm", MODE="0666"' > /etc/udev/rules.d/99-sudbox-kvm.rules"#;
        run_command(&["sh", "-c", rule], use_sudo)?;
        let _ = run_command(&["udevadm", "control", "--reload"], use_sudo)?;
        let _ = run_command(&["udevadm", "settle", "--timeout=10"], use_sudo)?;
    }
    if !run_command(&["chmod", "0666", "/dev/kvm"], use_sudo)? {
        progress.print("note", "/dev/kvm stays closed: chmod failed");
    }
    Ok(())
}

fn ask_user(tool_names: &str, command_line: &str) -> anyhow::Result<bool> {
    output::ask(&format!("missing: {tool_names}\n    {command_line}\nrun this now? [y/N]"))?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn run_command(command: &[&str], use_sudo: bool) -> anyhow::Result<bool> {
    let mut arguments: Vec<&str> = if use_sudo { vec!["sudo"] } else { Vec::new() };
    arguments.extend(command);
    // stdout is for the report, so the output of the package manager goes to stderr.
    let status = Command::new(arguments[0])
        .args(&arguments[1..])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::from(output::stderr_descriptor()?))
        .status()?;
    Ok(status.success())
}

/// Whether this process runs in a container.
fn is_in_container() -> bool {
    Path::new("/.dockerenv").exists()
        || Path::new("/run/.containerenv").exists()
        || std::env::var_os("container").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sudbox_vmm::backend::{BACKENDS, Requirements};

    #[test]
    fn apt_installs_no_recommended_packages() {
        let line = PackageManager::Apt.install_command(&["flex", "bison"]).join(" ");
        assert_eq!(line, "apt-get install -y --no-install-recommends flex bison");
    }

    #[test]
    fn root_installs_unasked_in_ci_and_in_containers_only() {
        assert!(installs_unasked(true, true, false) && installs_unasked(true, false, true));
        assert!(!installs_unasked(true, false, false), "a cron job of root");
        assert!(!installs_unasked(false, true, true));
    }

    #[test]
    fn every_manager_has_a_package_for_the_program_of_every_backend() {
        for (backend, arch) in
            BACKENDS.iter().flat_map(|backend| Arch::ALL.map(|arch| (backend, arch)))
        {
            let requirements = Requirements {
                arch,
                names_cpu_model: false,
                waits_for_gdb: false,
                clock_counts_instructions: false,
            };
            let Ok(offer) = (backend.offer)(&requirements) else { continue };
            let Some(program) = offer.required_program else { continue };
            for (manager, _) in PackageManager::ALL {
                let packages = manager.packages(&backend_program(program, arch)).count();
                assert_eq!(packages, 1, "{program} of {} for {arch}", backend.name);
            }
        }
    }

    #[test]
    fn a_program_other_than_qemu_is_not_in_qemus_packages() {
        let tool = backend_program("cloud-hypervisor", Arch::X86_64);
        assert_eq!(PackageManager::Apt.packages(&tool).count(), 0);
    }
}
