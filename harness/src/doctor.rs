//! `sudbox doctor`: what this machine can do and what to install.

use crate::setup::{self, Manager};
use std::fmt::Write as _;
use std::process::Command;
use sudbox_images::{Cache, Request};
use sudbox_vmm::machine::Machine as _;
use sudbox_vmm::qemu::Qemu;

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
    let qemu = setup::qemu();
    if setup::on_path(&qemu.name) {
        line("QEMU", &version(&qemu.name));
    } else {
        missing.push(qemu);
    }
    line("machine", &Qemu::new().describe());
    line(
        "ccache",
        if setup::on_path("ccache") { "there" } else { "not there; builds work without it" },
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
    print!("{text}");
    Ok(code)
}

fn version(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.ok().and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_default()
}
