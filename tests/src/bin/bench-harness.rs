// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Compares the time of `sudbox run` with the time of a bare QEMU boot of the same pinned kernel. The
//! bare boot uses the defaults of QEMU and of the kernel, and an init that restarts the machine at once.
//!
//!     bench-harness [ARCHITECTURE]
//!
//! The measurements alternate, so that a drift of the machine's speed affects all of them. The program
//! prints the times and does not judge them.

use anyhow::{Context, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use sudbox_images::{Arch, Cache, Ctx, Request, initramfs};
use sudbox_tests::StderrMonitor;
use sudbox_vmm::qemu;

/// Number of measured rounds, after a round of warm-up.
const ROUNDS: usize = 11;

/// Configuration of a boot without sudbox.
struct BareBoot {
    arch: Arch,
    /// C compiler for the bare init.
    compiler: &'static str,
    /// QEMU's `-M`, and `-cpu` if the default CPU has 32 bits.
    machine: &'static [&'static str],
    /// Kernel command line. `reboot=t`: without ACPI and a keyboard controller, microvm can only
    /// restart by a triple fault.
    cmdline: &'static str,
    /// Whether vmlinux is booted instead of the image that sudbox boots.
    boots_vmlinux: bool,
}

fn bare_boot_of(arch: Arch) -> anyhow::Result<BareBoot> {
    Ok(match arch {
        Arch::X86_64 => BareBoot {
            arch: Arch::X86_64,
            compiler: "gcc",
            machine: &["-M", "microvm"],
            cmdline: "console=ttyS0 reboot=t panic=-1",
            boots_vmlinux: true,
        },
        Arch::Aarch64 => BareBoot {
            arch: Arch::Aarch64,
            compiler: "aarch64-linux-gnu-gcc",
            machine: &["-M", "virt", "-cpu", "cortex-a72"],
            cmdline: "console=ttyAMA0 panic=-1",
            boots_vmlinux: false,
        },
        other => bail!("there is no bare boot of {} to compare with", other.name()),
    })
}

fn main() -> anyhow::Result<()> {
    let arch = std::env::args().nth(1).filter(|arch| !arch.is_empty());
    let arch = arch.map_or(Ok(Arch::default()), |arch| arch.parse())?;
    let bare_boot = bare_boot_of(arch)?;
    let request = Request { arch, ..Request::default() };
    let image =
        sudbox_images::kernel(&mut Ctx::new(&Cache::open()?, &mut StderrMonitor), &request)?;
    let dir = tempfile::tempdir()?;
    let initramfs = bare_initramfs(&bare_boot, dir.path())?;
    let (mut bare, mut tuned) = (Vec::new(), Vec::new());
    let (mut core, mut all) = (Vec::new(), Vec::new());
    let vmlinux = image.vmlinux.as_deref().context("the kernel was not built from source")?;
    let bare_kernel = if bare_boot.boots_vmlinux { vmlinux } else { &image.kernel };
    let tuned_cmdline = format!("loglevel=5 {}", qemu::kernel_arguments(arch));
    for round in 0..=ROUNDS {
        let bare_time = measure(bare_boot.command(bare_kernel, &initramfs, ""))?;
        let tuned_time = measure(bare_boot.command(&image.kernel, &initramfs, &tuned_cmdline))?;
        let run = |cases: &str| {
            let mut command = sudbox_tests::sudbox();
            command.args(["run", "--arch", arch.name(), "--cases", cases]);
            measure(command)
        };
        let core_time = run("core")?;
        let all_time = run("all")?;
        if round > 0 {
            bare.push(bare_time);
            tuned.push(tuned_time);
            core.push(core_time);
            all.push(all_time);
        }
    }
    let ratios = |times: &[Duration]| {
        median(times.iter().zip(&bare).map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()).collect())
    };
    println!("{ROUNDS} rounds; seconds: minimum, median, maximum");
    print_row("bare boot, default command line", &bare);
    print_row("bare boot, sudbox's command line", &tuned);
    print_row("sudbox run --cases core", &core);
    print_row("sudbox run, every case", &all);
    println!("core / bare boot, median of the rounds:                      {:.2}", ratios(&core));
    println!("sudbox's / default command line, median of the rounds:       {:.2}", ratios(&tuned));
    Ok(())
}

fn print_row(name: &str, times: &[Duration]) {
    let mut seconds: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
    seconds.sort_by(f64::total_cmp);
    println!(
        "{name:34} {:6.3} {:6.3} {:6.3}",
        seconds[0],
        median(seconds.clone()),
        seconds[seconds.len() - 1]
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs a command, which must succeed, and returns its wall-clock time.
fn measure(mut command: Command) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    let elapsed = started.elapsed();
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(elapsed)
}

impl BareBoot {
    /// QEMU with this kernel and initramfs. `extra_arguments` are appended to the command line of the
    /// kernel.
    fn command(&self, kernel: &Path, initramfs: &Path, extra_arguments: &str) -> Command {
        let mut qemu = Command::new(qemu::program(self.arch));
        qemu.args(self.machine)
            .args(["-accel", "tcg", "-m", "256", "-nodefaults", "-no-user-config"])
            .args(["-display", "none", "-no-reboot", "-serial", "stdio", "-kernel"])
            .arg(kernel)
            .arg("-initrd")
            .arg(initramfs)
            .args(["-append", &format!("{} {extra_arguments}", self.cmdline)]);
        qemu
    }
}

/// Writes an initramfs with the init that restarts at once.
fn bare_initramfs(bare_boot: &BareBoot, dir: &Path) -> anyhow::Result<PathBuf> {
    let program = dir.join("init");
    let status = Command::new(bare_boot.compiler)
        .args(["-O2", "-static", "-nostdlib", "-ffreestanding", "-o"])
        .arg(&program)
        .arg(sudbox_tests::root().join("tests/bench/restart.c"))
        .status()
        .with_context(|| format!("{} is needed for the bare init", bare_boot.compiler))?;
    ensure!(status.success(), "the bare init does not compile");
    let path = dir.join("initramfs");
    let entry = initramfs::Entry::file("init", 0o755, std::fs::read(&program)?);
    std::fs::write(&path, initramfs::pack(&[entry]))?;
    Ok(path)
}
