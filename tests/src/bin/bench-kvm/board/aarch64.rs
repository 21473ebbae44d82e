// SPDX-License-Identifier: Apache-2.0 OR MIT
use super::{Board, mmio_page};
use sudbox_tests::level1::host;

pub(super) static BOARD: Board = Board {
    host: &host::AARCH64,
    machine: "virt,gic-version=3",
    cmdline: "console=ttyAMA0 panic=-1",
    // The restart of the machine by init. No other action of a program always exits to user space.
    mark: ("kvm_userspace_exit", "reason KVM_EXIT_SYSTEM_EVENT"),
    accesses: &["kvm/kvm_mmio", "kvm/kvm_sys_access", "kvm/kvm_hvc_arm64"],
    counters: &[
        "exits",
        "mmio_exit_user",
        "mmio_exit_kernel",
        "hvc_exit_stat",
        "wfi_exit_stat",
        "signal_exits",
    ],
    // Accesses to devices are data aborts too. The events of `accesses` count these.
    excluded_exits: &["IRQ", "DABT_LOW", "IABT_LOW"],
    exit_reason,
    accessed_target,
};

/// Exit reason of `TRAP: HSR_EC: 0x0024 (DABT_LOW), PC: 0x...`, or of an interrupt, `IRQ: HSR_EC:
/// 0x0000 ...`.
fn exit_reason(event: &str) -> Option<&str> {
    match event.split_once(':')? {
        ("TRAP", rest) => Some(rest.split_once('(')?.1.split_once(')')?.0),
        (other, _) => Some(other),
    }
}

/// The device or register of `mmio write len 4 gpa 0x8000000 val 0x12`, `PC: ffff... OSLAR_EL1
/// (2,0,1,0,4) write` or `HVC at 0x... (r0: 0x84000000, imm: 0x0)`.
fn accessed_target(event: &str) -> Option<String> {
    let words: Vec<&str> = event.split_whitespace().collect();
    Some(match *words.first()? {
        "mmio" => match mmio_page(&words)? {
            0x8000..=0x800f => "GIC distributor".to_owned(),
            0x80a0..=0x8fff => "GIC redistributor".to_owned(),
            0x9000 => "serial".to_owned(),
            0xa000..=0xa003 => "virtio-mmio".to_owned(),
            page => format!("page {page:#x}"),
        },
        "HVC" => "HVC".to_owned(),
        _ => format!("register {}", words.get(2)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_have_names() {
        let name = |event| accessed_target(event).unwrap_or_default();
        assert_eq!(name("mmio write len 4 gpa 0x8000000 val 0x12"), "GIC distributor");
        assert_eq!(name("mmio unsatisfied-read len 4 gpa 0x9000005 val 0x0"), "");
        assert_eq!(name("PC: ffff8000 SYS_OSLAR_EL1 (2,0,1,0,4) write"), "register SYS_OSLAR_EL1");
    }

    #[test]
    fn exits_have_reasons() {
        let trap = "TRAP: HSR_EC: 0x0024 (DABT_LOW), PC: 0xffff800080010000";
        assert_eq!(exit_reason(trap), Some("DABT_LOW"));
        assert_eq!(exit_reason("IRQ: HSR_EC: 0x0000 (UNKNOWN), PC: 0xffff8000800"), Some("IRQ"));
    }
}
