// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Any bytes are refused, or are a program that fits the arena: parts in their order, whole pages apart
//! from each other, within the room for programs, and an entry in one that can be executed. The
//! program of this project with some of its bytes changed is tried as well.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sudbox_guest_init::arch::windows_program;
use sudbox_guest_init::sandbox::{arena, pe};

fn check(bytes: &[u8]) {
    let Ok(image) = pe::read(bytes) else { return };
    let mut free = arena::BASE;
    for segment in &image.segments {
        assert!(segment.address >= free && segment.address % arena::PAGE == 0);
        assert!(segment.length > 0 && segment.length % arena::PAGE == 0);
        assert!(segment.bytes.len() as u64 <= segment.length);
        free = segment.address + segment.length;
    }
    assert!(free <= arena::BASE + arena::IMAGE);
    let entered = image.segments.iter().find(|segment| {
        (segment.address..segment.address + segment.length).contains(&image.entry)
    });
    assert!(entered.is_some_and(|segment| segment.protection & libc::PROT_EXEC != 0));
}

fuzz_target!(|input: (Vec<(u16, u8)>, &[u8])| {
    let (changes, bytes) = input;
    check(bytes);
    let mut program = windows_program().to_vec();
    for (place, value) in changes {
        let length = program.len();
        // Headers and relocations are what is read of it.
        let place = if place & 1 == 0 { usize::from(place >> 1) % 0x200 } else { 0x3000 + usize::from(place >> 1) % 16 };
        program[place % length] = value;
    }
    check(&program);
});
