//! How long a whole run of `core` takes against a bare QEMU boot of the same kernel: microvm,
//! QEMU's and the kernel's defaults, and an init that restarts at once. The two in turn, so that a
//! machine whose speed drifts does not favour one; the figures say, they do not judge.

use anyhow::{Context, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use sudbox_images::{Cache, Monitor, Request, initramfs};
use sudbox_vmm::qemu;

/// Turns of each, after one that does not count.
const TURNS: usize = 11;

fn main() -> anyhow::Result<()> {
    let image = sudbox_images::kernel(&Cache::open()?, &Request::default(), &mut Told)?;
    let dir = tempfile::tempdir()?;
    let initramfs = bare_initramfs(dir.path())?;
    let mut bare = Vec::new();
    let mut tuned = Vec::new();
    let mut core = Vec::new();
    let vmlinux = image.vmlinux.as_deref().context("the kernel was not built from source")?;
    for turn in 0..=TURNS {
        let b = timed(bare_boot(vmlinux, &initramfs, ""))?;
        let tuned_line = format!("loglevel=5 {}", qemu::kernel_arguments(1));
        let t = timed(bare_boot(&image.kernel, &initramfs, &tuned_line))?;
        let mut command = sudbox_tests::sudbox();
        command.args(["run", "--cases", "core"]);
        let c = timed(command)?;
        if turn > 0 {
            bare.push(b);
            tuned.push(t);
            core.push(c);
        }
    }
    let ratios = |of: &[Duration]| {
        median(of.iter().zip(&bare).map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()).collect())
    };
    println!("{} turns of each; seconds: least, median, most", TURNS);
    row("bare boot, default command line", &bare);
    row("bare boot, sudbox's command line", &tuned);
    row("sudbox run --cases core", &core);
    println!("sudbox to the bare boot, median of the pairs: {:.2}", ratios(&core));
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

fn bare_boot(kernel: &Path, initramfs: &Path, more: &str) -> Command {
    let mut qemu = Command::new(qemu::program(sudbox_vmm::machine::Arch::X86_64));
    qemu.args(["-M", "microvm", "-accel", "tcg", "-m", "256", "-nodefaults", "-no-user-config"])
        .args(["-display", "none", "-no-reboot", "-serial", "stdio", "-kernel"])
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        // Without ACPI and a keyboard controller, a triple fault is the only way to restart.
        .args(["-append", &format!("console=ttyS0 reboot=t panic=-1 {more}")]);
    qemu
}

fn bare_initramfs(dir: &Path) -> anyhow::Result<PathBuf> {
    let program = dir.join("init");
    let status = Command::new("gcc")
        .args(["-O2", "-static", "-nostdlib", "-ffreestanding", "-o"])
        .arg(&program)
        .arg(sudbox_tests::root().join("tests/bench/restart.c"))
        .status()
        .context("gcc is needed for the bare init")?;
    ensure!(status.success(), "the bare init does not compile");
    let path = dir.join("initramfs");
    let entry = initramfs::Entry::file("init", 0o755, std::fs::read(&program)?);
    std::fs::write(&path, initramfs::pack(&[entry]))?;
    Ok(path)
}

/// Says on stderr what a long build does.
struct Told;

impl Monitor for Told {
    fn phase(&mut self, what: &str) {
        eprintln!("{what}");
    }
    fn progress(&mut self, _: u64, _: u64, _: &str) {}
    fn note(&mut self, what: &str) {
        eprintln!("{what}");
    }
    fn interrupt(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }
}
