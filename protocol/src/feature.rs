// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a kernel can offer of Syscall User Dispatch and of what the cases lean on.

use crate::codec::{DecodeError, Reader, Writer};

macro_rules! features {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A feature that guest-init probes for and the expectations speak of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Feature { $($(#[$doc])* $variant,)* }

        impl Feature {
            /// Every feature, in the order of their declaration.
            pub const ALL: &'static [Feature] = &[$(Feature::$variant,)*];

            /// The name by which reports call it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Feature::$variant => $name,)* }
            }
        }
    };
}

features! {
    /// `prctl(PR_SET_SYSCALL_USER_DISPATCH)` is there (5.11 on; `kernel/entry/syscall_user_dispatch.c`).
    Dispatch = "dispatch",
    /// `PR_SYS_DISPATCH_INCLUSIVE_ON` is there (6.17 on).
    Inclusive = "inclusive",
    /// `PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG` and its SET are there (6.4 on).
    PtraceConfig = "ptrace-config",
    /// The sysctl that permits or denies arming is there (7.3 on).
    Sysctl = "sysctl",
    /// `seccomp(SECCOMP_SET_MODE_FILTER)` is there (`CONFIG_SECCOMP_FILTER`).
    SeccompFilter = "seccomp-filter",
    /// `userfaultfd(2)` is there (`CONFIG_USERFAULTFD`).
    Userfaultfd = "userfaultfd",
    /// 32-bit x86 programs and `int 0x80` work (`CONFIG_IA32_EMULATION`).
    Ia32 = "ia32",
    /// x32 system call numbers work (`CONFIG_X86_X32_ABI`).
    X32 = "x32",
    /// The vsyscall page can be called (`CONFIG_X86_VSYSCALL_EMULATION`).
    Vsyscall = "vsyscall",
    /// Protection keys can be allocated (`pkey_alloc(2)`).
    Pkeys = "pkeys",
    /// `rseq(2)` is there (`CONFIG_RSEQ`).
    Rseq = "rseq",
    /// tracefs with `events/syscalls` is there (`CONFIG_FTRACE_SYSCALLS`).
    SyscallTracepoints = "syscall-tracepoints",
    /// `uprobe_events` in tracefs is there (`CONFIG_UPROBE_EVENTS`).
    Uprobes = "uprobes",
    /// The audit netlink socket answers (`CONFIG_AUDIT`).
    Audit = "audit",
    /// A swap area can be set up (`CONFIG_SWAP`).
    Swap = "swap",
    /// PID namespaces can be made (`CONFIG_PID_NS`).
    PidNamespace = "pid-namespace",
}

impl Feature {
    /// The feature of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Feature> {
        Feature::ALL.iter().copied().find(|f| f.as_str() == name)
    }

    pub(crate) fn encode(self, out: &mut Writer) {
        out.u8(self as u8);
    }

    pub(crate) fn decode(input: &mut Reader<'_>) -> Result<Feature, DecodeError> {
        let tag = input.u8()?;
        Feature::ALL
            .get(usize::from(tag))
            .copied()
            .ok_or(DecodeError::UnknownTag { what: "feature", tag })
    }
}

impl std::fmt::Display for Feature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
