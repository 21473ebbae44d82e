// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox doctor`: what this machine can do and what to install.

use crate::output::{self, progress::Progress};
use crate::setup::{self, Manager};
use std::fmt::Write as _;
use std::process::Command;
use sudbox_images::{Arch, Cache, Request};
use sudbox_vmm::backend::{self, Requirements};
use sudbox_vmm::machine::Discovery;
use sudbox_vmm::probe::{self, Finding};

/// Prints the findings; the exit code is 0 if a kernel can be built and judged here, else 128.
pub(crate) fn doctor() -> anyhow::Result<u8> {
    let mut text = String::new();
    let mut line = |label: &str, what: &str| {
        let _ = writeln!(text, "{label:>9}  {what}");
    };
    line("sudbox", env!("CARGO_PKG_VERSION"));
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    line("CPUs", &cpus.to_string());
    let mut missing = Vec::new();
    match Cache::open() {
        Ok(cache) => {
            line("cache", &cache.root().display().to_string());
            missing = sudbox_images::missing_tools(&cache, &Request::default())?;
        }
        Err(error) => line("cache", &format!("not usable: {error}")),
    }
    let probe = probe::cached();
    line("KVM", &format!("{}; {:.1} ms", probe.finding, probe.took.as_secs_f64() * 1000.0));
    for step in &probe.trace {
        line("", step);
    }
    let own = Arch::default();
    let offer = backend::offer(
        None,
        &Requirements { arch: own, cpu_model: false, gdb: false, instruction_clock: false },
    )?;
    let qemu = setup::qemu(own);
    if sudbox_images::is_on_path(&qemu.name) {
        line("QEMU", &version(&qemu.name));
    } else if offer.program.is_some() {
        missing.push(qemu);
    } else {
        line("QEMU", "not there; needed for --gdb and --cpu-model only");
    }
    line("machine", &offer.machine.describe(Discovery::default()));
    line(
        "ccache",
        if sudbox_images::is_on_path("ccache") {
            "there"
        } else {
            "not there; builds work without it"
        },
    );

    let code = if missing.is_empty() {
        line("missing", "nothing");
        0
    } else {
        for tool in &missing {
            line("missing", &tool.name);
        }
        if let Some(manager) = Manager::find() {
            let packages: Vec<&'static str> =
                missing.iter().flat_map(|tool| manager.packages(tool)).collect();
            line("install", &manager.command(&packages).join(" "));
        }
        128
    };
    output::print(&text)?;
    Ok(code)
}

/// Installs what is missing, then says what this machine can do. Where a VM could run on KVM if only
/// /dev/kvm could be opened, CI has it opened: after the packages, because installing those of QEMU
/// makes udev set its permissions anew.
pub(crate) fn set_up() -> anyhow::Result<u8> {
    let mut progress = Progress::new();
    let mut missing = sudbox_images::missing_tools(&Cache::open()?, &Request::default())?;
    // Also where KVM works: for CPU models, gdb and what the microVM lacks.
    let qemu = setup::qemu(Arch::default());
    if !sudbox_images::is_on_path(&qemu.name) {
        missing.push(qemu);
    }
    if !missing.is_empty() {
        setup::install(&missing, &mut progress)?;
    }
    if matches!(probe::probe().finding, Finding::NoPermission { .. }) && setup::in_ci() {
        setup::open_kvm(&mut progress)?;
    }
    doctor()
}

fn version(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.ok().and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_default()
}
