// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox doctor` and `sudbox setup`: examine this machine and install missing tools.

use crate::output::{self, progress::Progress};
use crate::setup::{self, PackageManager};
use std::process::Command;
use sudbox_images::{Arch, Cache, Request};
use sudbox_report::Form;
use sudbox_report::machine::MachineReport;
use sudbox_vmm::backend::{self, Requirements};
use sudbox_vmm::machine::DeviceDiscovery;
use sudbox_vmm::probe::{self, Finding};

/// Prints the findings. Returns the exit code: 0 if a kernel can be built and judged here, else
/// 128.
pub(crate) fn doctor(format: &Form<MachineReport>) -> anyhow::Result<u8> {
    let report = examine_machine()?;
    output::print(&(format.render)(&report, output::screen()))?;
    Ok(if report.missing_tools.is_empty() { 0 } else { 128 })
}

/// Examines this machine.
fn examine_machine() -> anyhow::Result<MachineReport> {
    let mut missing_tools = Vec::new();
    let cache = match Cache::open() {
        Ok(cache) => {
            missing_tools = sudbox_images::missing_tools(&cache, &Request::default())?;
            cache.root().display().to_string()
        }
        Err(error) => format!("not usable: {error}"),
    };
    let probe = probe::cached_probe();
    let host_arch = Arch::default();
    let offer = backend::offer(
        None,
        &Requirements {
            arch: host_arch,
            names_cpu_model: false,
            waits_for_gdb: false,
            clock_counts_instructions: false,
        },
    )?;
    let qemu_tool = setup::qemu_tool(host_arch);
    let qemu = if sudbox_images::is_on_path(&qemu_tool.name) {
        version_line(&qemu_tool.name)
    } else if offer.required_program.is_some() {
        let name = qemu_tool.name.clone();
        missing_tools.push(qemu_tool);
        format!("{name} is missing")
    } else {
        "missing; needed for --gdb and --cpu-model only".to_owned()
    };
    let install_command =
        PackageManager::detect().filter(|_| !missing_tools.is_empty()).map(|manager| {
            let packages: Vec<&'static str> =
                missing_tools.iter().flat_map(|tool| manager.packages(tool)).collect();
            manager.install_command(&packages).join(" ")
        });
    Ok(MachineReport {
        schema: 1,
        sudbox_version: env!("CARGO_PKG_VERSION").to_owned(),
        cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        cache,
        kvm: probe.finding.to_string(),
        kvm_probe_micros: u64::try_from(probe.duration.as_micros()).unwrap_or(u64::MAX),
        kvm_probe_steps: probe.trace.clone(),
        qemu,
        machine: offer.machine.describe(DeviceDiscovery::default()),
        has_ccache: sudbox_images::is_on_path("ccache"),
        missing_tools: missing_tools.into_iter().map(|tool| tool.name).collect(),
        install_command,
    })
}

/// Installs missing tools, then prints the findings. In CI, also opens /dev/kvm to all users if
/// only permissions are missing. The permissions are set last, because installing QEMU makes udev
/// reset them.
pub(crate) fn set_up(format: &Form<MachineReport>) -> anyhow::Result<u8> {
    let mut progress = Progress::new();
    let mut missing_tools = sudbox_images::missing_tools(&Cache::open()?, &Request::default())?;
    // QEMU is needed even if KVM works: for CPU models, for gdb, and for kernels that the microVM
    // cannot boot.
    let qemu = setup::qemu_tool(Arch::default());
    if !sudbox_images::is_on_path(&qemu.name) {
        missing_tools.push(qemu);
    }
    if !missing_tools.is_empty() {
        setup::install(&missing_tools, &mut progress)?;
    }
    if matches!(probe::probe().finding, Finding::NoPermission { .. }) && setup::is_in_ci() {
        setup::open_kvm_to_all_users(&mut progress)?;
    }
    doctor(format)
}

fn version_line(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.ok().and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_default()
}
