// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Model of dispatch: `kernel/entry/syscall_user_dispatch.c` in a few lines. It predicts what
//! setting a configuration answers and what becomes of a call. Random walks and the grid build
//! their predictions on it.

use std::fmt;

/// A configuration of dispatch as it was set: `struct ptrace_sud_config`
/// (include/uapi/linux/ptrace.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// The fate of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Dispatch lets it pass.
    Passed,
    /// It is handed back as SIGSYS.
    Dispatched,
    /// The process is killed by this signal, which no handler sees.
    Killed(i32),
}

/// The conditions under which a configuration is set.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Whether the kernel offers inclusive mode.
    pub inclusive: bool,
    /// Whether the sysctl `kernel.syscall_user_dispatch` permits arming.
    pub permitted: bool,
}

impl Config {
    /// The configuration that `prctl` or a tracer sets by these four arguments: mode, offset,
    /// length, selector. `forbidden` says which selectors are addresses of the kernel's
    /// (`task_set_syscall_user_dispatch()`).
    ///
    /// # Errors
    /// The error number with which the kernel refuses them.
    pub fn set(
        [mode, offset, length, selector]: [u64; 4],
        rules: Rules,
        forbidden: impl FnOnce(u64) -> bool,
    ) -> Result<Config, i32> {
        let end = offset.wrapping_add(length);
        let good = match mode {
            0 => offset == 0 && length == 0 && selector == 0,
            1 => offset == 0 || end > offset,
            2 => rules.inclusive && length != 0 && end > offset,
            _ => false,
        };
        if !good {
            return Err(libc::EINVAL);
        }
        if mode != 0 && !rules.permitted {
            return Err(libc::EPERM);
        }
        if mode != 0 && selector != 0 && forbidden(selector) {
            return Err(libc::EFAULT);
        }
        Ok(Config { mode, selector, offset, length })
    }

    /// Whether the range leaves a call to the selector. `at` is the address behind the instruction.
    #[must_use]
    pub fn concerns(&self, at: u64) -> bool {
        let within = at.wrapping_sub(self.offset) < self.length;
        match self.mode {
            0 => false,
            1 => !within,
            _ => within,
        }
    }

    /// The fate of a call whose instruction ends at `at`. `read` gives the byte at an address, or
    /// nothing if it cannot be read (`syscall_user_dispatch()`).
    pub fn fate(&self, at: u64, read: impl FnOnce(u64) -> Option<u8>) -> Fate {
        if !self.concerns(at) {
            return Fate::Passed;
        }
        if self.selector == 0 {
            return Fate::Dispatched;
        }
        match read(self.selector) {
            None => Fate::Killed(libc::SIGSEGV),
            Some(0) => Fate::Passed,
            Some(1) => Fate::Dispatched,
            Some(_) => Fate::Killed(libc::SIGSYS),
        }
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { mode, selector, offset, length } = self;
        write!(f, "mode {mode}, offset {offset:#x}, length {length:#x}, selector {selector:#x}")
    }
}
