// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The kernel features that cases test or depend on.

use crate::codec::{DecodeError, Reader, Writer};

macro_rules! features {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A kernel feature that guest-init probes for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Feature { $($(#[$doc])* $variant,)* }

        impl Feature {
            /// All features, in the order of their declaration.
            pub const ALL: &'static [Feature] = &[$(Feature::$variant,)*];

            /// The name in reports.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Feature::$variant => $name,)* }
            }
        }
    };
}

features! {
    /// `prctl(PR_SET_SYSCALL_USER_DISPATCH)` exists (since 5.11;
    /// `kernel/entry/syscall_user_dispatch.c`).
    Dispatch = "dispatch",
    /// `PR_SYS_DISPATCH_INCLUSIVE_ON` exists (since 6.17).
    Inclusive = "inclusive",
    /// `PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG` and `PTRACE_SET_...` exist (since 6.4).
    PtraceConfig = "ptrace-config",
    /// The sysctl that permits or denies dispatch exists (since 7.3).
    Sysctl = "sysctl",
    /// `seccomp(SECCOMP_SET_MODE_FILTER)` exists (`CONFIG_SECCOMP_FILTER`).
    SeccompFilter = "seccomp-filter",
    /// `userfaultfd(2)` exists (`CONFIG_USERFAULTFD`).
    Userfaultfd = "userfaultfd",
    /// 32-bit x86 programs and `int 0x80` work (`CONFIG_IA32_EMULATION`).
    Ia32 = "ia32",
    /// x32 system call numbers work (`CONFIG_X86_X32_ABI`).
    X32 = "x32",
    /// The vsyscall page can be called (`CONFIG_X86_VSYSCALL_EMULATION`).
    Vsyscall = "vsyscall",
    /// Protection keys can be allocated (`pkey_alloc(2)`).
    Pkeys = "pkeys",
    /// `rseq(2)` exists (`CONFIG_RSEQ`).
    Rseq = "rseq",
    /// tracefs with `events/syscalls` exists (`CONFIG_FTRACE_SYSCALLS`).
    SyscallTracepoints = "syscall-tracepoints",
    /// `uprobe_events` in tracefs exists (`CONFIG_UPROBE_EVENTS`).
    Uprobes = "uprobes",
    /// The audit netlink socket answers (`CONFIG_AUDIT`).
    Audit = "audit",
    /// A swap area can be set up (`CONFIG_SWAP`).
    Swap = "swap",
    /// PID namespaces can be created (`CONFIG_PID_NS`).
    PidNamespace = "pid-namespace",
    /// `PTRACE_SET_SYSCALL_INFO` exists (since 6.16).
    PtraceSetCallInfo = "ptrace-set-call-info",
    /// `prctl(PR_RSEQ_SLICE_EXTENSION)` exists (since 7.0, `CONFIG_RSEQ_SLICE_EXTENSION`).
    RseqSlices = "rseq-slices",
    /// A system call in a critical section of `rseq(2)` kills the process (`CONFIG_DEBUG_RSEQ`;
    /// since 6.19 with `rseq_debug=1`). Only the case that tests this feature can detect it.
    RseqChecks = "rseq-checks",
}

impl Feature {
    /// The feature with this name in reports.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Feature> {
        Feature::ALL.iter().copied().find(|feature| feature.as_str() == name)
    }

    pub(crate) fn encode(self, writer: &mut Writer) {
        writer.write_u8(self as u8);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Feature, DecodeError> {
        let tag = reader.read_u8()?;
        Feature::ALL
            .get(usize::from(tag))
            .copied()
            .ok_or(DecodeError::UnknownTag { kind: "feature", tag })
    }
}

impl std::fmt::Display for Feature {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}
