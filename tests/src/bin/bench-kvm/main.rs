// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Compares the microVM with QEMU's `microvm` or `virt` on the same KVM.
//!
//! Both run in turn in one boot of level 1, with the same kernel, initramfs, command line and memory
//! backing (docs/kvm.md). The program prints figures and does not judge them.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use board::Board;
use sudbox_images::Arch;
use sudbox_images::initramfs::{self, Entry};
use sudbox_tests::level1::wire::{Inspection, Program};
use sudbox_tests::level1::{Files, Level1, Level1Options, program};
use sudbox_vmm::qemu;

mod board;

/// Number of measured rounds, after a round of warm-up.
const ROUNDS: usize = 5;

/// Guest memory in MiB, as in `vmm/examples/boot.rs`.
const MEMORY_MIB: u64 = 128;

/// Trace events with which exits are counted.
const COUNTS: [&str; 2] = ["kvm/kvm_exit", "kvm/kvm_userspace_exit"];

/// Path in level 1 of the initramfs. Its init triggers the event [`Board::mark`].
const INITRAMFS: &str = "/bench/initramfs";

/// The VMM that boots the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vmm {
    MicroVm,
    Qemu,
}

const VMMS: [Vmm; 2] = [Vmm::MicroVm, Vmm::Qemu];

/// Figures of one boot from the VMM's start to the mark of the guest's init.
#[derive(Clone, Debug, Default)]
struct Boot {
    /// Seconds from the VMM's exec to the first entry into the guest.
    entry: f64,
    /// Seconds from the VMM's exec to the mark.
    init: f64,
    /// Exits by reason.
    exits: BTreeMap<String, usize>,
    /// Exits to user space by reason.
    userspace_exits: BTreeMap<String, usize>,
    /// The guest's accesses by device or register, emulated in KVM or in user space.
    accesses: BTreeMap<String, usize>,
}

impl Boot {
    /// Number of exits except those of [`Board::excluded_exits`].
    fn guest_exits(&self, board: &Board) -> usize {
        let excluded = board.excluded_exits.iter().filter_map(|name| self.exits.get(*name));
        sum(&self.exits) - excluded.sum::<usize>()
    }
}

/// Figures of a VM whose init sleeps.
#[derive(Clone, Debug)]
struct IdleFigures {
    /// Resident memory of the VMM without the guest's memory, in KiB.
    resident_kib: u64,
    /// KVM's counters in debugfs.
    counters: BTreeMap<&'static str, u64>,
}

fn main() -> anyhow::Result<()> {
    let arch = std::env::args().nth(1).filter(|arch| !arch.is_empty());
    let arch = arch.map_or(Ok(Arch::default()), |arch| arch.parse())?;
    let bench =
        Benchmark::new(board::for_arch(arch).context("the microVM is not for this architecture")?)?;

    let mut rows: BTreeMap<&str, [Vec<f64>; 2]> = BTreeMap::new();
    let mut counted_boots: [Vec<Boot>; 2] = Default::default();
    for round in 0..=ROUNDS {
        for (index, vmm) in VMMS.into_iter().enumerate() {
            // Counting exits takes time, so times and counts come from different boots.
            let timed_boot = bench.trace_boot(vmm, &[])?;
            let counted_boot = bench.trace_boot(vmm, &COUNTS)?;
            let run_seconds = bench.time_run(vmm)?;
            if round > 0 {
                let userspace_exits = sum(&counted_boot.userspace_exits);
                let guest_exits = counted_boot.guest_exits(bench.board);
                let mut add = |name, value| rows.entry(name).or_default()[index].push(value);
                add("s, start to first guest instruction", timed_boot.entry);
                add("s, start to guest init", timed_boot.init);
                add("s, start to verdict, core cases", run_seconds);
                add("exits to user space until init", count_as_f64(userspace_exits));
                add("exits but for interrupts, memory", count_as_f64(guest_exits));
                counted_boots[index].push(counted_boot);
            }
        }
    }
    println!("{ROUNDS} rounds in level 1: minimum, median, maximum");
    println!("{:36}{:^28}{:^28}{:>8}", "", "microVM", "QEMU", "ratio");
    for (name, [microvm, qemu]) in &rows {
        println!(
            "{name:36}{}{}{:8.3}",
            format_row(microvm),
            format_row(qemu),
            ratio(microvm, qemu)
        );
    }
    for (index, vmm) in VMMS.into_iter().enumerate() {
        counted_boots[index].sort_by_key(|boot| boot.guest_exits(bench.board));
        let boot = &counted_boots[index][ROUNDS / 2];
        let accesses = bench.trace_boot(vmm, bench.board.accesses)?.accesses;
        let idle = bench.measure_idle(vmm, median(&rows["s, start to guest init"][index]))?;
        println!("\n{vmm:?}, until guest init, the median round");
        println!("  exits to user space       {}", histogram(&boot.userspace_exits));
        println!("  all exits                 {}", histogram(&boot.exits));
        println!("  accesses                  {}", histogram(&accesses));
        println!("  a second later, debugfs   {:?}", idle.counters);
        println!("  resident less guest's     {} KiB", idle.resident_kib);
    }

    let (boot, restore) = bench.time_to_first_case()?;
    println!("\nto the first case, in the microVM  minimum, median, maximum");
    println!("booted                             {}", format_row(&boot));
    println!("restored                           {}", format_row(&restore));
    println!("ratio                               {:.3}", ratio(&restore, &boot));
    Ok(())
}

fn sum(counts: &BTreeMap<String, usize>) -> usize {
    counts.values().sum()
}

/// A count as a table value.
fn count_as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The sum, and the parts in descending order.
fn histogram(counts: &BTreeMap<String, usize>) -> String {
    let mut sorted: Vec<_> = counts.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let parts: Vec<_> = sorted.iter().map(|(name, count)| format!("{name} {count}")).collect();
    format!("{:5}: {}", sum(counts), parts.join(", "))
}

fn tracing_file(file: &str) -> String {
    format!("/sys/kernel/tracing/{file}")
}

/// Level 1 with both VMMs, and the kernel that they boot.
struct Benchmark {
    board: &'static Board,
    level1: Level1,
    kernel: String,
    /// The kernel as argument of `sudbox run`; empty for the pinned kernel in the cache.
    kernel_argument: Vec<String>,
}

impl Benchmark {
    fn new(board: &'static Board) -> anyhow::Result<Benchmark> {
        let host = board.host;
        let dir = tempfile::tempdir()?;
        let init = dir.path().join("init");
        let compiler = host.cross_tools.as_ref().map_or("gcc", |cross_tools| cross_tools.compiler);
        let status = Command::new(compiler)
            .args(["-O2", "-static", "-nostdlib", "-ffreestanding", "-o"])
            .arg(&init)
            .arg(sudbox_tests::root().join("tests/bench/mark.c"))
            .status()
            .with_context(|| format!("{compiler} is needed for the guest's init"))?;
        ensure!(status.success(), "the guest's init does not compile");
        let init = Entry::file("init", 0o755, std::fs::read(init)?);
        let mut files = Files::default();
        let (kernel, kernel_argument) = if host.cross_tools.is_some() {
            let kernel = files.add_foreign_sudbox(host).to_owned();
            (kernel.clone(), vec![kernel])
        } else {
            (files.add_sudbox().to_str().context("a cache key is ASCII")?.to_owned(), Vec::new())
        };
        files.add_qemu(host);
        files.build_and_add(
            host,
            &["--package", "sudbox-vmm", "--example", "boot"],
            "examples/boot",
            "/bin/boot",
        );
        files.build_and_add(
            host,
            &["--package", "sudbox-tests", "--bin", "level1-restore"],
            "level1-restore",
            "/bin/level1-restore",
        );
        files.add(INITRAMFS, 0o644, initramfs::pack(&[init]));
        let level1 = Level1::boot(Level1Options {
            host,
            files,
            nested_paging: true,
            ..Level1Options::default()
        });
        level1.write_file(&tracing_file("trace_clock"), "mono");
        level1.write_file(&tracing_file("buffer_size_kb"), "65536");
        Ok(Benchmark { board, level1, kernel, kernel_argument })
    }

    /// The program that boots the kernel with [`INITRAMFS`]. `extra_arguments` are appended to the
    /// command line of the kernel.
    fn boot_program(&self, vmm: Vmm, extra_arguments: &str) -> Program {
        // `/bin/boot` adds the arguments for the devices of the microVM.
        let cmdline = format!("loglevel=5 {extra_arguments}");
        match vmm {
            Vmm::MicroVm => program(&["/bin/boot", "kvm", &self.kernel, INITRAMFS, &cmdline]),
            Vmm::Qemu => program(&[
                qemu::program(self.board.host.arch),
                "-M",
                &format!("{},memory-backend=ram", self.board.machine),
                "-accel",
                "kvm",
                "-cpu",
                "host",
                "-m",
                &format!("{MEMORY_MIB}M"),
                "-object",
                &format!("memory-backend-memfd,id=ram,size={MEMORY_MIB}M,share=on"),
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-no-reboot",
                "-serial",
                "stdio",
                "-kernel",
                &self.kernel,
                "-initrd",
                INITRAMFS,
                "-append",
                &format!("{} {cmdline}", self.board.cmdline),
            ]),
        }
    }

    /// Boots the kernel, and records these trace events and the events for the times up to the mark.
    /// Recording an event takes time, so a measurement records only the events that it needs.
    fn trace_boot(&self, vmm: Vmm, events: &[&str]) -> anyhow::Result<Boot> {
        let mark = format!("kvm/{}", self.board.mark.0);
        let time_events = ["sched/sched_process_exec", "kvm/kvm_entry", &mark];
        let enable_files = time_events
            .iter()
            .chain(events)
            .map(|event| tracing_file(&format!("events/{event}/enable")));
        self.level1.write_file(&tracing_file("trace"), "");
        enable_files.clone().for_each(|file| self.level1.write_file(&file, "1"));
        let ended = self.level1.run_all(vec![self.boot_program(vmm, "")]).remove(0);
        enable_files.for_each(|file| self.level1.write_file(&file, "0"));
        let trace = self.level1.read_file(&tracing_file("trace"));
        let (kept, written) = entry_counts(&trace).context("the trace has no entry counts")?;
        ensure!(kept == written, "the trace buffer has only {kept} of {written} events");
        parse_trace(&trace, self.board)
            .with_context(|| format!("{vmm:?}: {}{}", ended.stdout, ended.stderr))
    }

    /// Seconds that `sudbox run --cases core` takes.
    fn time_run(&self, vmm: Vmm) -> anyhow::Result<f64> {
        let backend = match vmm {
            Vmm::MicroVm => "kvm",
            Vmm::Qemu => "qemu",
        };
        let program = self.run_program(&["--cases", "core", "--backend", backend]);
        let ended = self.level1.run_all(vec![program]).remove(0);
        ensure!(ended.code == 0, "{vmm:?}: {}\n{}", ended.stdout, ended.stderr);
        Ok(ended.elapsed.as_secs_f64())
    }

    /// `sudbox run` of the kernel with these arguments.
    fn run_program(&self, arguments: &[&str]) -> Program {
        let kernel = self.kernel_argument.iter().map(String::as_str);
        program(
            &["sudbox", "run"].iter().chain(arguments).copied().chain(kernel).collect::<Vec<_>>(),
        )
    }

    /// Seconds until the first case, of booted VMs and of restored VMs.
    fn time_to_first_case(&self) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
        // The report folder of a run contains its initramfs.
        let run = self.level1.run_all(vec![self.run_program(&["--cases", "boot"])]).remove(0);
        ensure!(run.code == 0, "{}\n{}", run.stdout, run.stderr);
        let folder = run.stderr.lines().find_map(|line| line.trim().strip_prefix("report "));
        let folder = folder.context("the run names no report folder")?.trim();
        let initramfs = format!("{folder}/initramfs.cpio");
        let rounds = ROUNDS.to_string();
        let result =
            self.level1.run(&["level1-restore", &self.kernel, &initramfs, &rounds]).expect_code(0);
        let times = result.stdout.lines().map(|line| {
            let (boot, restore) = line.split_once(' ').context("two times")?;
            Ok((boot.parse::<f64>()?, restore.parse::<f64>()?))
        });
        Ok(times.collect::<anyhow::Result<Vec<_>>>()?.into_iter().unzip())
    }

    /// Boots a VM and measures it while its init sleeps. `seconds_to_init` is the usual time from start
    /// to init.
    fn measure_idle(&self, vmm: Vmm, seconds_to_init: f64) -> anyhow::Result<IdleFigures> {
        // The kernel passes the unknown argument `hold` to init. With any argument, init sleeps
        // (tests/bench/mark.c).
        let mut program = self.boot_program(vmm, "hold");
        let counters = self.board.counters;
        let mut files = vec!["/proc/child/smaps".to_owned()];
        files.extend(counters.iter().map(|name| format!("/sys/kernel/debug/kvm/{name}")));
        // A second after init in a boot that takes half as long again as usual.
        let after = Duration::from_secs_f64(seconds_to_init * 1.5 + 1.0);
        program.inspection = Some(Inspection { after, files });
        let ended = self.level1.run_all(vec![program]).remove(0);
        let contents =
            ended.inspected.with_context(|| format!("{vmm:?} had ended: {}", ended.stderr))?;
        let (smaps, counts) = contents.split_first().context("no file was inspected")?;
        let counters = counters.iter().zip(counts);
        let counters = counters.map(|(name, text)| Ok((*name, text.trim().parse()?)));
        Ok(IdleFigures {
            resident_kib: resident_kib_of(smaps).with_context(|| format!("{vmm:?}: {smaps}"))?,
            counters: counters.collect::<anyhow::Result<_>>()?,
        })
    }
}

/// Resident memory in KiB of all mappings in `smaps` except the guest's memory; `None` unless exactly
/// one mapping has the size of the guest's memory.
fn resident_kib_of(smaps: &str) -> Option<u64> {
    let (mut size, mut total, mut guest_mappings) = (0, 0, 0);
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let (name, value) = (words.next(), words.next().and_then(|value| value.parse().ok()));
        match (name, value) {
            (Some("Size:"), Some(value)) => size = value,
            (Some("Rss:"), Some(_)) if size == MEMORY_MIB * 1024 => guest_mappings += 1,
            (Some("Rss:"), Some(value)) => total += value,
            _ => {}
        }
    }
    (guest_mappings == 1).then_some(total)
}

/// Numbers of entries in the buffer and of entries written, from a trace's line
/// `# entries-in-buffer/entries-written: 13715/13715   #P:2`.
fn entry_counts(trace: &str) -> Option<(&str, &str)> {
    let counts = trace.lines().find_map(|line| line.strip_prefix("# entries-in-buffer"))?;
    counts.split_once(": ")?.1.split_whitespace().next()?.split_once('/')
}

/// Parses a trace up to the mark; `None` if the exec, the first entry or the mark is missing.
fn parse_trace(trace: &str, board: &Board) -> Option<Boot> {
    let mut boot = Boot::default();
    let (mut start, mut entry) = (None, None);
    for line in trace.lines().filter(|line| !line.starts_with('#')) {
        // `  boot-39  [001] d....  1.761834: kvm_entry: vcpu 0, rip 0xfff0`
        let (before, rest) = line.split_once(": ")?;
        let (event, text) = rest.split_once(": ")?;
        let time: f64 = before.split_whitespace().next_back()?.parse().ok()?;
        match event {
            "sched_process_exec" => start = start.or(Some(time)),
            "kvm_entry" => entry = entry.or(Some(time)),
            _ if event == board.mark.0 && text.starts_with(board.mark.1) => {
                boot.entry = entry? - start?;
                boot.init = time - start?;
                return Some(boot);
            }
            "kvm_exit" => {
                *boot.exits.entry((board.exit_reason)(text)?.to_owned()).or_default() += 1;
            }
            "kvm_userspace_exit" => {
                let reason = text.strip_prefix("reason ")?.to_owned();
                *boot.userspace_exits.entry(reason).or_default() += 1;
            }
            _ if board.accesses.iter().any(|access| access.ends_with(event)) => {
                if let Some(target) = (board.accessed_target)(text) {
                    *boot.accesses.entry(target).or_default() += 1;
                }
            }
            _ => {}
        }
    }
    None
}

fn format_row(times: &[f64]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    format!(" {:9.3}{:9.3}{:9.3}", sorted[0], median(times), sorted[sorted.len() - 1])
}

/// Median of the ratios of the rounds.
fn ratio(dividends: &[f64], divisors: &[f64]) -> f64 {
    median(&dividends.iter().zip(divisors).map(|(a, b)| a / b).collect::<Vec<_>>())
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_memory_does_not_count_as_resident() {
        let mapping = |size: u64, rss: u64| {
            format!("Size: {size} kB\nKernelPageSize: 4 kB\nRss: {rss} kB\nPss: 1 kB\n")
        };
        let smaps = mapping(8, 4) + &mapping(MEMORY_MIB * 1024, 5000) + &mapping(100, 3);
        assert_eq!(resident_kib_of(&smaps), Some(7));
        assert_eq!(resident_kib_of(&mapping(8, 4)), None);
    }

    #[test]
    fn a_trace_is_read_up_to_the_mark() {
        let trace = "\
# entries-in-buffer/entries-written: 9/9   #P:2
 boot-39 [001] .....     1.500000: sched_process_exec: filename=/bin/boot pid=39 old_pid=39
 boot-43 [001] d....     1.750000: kvm_entry: vcpu 0, rip 0xfff0
 boot-43 [001] d....     1.750100: kvm_exit: vcpu 0 reason npf rip 0xfff0 info1 0x1
 boot-43 [001] d....     1.750200: kvm_exit: vcpu 0 reason io rip 0xfff0 info1 0x1
 boot-43 [001] .....     1.750300: kvm_pio: pio_write at 0x3f8 size 1 count 1 val 0x80 
 boot-43 [001] .....     1.750400: kvm_userspace_exit: reason KVM_EXIT_IO (2)
 boot-43 [001] d....     1.750500: kvm_entry: vcpu 0, rip 0xfff1
 boot-43 [001] .....     2.000000: kvm_cpuid: func 5ddb0001 idx 0 rax 0 rbx 0 rcx 0 rdx 0
 boot-43 [001] d....     2.000100: kvm_exit: vcpu 0 reason io rip 0xfff0 info1 0x1
";
        let board = board::for_arch(Arch::X86_64).unwrap();
        let boot = parse_trace(trace, board).unwrap();
        assert_eq!((boot.entry, boot.init), (0.25, 0.5));
        assert_eq!(boot.exits, BTreeMap::from([("io".to_owned(), 1), ("npf".to_owned(), 1)]));
        assert_eq!(boot.userspace_exits, BTreeMap::from([("KVM_EXIT_IO (2)".to_owned(), 1)]));
        assert_eq!(boot.accesses, BTreeMap::from([("serial".to_owned(), 1)]));
        assert_eq!(entry_counts(trace), Some(("9", "9")));
        let unmarked: String = trace.lines().filter(|line| !line.contains("5ddb")).collect();
        assert!(parse_trace(&unmarked, board).is_none());
    }
}
