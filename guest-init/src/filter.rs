// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Functions that build and install seccomp filters.

use crate::sys;

/// Offsets in bytes of the two halves of `instruction_pointer` in `struct seccomp_data`: the high
/// 32 bits, then the low 32 bits.
pub(crate) const POINTER_HALF_OFFSETS: [u32; 2] =
    if cfg!(target_endian = "little") { [12, 8] } else { [8, 12] };

/// An instruction of a filter (`struct sock_filter`, as `BPF_STMT` and `BPF_JUMP` make it). A jump skips `jt`
/// instructions if its condition holds, else `jf`.
pub(crate) fn statement(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    let code = u16::try_from(code).expect("codes have 16 bits");
    libc::sock_filter { code, jt, jf, k }
}

/// Installs a filter for this thread. Sets `PR_SET_NO_NEW_PRIVS` first, as an ordinary user must. Returns the
/// result of `seccomp(2)`.
///
/// # Errors
/// As `seccomp(2)`.
pub(crate) fn install(program: &mut [libc::sock_filter], flags: u64) -> sys::Result<u64> {
    let len = u16::try_from(program.len()).expect("filters are short");
    let program = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies the program.
    unsafe {
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)?;
        let mode = u64::from(libc::SECCOMP_SET_MODE_FILTER);
        sys::call(libc::SYS_seccomp, &[mode, flags, &raw const program as u64])
    }
}
