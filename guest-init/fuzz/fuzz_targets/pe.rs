// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Checks that the PE reader refuses its input or returns an image that fits the program's memory: segments
//! in ascending order, in whole pages without overlap, within the space for images, and an entry point in an
//! executable segment. The input is arbitrary bytes, or the project's own program with changed bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sudbox_guest_init::arch::windows_program;
use sudbox_guest_init::sandbox::{pe, program_memory};

fn check(bytes: &[u8]) {
    let Ok(image) = pe::read(bytes) else { return };
    let mut free = program_memory::BASE;
    for segment in &image.segments {
        assert!(segment.address >= free && segment.address % program_memory::PAGE_SIZE == 0);
        assert!(segment.length > 0 && segment.length % program_memory::PAGE_SIZE == 0);
        assert!(segment.bytes.len() as u64 <= segment.length);
        free = segment.address + segment.length;
    }
    assert!(free <= program_memory::BASE + program_memory::IMAGE_LENGTH);
    let entered = image.segments.iter().find(|segment| {
        (segment.address..segment.address + segment.length).contains(&image.entry)
    });
    assert!(entered.is_some_and(|segment| segment.protection & libc::PROT_EXEC != 0));
}

fuzz_target!(|input: (Vec<(u16, u8)>, &[u8])| {
    let (changes, bytes) = input;
    check(bytes);
    let mut program = windows_program().to_vec();
    for (choice, value) in changes {
        let length = program.len();
        // The reader interprets only headers and relocations. Bit 0 chooses between them.
        let index = usize::from(choice >> 1);
        let position = if choice & 1 == 0 { index % 0x200 } else { 0x3000 + index % 16 };
        program[position % length] = value;
    }
    check(&program);
});
