// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Registers as text, in the format of QEMU, so that reports look the same with every backend.

use std::fmt::Write as _;

use kvm_bindings::{
    KVM_INTERNAL_ERROR_DELIVERY_EV, KVM_INTERNAL_ERROR_EMULATION, KVM_INTERNAL_ERROR_SIMUL_EX,
    KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, kvm_regs, kvm_run, kvm_sregs,
};
use kvm_ioctls::VcpuFd;

/// Formats the registers of a vCPU that is not running.
pub(super) fn registers(vcpu: &VcpuFd, index: usize) -> String {
    match (vcpu.get_regs(), vcpu.get_sregs()) {
        (Ok(regs), Ok(sregs)) => format_registers(index, &regs, &sregs),
        (Err(error), _) | (_, Err(error)) => {
            format!("CPU#{index}: its registers cannot be read: {error}")
        }
    }
}

/// Formats the registers of a vCPU after a triple fault. On AMD processors the registers are lost:
/// KVM resets the vCPU before `KVM_RUN` returns (`shutdown_interception` in
/// `arch/x86/kvm/svm/svm.c`). In that case, the text says that the registers are lost.
pub(super) fn registers_after_triple_fault(vcpu: &VcpuFd, index: usize) -> String {
    match (vcpu.get_regs(), vcpu.get_sregs()) {
        (Ok(regs), Ok(sregs)) if is_reset(&regs, &sregs) => {
            format!("CPU#{index}: registers lost, as KVM resets an AMD vCPU at a triple fault")
        }
        _ => registers(vcpu, index),
    }
}

/// Returns true if the registers are those after a reset (AMD64 manual, volume 2, section 14.1.3).
fn is_reset(regs: &kvm_regs, sregs: &kvm_sregs) -> bool {
    regs.rip == 0xfff0 && sregs.cs.base == 0xffff_0000 && regs.rflags == 2
}

fn format_registers(index: usize, regs: &kvm_regs, sregs: &kvm_sregs) -> String {
    let mut text = format!("CPU#{index}\n");
    let rows = [
        [("RAX", regs.rax), ("RBX", regs.rbx), ("RCX", regs.rcx), ("RDX", regs.rdx)],
        [("RSI", regs.rsi), ("RDI", regs.rdi), ("RBP", regs.rbp), ("RSP", regs.rsp)],
        [("R8 ", regs.r8), ("R9 ", regs.r9), ("R10", regs.r10), ("R11", regs.r11)],
        [("R12", regs.r12), ("R13", regs.r13), ("R14", regs.r14), ("R15", regs.r15)],
    ];
    for row in rows {
        let words = row.map(|(name, value)| format!("{name}={value:016x}"));
        let _ = writeln!(text, "{}", words.join(" "));
    }
    let _ = writeln!(text, "RIP={:016x} RFL={:08x} CPL={}", regs.rip, regs.rflags, sregs.ss.dpl);
    let segments = [
        ("ES", sregs.es),
        ("CS", sregs.cs),
        ("SS", sregs.ss),
        ("DS", sregs.ds),
        ("FS", sregs.fs),
        ("GS", sregs.gs),
    ];
    for (name, segment) in segments {
        let _ = writeln!(
            text,
            "{name} ={:04x} {:016x} {:08x}",
            segment.selector, segment.base, segment.limit
        );
    }
    let _ = writeln!(text, "GDT=     {:016x} {:08x}", sregs.gdt.base, sregs.gdt.limit);
    let _ = writeln!(text, "IDT=     {:016x} {:08x}", sregs.idt.base, sregs.idt.limit);
    let _ = write!(
        text,
        "CR0={:08x} CR2={:016x} CR3={:016x} CR4={:08x} EFER={:016x}",
        sregs.cr0, sregs.cr2, sregs.cr3, sregs.cr4, sregs.efer
    );
    text
}

/// Describes a `KVM_EXIT_INTERNAL_ERROR`.
pub(super) fn describe_internal_error(run: &kvm_run) -> String {
    // SAFETY: the exit fills this member of the union, and any bits are valid integers.
    let internal = unsafe { run.__bindgen_anon_1.internal };
    let description = match internal.suberror {
        KVM_INTERNAL_ERROR_EMULATION => "it cannot emulate an instruction",
        KVM_INTERNAL_ERROR_SIMUL_EX => "two exceptions at once",
        KVM_INTERNAL_ERROR_DELIVERY_EV => "an exit while an event was delivered",
        KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON => "an unknown exit",
        _ => "unknown suberror",
    };
    let count = internal.data.len().min(internal.ndata as usize);
    let data: Vec<String> =
        internal.data[..count].iter().map(|value| format!("{value:#x}")).collect();
    format!("KVM internal error {}: {description} [{}]", internal.suberror, data.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_after_a_reset_are_recognised() {
        let mut sregs = kvm_sregs::default();
        sregs.cs.base = 0xffff_0000;
        let regs = kvm_regs { rip: 0xfff0, rflags: 2, rdx: 0x10_0f23, ..Default::default() };
        assert!(is_reset(&regs, &sregs));
        assert!(!is_reset(&kvm_regs { rip: 0x10_0000, ..regs }, &sregs));
        assert!(!is_reset(&regs, &kvm_sregs::default()));
    }

    #[test]
    fn registers_have_the_format_of_qemu() {
        let regs = kvm_regs { rip: 0xffff_ffff_8100_0000, rax: 7, ..Default::default() };
        let mut sregs = kvm_sregs::default();
        sregs.idt.base = 0xfffffe0000000000;
        let text = format_registers(1, &regs, &sregs);
        assert!(text.starts_with("CPU#1\nRAX=0000000000000007 RBX="), "{text}");
        assert!(text.contains("\nRIP=ffffffff81000000 RFL="), "{text}");
        assert!(text.contains("\nIDT=     fffffe0000000000 "), "{text}");
    }

    #[test]
    fn an_internal_error_is_described_by_suberror_and_data() {
        let mut run = kvm_run::default();
        run.__bindgen_anon_1.internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
        run.__bindgen_anon_1.internal.ndata = 99;
        let text = describe_internal_error(&run);
        assert!(text.starts_with("KVM internal error 1: it cannot emulate"), "{text}");
        assert_eq!(text.matches("0x").count(), 16, "{text}");
    }
}
