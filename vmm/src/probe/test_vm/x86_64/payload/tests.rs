// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use crate::probe::test_vm::check_last_write;
use crate::probe::test_vm::x86_64::memory::MEMORY_SIZE;

fn memory_with_payload() -> GuestMemoryMmap {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY_SIZE)]).unwrap();
    write(&memory).unwrap();
    memory
}

#[test]
fn the_entry_point_of_each_vector_pushes_an_error_code_and_the_vector() {
    let memory = memory_with_payload();
    for vector in 0..=255u8 {
        let mut code = [0u8; 16];
        let address = KERNEL_TEXT + VECTOR_ENTRY_SIZE * u64::from(vector);
        memory.read_slice(&mut code, GuestAddress(address)).unwrap();
        // The processor pushes an error code for these vectors (Intel SDM, volume 3, table 7-1; 29
        // and 30 on AMD processors only).
        let has_error_code = matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30);
        let push_vector = match (has_error_code, &code[..]) {
            (true, code) => code,
            (false, [0x6a, 0, code @ ..]) => code,
            (false, _) => panic!("vector {vector} pushes no error code"),
        };
        let pushed = match *push_vector {
            [0x6a, byte, 0xe9 | 0xeb, ..] if byte < 128 => u32::from(byte),
            [0x68, a, b, c, d, 0xe9 | 0xeb, ..] => u32::from_le_bytes([a, b, c, d]),
            _ => panic!("the entry of vector {vector} is {code:x?}"),
        };
        assert_eq!(pushed, u32::from(vector));
    }
}

#[test]
fn the_code_of_ring_0_ends_before_that_of_ring_3() {
    let end = guest_address(&raw const sudbox_probe_kernel_end);
    assert!((KERNEL_TEXT + 256 * VECTOR_ENTRY_SIZE..=USER_TEXT).contains(&entry()));
    assert!(end <= USER_TEXT, "{end:x}");
}

#[test]
fn a_report_is_decoded_from_the_report_page() {
    let memory = memory_with_payload();
    let write_report =
        |report: Report| memory.write_obj(report, GuestAddress(REPORT_PAGE)).unwrap();
    assert_eq!(report(&memory).unwrap(), (PayloadReport::NothingWrong, 0));

    let fault_report = Report {
        kind: FAULT.into(),
        number: 13,
        value: 8,
        rip: KERNEL_TEXT + 9,
        cs: 8,
        cr2: 7,
        ticks: 5,
        ..Report::default()
    };
    write_report(fault_report);
    let fault = format!("(vector 13, error code 8h, rip {:X}h, cs 8h)", KERNEL_TEXT + 9);
    assert_eq!(report(&memory).unwrap(), (PayloadReport::Fault(fault), 5));

    write_report(Report { kind: WRONG.into(), number: BAD_CR2.into(), value: 1, ..fault_report });
    let PayloadReport::WrongResult { result_name, value: 1 } = report(&memory).unwrap().0 else {
        panic!()
    };
    assert!(result_name.ends_with("cr2"), "{result_name}");
    write_report(Report { kind: WRONG.into(), number: u64::MAX, ..fault_report });
    assert!(matches!(report(&memory).unwrap().0, PayloadReport::WrongResult { .. }));
}

#[test]
fn a_fault_in_code_of_ring_0_that_runs_in_ring_3_names_pvm() {
    // Values measured under a PVM hypervisor.
    let report =
        Report { number: 14, value: 5, rip: 0x9103, cs: 0x2b, cr2: 0x9103, ..Report::default() };
    assert_eq!(
        report.fault(),
        "(vector 14, error code 5h, rip 9103h, cs 2Bh, cr2 9103h); ring 0 of the guest runs in \
         ring 3, as on a PVM hypervisor"
    );
    assert!(!Report { rip: USER_TEXT, ..report }.fault().contains("PVM"));
    assert!(!Report { cs: 8, ..report }.fault().contains("PVM"));
}

#[test]
fn a_lost_write_to_the_new_page_is_a_wrong_result() {
    let memory = memory_with_payload();
    assert!(matches!(
        check_last_write(&memory).unwrap(),
        PayloadReport::WrongResult { value: PATTERN_BEFORE, .. }
    ));
    memory.write_obj(PATTERN_AFTER, GuestAddress(MAPPED_PAGE)).unwrap();
    assert_eq!(check_last_write(&memory).unwrap(), PayloadReport::NothingWrong);
}
