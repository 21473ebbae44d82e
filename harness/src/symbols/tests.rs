// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use crate::session::kernel_log::tests::{MAX_SCAN_SECONDS, cpu_seconds};

/// The symbols of a vmlinux with two adjacent functions, `do_it` and `next`.
fn symbols() -> Symbols {
    let symbol = |start, end, name: &str| Symbol { start, end, name: name.into() };
    Symbols {
        sorted_symbols: vec![
            symbol(0xffff_ffff_8100_0000, 0xffff_ffff_8100_0100, "do_it"),
            symbol(0xffff_ffff_8100_0100, 0xffff_ffff_8100_0140, "next"),
        ],
    }
}

#[track_caller]
fn check(before: &str, after: &str) {
    assert_eq!(symbols().symbolise(before), after);
}

#[test]
fn unresolved_addresses_are_replaced_by_symbols() {
    check("[    0.5] RIP: 0010:0xffffffff81000023\r\n", "[    0.5] RIP: 0010:do_it+0x23/0x100\r\n");
    check(
        "WARNING: CPU: 0 PID: 1 at kernel/a.c:1 0xffffffff81000100\n",
        "WARNING: CPU: 0 PID: 1 at kernel/a.c:1 next+0x0/0x40\n",
    );
}

#[test]
fn a_return_address_gets_the_symbol_of_the_call_before_it() {
    check("[    0.5]  0xffffffff81000100\n", "[    0.5]  do_it+0x100/0x100\n");
    check("[    0.5][   T1]  ? 0xffffffff81000100", "[    0.5][   T1]  ? do_it+0x100/0x100");
    check(" [<ffffffff81000100>] x", " [<ffffffff81000100>] (do_it+0x100/0x100) x");
}

#[test]
fn a_raw_number_keeps_its_digits() {
    check(
        "RIP=ffffffff81000123 RFL=00000006 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0",
        "RIP=ffffffff81000123 (next+0x23/0x40) RFL=00000006 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0",
    );
    check(
        "PANIC: early exception 0x0d IP 10:ffffffff81000001 error 0 cr2 0xffff888000000000",
        "PANIC: early exception 0x0d IP 10:ffffffff81000001 (do_it+0x1/0x100) error 0 cr2 0xffff888000000000",
    );
}

#[test]
fn other_text_is_unchanged() {
    for line in [
        "",
        "nothing",
        "RAX=ffffffff81000123 RBX=ffffffff81000123",
        "RAX: ffffffff81000123 RBX: 0000000000000000",
        "RIP: 0010:do_it+0x23/0x100",
        " [<ffffffff81000100>] ? do_it+0x0/0x100",
        "[    0.5]  0xffffffff80ffffff",
        "[    0.5]  0xffffffff81000141",
        "[    0.5]  0xffffffff81000123456",
        "aaffffffff81000123",
        "0xffffffff8100012",
        "RIP: 0033:0x0000000000401000",
        "Kernel Offset: disabled",
        "Kernel Offset: 0x0 from 0xffffffff81000000 (relocation range: 0x-0x)",
        "\u{fffd}0xgg \u{1b}[31m 0x",
    ] {
        check(line, line);
    }
}

#[test]
fn the_printed_relocation_offset_is_subtracted() {
    check(
        "RIP: 0010:0xffffffff9b000023\nKernel Offset: 0x1a000000 from 0xffffffff81000000 (x)\n",
        "RIP: 0010:do_it+0x23/0x100\nKernel Offset: 0x1a000000 from 0xffffffff81000000 (x)\n",
    );
    // With an offset above every address, no address is resolved.
    check(
        "0xffffffff81000023\nKernel Offset: 0xffffffffffffffff",
        "0xffffffff81000023\nKernel Offset: 0xffffffffffffffff",
    );
}

#[test]
fn the_symbols_of_this_program_are_read() {
    let own = std::env::current_exe().unwrap();
    let symbols = Symbols::open(&own).unwrap();
    assert!(
        symbols
            .sorted_symbols
            .windows(2)
            .all(|w| w[0].start < w[1].start && w[0].end <= w[1].start)
    );
    let main = symbols.sorted_symbols.iter().find(|s| s.name == "main").unwrap();
    let line = format!("RIP: 0010:{:#018x}", main.start + 1);
    let expected = format!("RIP: 0010:main+0x1/{:#x}", main.end - main.start);
    assert_eq!(symbols.symbolise(&line), expected);
}

#[test]
fn a_file_that_is_no_vmlinux_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmlinux");
    assert!(Symbols::open(&path).unwrap_err().to_string().starts_with("cannot read "));
    std::fs::write(&path, "not a kernel").unwrap();
    assert!(Symbols::open(&path).unwrap_err().to_string().ends_with(" is no 64-bit ELF file"));
    let mut own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    own.truncate(4096);
    std::fs::write(&path, own).unwrap();
    Symbols::open(&path).unwrap_err();
}

#[test]
fn hostile_text_is_scanned_in_linear_time() {
    let started = cpu_seconds();
    for unit in ["0xffffffff81000023 ", "ffffffff81000023", "RIP=ffffffff81000123 ", "0x", "é0x"] {
        let text = unit.repeat((1 << 20) / unit.len());
        symbols().symbolise(&text);
    }
    assert!(cpu_seconds() - started < MAX_SCAN_SECONDS);
}
