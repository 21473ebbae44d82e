// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How long a run of `core`, and of every case, takes against a bare QEMU boot of the pinned kernel of
//! an architecture: QEMU's and the kernel's defaults, and an init that restarts at once. All in turn,
//! so that a machine whose speed drifts does not favour one; the figures say, they do not judge.
//!
//!     bench-harness [ARCHITECTURE]

use anyhow::{Context, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use sudbox_images::{Arch, Cache, Ctx, Request, initramfs};
use sudbox_tests::Told;
use sudbox_vmm::qemu;

/// Turns of each, after one that does not count.
const TURNS: usize = 11;

/// A boot without sudbox.
struct Bare {
    arch: Arch,
    compiler: &'static str,
    /// The machine and, where QEMU's default is no processor of 64 bits, the CPU.
    machine: &'static [&'static str],
    /// Without ACPI and a keyboard controller, a triple fault is the only way for microvm to restart.
    arguments: &'static str,
    /// The vmlinux is booted as it is, and not what sudbox makes of the kernel.
    vmlinux: bool,
}

fn bare_of(arch: Arch) -> anyhow::Result<Bare> {
    Ok(match arch {
        Arch::X86_64 => Bare {
            arch: Arch::X86_64,
            compiler: "gcc",
            machine: &["-M", "microvm"],
            arguments: "console=ttyS0 reboot=t panic=-1",
            vmlinux: true,
        },
        Arch::Aarch64 => Bare {
            arch: Arch::Aarch64,
            compiler: "aarch64-linux-gnu-gcc",
            machine: &["-M", "virt", "-cpu", "cortex-a72"],
            arguments: "console=ttyAMA0 panic=-1",
            vmlinux: false,
        },
        other => bail!("there is no bare boot of {} to compare with", other.name()),
    })
}

fn main() -> anyhow::Result<()> {
    let arch = std::env::args().nth(1).filter(|arch| !arch.is_empty());
    let arch = arch.map_or(Ok(Arch::default()), |arch| arch.parse())?;
    let plain = bare_of(arch)?;
    let request = Request { arch, ..Request::default() };
    let image = sudbox_images::kernel(&mut Ctx::new(&Cache::open()?, &mut Told), &request)?;
    let dir = tempfile::tempdir()?;
    let initramfs = bare_initramfs(&plain, dir.path())?;
    let (mut bare, mut tuned) = (Vec::new(), Vec::new());
    let (mut core, mut all) = (Vec::new(), Vec::new());
    let vmlinux = image.vmlinux.as_deref().context("the kernel was not built from source")?;
    let default = if plain.vmlinux { vmlinux } else { &image.kernel };
    for turn in 0..=TURNS {
        let b = timed(bare_boot(&plain, default, &initramfs, ""))?;
        let tuned_line = format!("loglevel=5 {}", qemu::kernel_arguments(plain.arch, 1));
        let t = timed(bare_boot(&plain, &image.kernel, &initramfs, &tuned_line))?;
        let run = |cases: &str| {
            let mut command = sudbox_tests::sudbox();
            command.args(["run", "--arch", arch.name(), "--cases", cases]);
            timed(command)
        };
        let c = run("core")?;
        let a = run("all")?;
        if turn > 0 {
            bare.push(b);
            tuned.push(t);
            core.push(c);
            all.push(a);
        }
    }
    let ratios = |of: &[Duration]| {
        median(of.iter().zip(&bare).map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()).collect())
    };
    println!("{} turns of each; seconds: least, median, most", TURNS);
    row("bare boot, default command line", &bare);
    row("bare boot, sudbox's command line", &tuned);
    row("sudbox run --cases core", &core);
    row("sudbox run, every case", &all);
    println!("core to the bare boot, median of the pairs:   {:.2}", ratios(&core));
    println!("its command line to the default, likewise:    {:.2}", ratios(&tuned));
    Ok(())
}

fn row(name: &str, times: &[Duration]) {
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

fn timed(mut command: Command) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    let took = started.elapsed();
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(took)
}

fn bare_boot(plain: &Bare, kernel: &Path, initramfs: &Path, more: &str) -> Command {
    let mut qemu = Command::new(qemu::program(plain.arch));
    qemu.args(plain.machine)
        .args(["-accel", "tcg", "-m", "256", "-nodefaults", "-no-user-config"])
        .args(["-display", "none", "-no-reboot", "-serial", "stdio", "-kernel"])
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", &format!("{} {more}", plain.arguments)]);
    qemu
}

fn bare_initramfs(plain: &Bare, dir: &Path) -> anyhow::Result<PathBuf> {
    let program = dir.join("init");
    let status = Command::new(plain.compiler)
        .args(["-O2", "-static", "-nostdlib", "-ffreestanding", "-o"])
        .arg(&program)
        .arg(sudbox_tests::root().join("tests/bench/restart.c"))
        .status()
        .with_context(|| format!("{} is needed for the bare init", plain.compiler))?;
    ensure!(status.success(), "the bare init does not compile");
    let path = dir.join("initramfs");
    let entry = initramfs::Entry::file("init", 0o755, std::fs::read(&program)?);
    std::fs::write(&path, initramfs::pack(&[entry]))?;
    Ok(path)
}
