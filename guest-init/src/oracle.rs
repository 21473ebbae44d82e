// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A model of dispatch, equivalent to `kernel/entry/syscall_user_dispatch.c`. The model predicts the
//! result of setting a configuration, and whether a call passes, is dispatched or kills the process.
//! The models of random walks and of the grid build on this model.

use std::fmt;

/// A dispatch configuration: `struct ptrace_sud_config`
/// (include/uapi/linux/ptrace.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Config {
    /// `PR_SYS_DISPATCH_*`; 0 is off.
    pub mode: u64,
    /// Address of the selector, 0 for none.
    pub selector: u64,
    /// Start of the range.
    pub offset: u64,
    /// Length of the range in bytes.
    pub length: u64,
}

/// The kernel's decision about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The kernel executes the call.
    Pass,
    /// The kernel sends SIGSYS and does not execute the call.
    Dispatch,
    /// The kernel kills the process by this signal, without running a handler.
    Kill(i32),
}

/// The kernel's properties that decide whether it accepts a configuration.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Whether the kernel offers inclusive mode.
    pub has_inclusive_mode: bool,
    /// Whether the sysctl `kernel.syscall_user_dispatch` permits arming.
    pub is_arming_permitted: bool,
}

impl Config {
    /// The configuration that prctl(2) or a tracer sets with the arguments mode, offset, length and
    /// selector (`task_set_syscall_user_dispatch()`). `is_forbidden` returns whether `access_ok()` refuses an
    /// address.
    ///
    /// # Errors
    /// The error number that the kernel returns.
    pub fn set(
        [mode, offset, length, selector]: [u64; 4],
        rules: Rules,
        is_forbidden: impl FnOnce(u64) -> bool,
    ) -> Result<Config, i32> {
        let end = offset.wrapping_add(length);
        let valid = match mode {
            0 => offset == 0 && length == 0 && selector == 0,
            1 => offset == 0 || end > offset,
            2 => rules.has_inclusive_mode && length != 0 && end > offset,
            _ => false,
        };
        if !valid {
            return Err(libc::EINVAL);
        }
        if mode != 0 && !rules.is_arming_permitted {
            return Err(libc::EPERM);
        }
        if mode != 0 && selector != 0 && is_forbidden(selector) {
            return Err(libc::EFAULT);
        }
        Ok(Config { mode, selector, offset, length })
    }

    /// Whether the selector decides about a call with this compared address, because the range does not
    /// allow the call.
    #[must_use]
    pub fn selector_decides(&self, compared_address: u64) -> bool {
        let is_in_range = compared_address.wrapping_sub(self.offset) < self.length;
        match self.mode {
            0 => false,
            1 => !is_in_range,
            _ => is_in_range,
        }
    }

    /// The kernel's decision about a call with this compared address (`syscall_user_dispatch()`).
    /// `read_byte` returns the byte at an address, or `None` if the byte cannot be read.
    pub fn decide(
        &self,
        compared_address: u64,
        read_byte: impl FnOnce(u64) -> Option<u8>,
    ) -> Decision {
        if !self.selector_decides(compared_address) {
            return Decision::Pass;
        }
        if self.selector == 0 {
            return Decision::Dispatch;
        }
        match read_byte(self.selector) {
            None => Decision::Kill(libc::SIGSEGV),
            Some(0) => Decision::Pass,
            Some(1) => Decision::Dispatch,
            Some(_) => Decision::Kill(libc::SIGSYS),
        }
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { mode, selector, offset, length } = self;
        write!(f, "mode {mode}, offset {offset:#x}, length {length:#x}, selector {selector:#x}")
    }
}
