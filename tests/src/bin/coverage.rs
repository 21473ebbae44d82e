// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Lists the instructions and branches of the kernel's dispatch code that no case executes.
//!
//!     coverage [KERNEL [CASES]]
//!
//! The arguments are those of `sudbox run`; the defaults are the pinned kernel and all cases. The
//! kernel is not instrumented. TCG translates a block of code when the block is first reached, and
//! QEMU's log (`-d in_asm`) has every translated block.

use anyhow::{Context, bail, ensure};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use sudbox_images::{Cache, Ctx, Request};
use sudbox_protocol::Arch;
use sudbox_tests::StderrMonitor;
use sudbox_vmm::qemu;

/// An instruction of the kernel.
struct Instruction {
    text: String,
    /// Target address of a conditional jump.
    branch_target: Option<u64>,
}

/// The addresses and instructions of each function, by its name.
type Functions = BTreeMap<String, Vec<(u64, Instruction)>>;

fn main() -> anyhow::Result<()> {
    let argument = |index| std::env::args().nth(index).filter(|text| !text.is_empty());
    let reference = argument(1).unwrap_or_default();
    let cases = argument(2).unwrap_or_else(|| "all".to_owned());
    let request = Request { reference: reference.clone(), ..Request::default() };
    let image =
        sudbox_images::kernel(&mut Ctx::new(&Cache::open()?, &mut StderrMonitor), &request)?;
    let vmlinux = image.vmlinux.as_deref().context("the kernel was not built from source")?;
    let functions = disassemble_dispatch(vmlinux)?;
    ensure!(!functions.is_empty(), "no dispatch code in {}", vmlinux.display());
    let executed = run_and_trace(&functions, &reference, &cases)?;
    println!("{}", image.source);
    for (name, code) in &functions {
        print_function(name, code, &executed);
    }
    Ok(())
}

/// Whether a function is in kernel/entry/syscall_user_dispatch.c or in x86's part of dispatch.
fn is_dispatch(name: &str) -> bool {
    let name = name.split('.').next().unwrap_or(name);
    name == "trigger_sigsys"
        || name == "arch_syscall_is_vdso_sigreturn"
        || name.ends_with("set_syscall_user_dispatch")
        || name == "syscall_user_dispatch"
        || name.starts_with("syscall_user_dispatch_")
}

fn disassemble_dispatch(vmlinux: &Path) -> anyhow::Result<Functions> {
    let mut objdump = Command::new("objdump");
    objdump.args(["-d", "-j", ".text", "-j", ".noinstr.text", "--no-show-raw-insn"]).arg(vmlinux);
    let output = objdump.stderr(Stdio::inherit()).output().context("objdump")?;
    ensure!(output.status.success(), "objdump failed");
    let mut functions = Functions::new();
    let mut current = None;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some((_, name)) = line.strip_suffix(">:").and_then(|line| line.split_once(" <")) {
            current = is_dispatch(name).then(|| name.to_owned());
        } else if let (Some(name), Some((address, text))) = (&current, line.split_once(":\t")) {
            let address = u64::from_str_radix(address.trim(), 16)?;
            functions.entry(name.clone()).or_default().push((address, parse_instruction(text)));
        }
    }
    // Remove the padding after the last jump or return.
    for code in functions.values_mut() {
        while code.last().is_some_and(|(_, i)| i.text.contains("nop") || i.text == "int3") {
            code.pop();
        }
    }
    Ok(functions)
}

fn parse_instruction(text: &str) -> Instruction {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_conditional_jump = text.starts_with('j') && !text.starts_with("jmp");
    let target = text.split(' ').nth(1).filter(|_| is_conditional_jump);
    let branch_target = target.and_then(|target| u64::from_str_radix(target, 16).ok());
    Instruction { branch_target, text }
}

/// Runs the cases and returns the addresses of the instructions that QEMU translated. A wrapper script
/// for QEMU in `PATH` adds the options for QEMU's log.
fn run_and_trace(
    functions: &Functions,
    reference: &str,
    cases: &str,
) -> anyhow::Result<HashSet<u64>> {
    let ranges = functions.values().filter_map(|code| {
        let (first, last) = (code.first()?.0, code.last()?.0);
        // An instruction of x86 is shorter than 16 bytes.
        Some(format!("{first:#x}+{:#x}", last - first + 16))
    });
    let ranges = ranges.collect::<Vec<_>>().join(",");
    let dir = tempfile::tempdir()?;
    let program = qemu::program(Arch::X86_64);
    let path = std::env::var("PATH")?;
    let qemu =
        path.split(':').map(|folder| Path::new(folder).join(program)).find(|path| path.is_file());
    let qemu = qemu.with_context(|| format!("{program} is not installed"))?;
    let wrapper = dir.path().join(program);
    let logs = dir.path().join("log");
    let script = format!(
        "#!/bin/sh\nexec {} \"$@\" -d in_asm -dfilter {ranges} -D {}.$$\n",
        qemu.display(),
        logs.display()
    );
    fs::write(&wrapper, script)?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    let mut sudbox = sudbox_tests::sudbox();
    sudbox.args(["run", "--backend", "tcg", "--cases", cases, "--", reference]);
    sudbox.env("PATH", format!("{}:{path}", dir.path().display()));
    let status = sudbox.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if !status.success() {
        bail!("sudbox run {reference}: {status}");
    }
    let mut executed = HashSet::new();
    for entry in fs::read_dir(dir.path())?.flatten() {
        if entry.path() == wrapper {
            continue;
        }
        for line in String::from_utf8_lossy(&fs::read(entry.path())?).lines() {
            let digits = line.strip_prefix("0x").and_then(|line| line.split_once(':'));
            let address = digits.and_then(|(digits, _)| u64::from_str_radix(digits, 16).ok());
            executed.extend(address);
        }
    }
    ensure!(!executed.is_empty(), "QEMU's log names no instruction");
    Ok(executed)
}

/// Prints the coverage of a function, and its instructions and branch directions that were not
/// executed.
fn print_function(name: &str, code: &[(u64, Instruction)], executed: &HashSet<u64>) {
    let reached = code.iter().filter(|(address, _)| executed.contains(address)).count();
    let mut missed_lines = Vec::new();
    let (mut directions, mut covered_directions) = (0, 0);
    for (index, (address, instruction)) in code.iter().enumerate() {
        let offset = address - code[0].0;
        let next = code.get(index + 1).map(|(address, _)| *address);
        if !executed.contains(address) {
            missed_lines.push(format!("+{offset:#x} not reached: {}", instruction.text));
        }
        let Some(target) = instruction.branch_target else { continue };
        for (finding, destination) in [("never taken", Some(target)), ("always taken", next)] {
            directions += 1;
            if destination.is_some_and(|destination| executed.contains(&destination)) {
                covered_directions += 1;
            } else if executed.contains(address) {
                missed_lines.push(format!("+{offset:#x} {finding}: {}", instruction.text));
            }
        }
    }
    println!(
        "{name}: {reached} of {} instructions, {covered_directions} of {directions} branch directions",
        code.len()
    );
    for line in missed_lines {
        println!("  {line}");
    }
}
