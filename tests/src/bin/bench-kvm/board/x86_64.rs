// SPDX-License-Identifier: Apache-2.0 OR MIT
use super::{Board, mmio_page, parse_hex};
use sudbox_tests::level1::host;

pub(super) static BOARD: Board = Board {
    host: &host::X86_64,
    machine: "microvm,acpi=off",
    cmdline: "console=ttyS0 reboot=t panic=-1",
    mark: ("kvm_cpuid", "func 5ddb0001 "),
    accesses: &["kvm/kvm_pio", "kvm/kvm_mmio", "kvm/kvm_msr"],
    counters: &[
        "exits",
        "io_exits",
        "mmio_exits",
        "irq_exits",
        "halt_exits",
        "pf_taken",
        "insn_emulation",
    ],
    // `interrupt`: an interrupt of the host. `vintr`: the interrupt window of the guest opened (SVM).
    // `npf`: a nested page fault.
    excluded_exits: &["interrupt", "vintr", "npf"],
    exit_reason,
    accessed_target,
};

/// Exit reason of `vcpu 0 reason npf rip 0xfff0 info1 0x1`.
fn exit_reason(event: &str) -> Option<&str> {
    event.split_once(" reason ")?.1.split_whitespace().next()
}

/// The device or register of `pio_write at 0x510 size 2 ...`, `mmio write len 4 gpa 0xfec00010 val
/// 0x3e` or `msr_write 6e0 = 0x...`.
fn accessed_target(event: &str) -> Option<String> {
    let words: Vec<&str> = event.split_whitespace().collect();
    match *words.first()? {
        "mmio" => Some(match mmio_page(&words)? {
            0xfec00 => "I/O APIC".to_owned(),
            0xfee00 => "local APIC".to_owned(),
            0xc0000 => "virtio-mmio".to_owned(),
            page => format!("page {page:#x}"),
        }),
        "pio_read" | "pio_write" => Some(match parse_hex(words.get(2)?)? {
            0x20 | 0x21 | 0xa0 | 0xa1 => "PIC".to_owned(),
            0x40..=0x43 => "PIT".to_owned(),
            0x3f8..=0x3ff => "serial".to_owned(),
            0x510..=0x51b => "fw_cfg".to_owned(),
            0xcf8..=0xcff => "PCI".to_owned(),
            port => format!("port {port:#x}"),
        }),
        msr_event => Some(match parse_hex(words.get(1)?)? {
            0x6e0 => format!("{msr_event} TSC_DEADLINE"),
            0x4b56_4d00..=0x4b56_4dff => format!("{msr_event} kvm"),
            0xc001_0000..=0xc001_ffff => format!("{msr_event} AMD"),
            msr => format!("{msr_event} {msr:#x}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_have_names() {
        let name = |event| accessed_target(event).unwrap_or_default();
        assert_eq!(name("mmio write len 4 gpa 0xfec00010 val 0x3e"), "I/O APIC");
        assert_eq!(name("mmio unsatisfied-read len 4 gpa 0xfec00010 val 0x0"), "");
        assert_eq!(name("pio_read at 0x511 size 1 count 56 val 0x51"), "fw_cfg");
        assert_eq!(name("msr_write 6e0 = 0x123"), "msr_write TSC_DEADLINE");
    }

    #[test]
    fn exits_have_reasons() {
        assert_eq!(exit_reason("vcpu 0 reason npf rip 0xfff0 info1 0x1"), Some("npf"));
    }
}
