// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Floating point registers.

/// The number of floating point registers.
pub const FLOAT_REGISTER_COUNT: usize = 16;
/// The prefix of the names of floating point registers.
pub const FLOAT_REGISTER_PREFIX: char = 'f';
/// The length of a floating point register in 64-bit words.
pub const WORDS_PER_FLOAT_REGISTER: usize = 1;
/// The control register, with a value in the low four bytes, to which the gate stores it: rounding down, all
/// flags set.
pub const FLOAT_CONTROLS: [(&str, u64); 1] = [("fpc", 0x00f8_0003)];

/// Overwrites all floating point registers and clears the control register, as the code of a handler may.
#[inline]
pub fn clobber_floating() {
    // SAFETY: declares each register that it overwrites; the control register is the thread's own.
    unsafe {
        std::arch::asm!(
            ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
            "lzdr %f\\n",
            ".endr",
            "lghi {zero}, 0",
            "sfpc {zero}",
            zero = out(reg) _,
            out("f0") _, out("f1") _, out("f2") _, out("f3") _, out("f4") _, out("f5") _,
            out("f6") _, out("f7") _, out("f8") _, out("f9") _, out("f10") _, out("f11") _,
            out("f12") _, out("f13") _, out("f14") _, out("f15") _,
            options(nomem, nostack),
        );
    }
}
