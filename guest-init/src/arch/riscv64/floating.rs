// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Floating point registers.

/// The number of floating point registers.
pub const FLOAT_REGISTER_COUNT: usize = 32;
/// The prefix of the names of floating point registers.
pub const FLOAT_REGISTER_PREFIX: char = 'f';
/// The length of a floating point register in 64-bit words.
pub const WORDS_PER_FLOAT_REGISTER: usize = 1;
/// The control and status register, with a value: rounding up, all exception flags set.
pub const FLOAT_CONTROLS: [(&str, u64); 1] = [("fcsr", 3 << 5 | 0x1f)];

/// Overwrites all floating point registers and clears FCSR, as the code of a handler may.
#[inline]
pub fn clobber_floating() {
    // SAFETY: declares each register that it overwrites; the status is the thread's own.
    unsafe {
        std::arch::asm!(
            ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
            "fmv.d.x f\\n, zero",
            ".endr",
            "fscsr zero",
            out("f0") _, out("f1") _, out("f2") _, out("f3") _, out("f4") _, out("f5") _,
            out("f6") _, out("f7") _, out("f8") _, out("f9") _, out("f10") _, out("f11") _,
            out("f12") _, out("f13") _, out("f14") _, out("f15") _, out("f16") _, out("f17") _,
            out("f18") _, out("f19") _, out("f20") _, out("f21") _, out("f22") _, out("f23") _,
            out("f24") _, out("f25") _, out("f26") _, out("f27") _, out("f28") _, out("f29") _,
            out("f30") _, out("f31") _,
            options(nomem, nostack),
        );
    }
}
