// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The dimensions of the grid. A dimension is a property of a call that the kernel's code branches on; its
//! states are the values of that property. A point has one state of each dimension.
//!
//! A new state goes to the end of its dimension, and a new dimension to the end of the list, so that the
//! ids of points do not change.

use std::fmt;

/// The names of a dimension and of its states in reports.
#[derive(Clone, Copy, Debug)]
pub struct Dimension {
    /// The dimension's name in reports.
    pub title: &'static str,
    /// The names of the states in reports. Empty for the selector's value, whose states are the 256 values
    /// of a byte.
    pub states: &'static [&'static str],
}

macro_rules! dimensions {
    ($(
        $(#[$doc:meta])*
        $name:ident: $Type:ident, $title:literal {
            $($(#[$state_doc:meta])* $State:ident = $words:literal,)*
        }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            #[allow(missing_docs)]
            pub enum $Type { $($(#[$state_doc])* $State,)* }

            impl $Type {
                /// All states, in the order of their numbers in a point.
                pub const ALL: &[$Type] = &[$($Type::$State,)*];
            }
        )*

        /// Index of a dimension in [`DIMENSIONS`] and in a point.
        #[allow(missing_docs)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Axis { Value, $($Type,)* }

        /// All dimensions.
        pub const DIMENSIONS: &[Dimension] = &[
            Dimension { title: "selector's value", states: &[] },
            $(Dimension { title: $title, states: &[$($words,)*] },)*
        ];

        impl Point {
            $(
                #[allow(missing_docs)]
                #[must_use]
                pub fn $name(&self) -> $Type {
                    $Type::ALL[usize::from(self.0[Axis::$Type as usize])]
                }
            )*
        }
    };
}

/// The number of dimensions.
pub const DIMENSION_COUNT: usize = DIMENSIONS.len();

/// A point of the grid: the number of one state for each dimension.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Point(pub [u8; DIMENSION_COUNT]);

dimensions! {
    /// The mode, `PR_SYS_DISPATCH_*`.
    mode: Mode, "mode" {
        Exclusive = "exclusive",
        Off = "off",
        Inclusive = "inclusive",
    }
    /// The range, in relation to `ip`, the compared address of the call under test. `inside` are the addresses
    /// of all calls that are not under test; they are below `ip`.
    span: Span, "range" {
        Inside = "inside alone",
        ToIp = "from inside to ip, excluded",
        ThroughIp = "from inside through ip",
        ToBeforeIp = "from inside to ip - 1, excluded",
        Ip = "ip alone",
        BeforeIp = "ip - 1 alone",
        AfterIp = "ip + 1 alone",
        Instruction = "the instruction before ip",
        FromIp = "from ip to the last but one address",
        FromAfterIp = "from ip + 1 to the last but one address",
        Nothing = "offset 0, length 0",
        EmptyAtIp = "offset ip, length 0",
        All = "offset 0, length ULONG_MAX",
        AllButZero = "offset 1 to the last but one address",
        WrapsToZero = "offset 1, length ULONG_MAX",
        Wraps = "from inside, length ULONG_MAX",
        BelowIp = "offset 0, length ip",
        BelowAndIp = "offset 0, length ip + 1",
        KernelHalf = "the upper half of all addresses",
        LastByte = "the last but one address alone",
        LowHalf = "the low 32 bits of ip alone",
        WrapsToItself = "offset ip, length ULONG_MAX",
        ByteZero = "address 0 alone",
        LengthInHighHalf = "from inside, length with bit 40 set",
    }
    /// The memory that holds the selector.
    selector: Selector, "selector" {
        Private = "private memory",
        Null = "none",
        Shared = "shared memory",
        PrivateFile = "a private mapping of a file, read-only",
        SharedFile = "a shared mapping of a file, read-only",
        LastOfPage = "the last byte before memory that cannot be read",
        FirstOfPage = "the first byte after memory that cannot be read",
        NoAccess = "PROT_NONE",
        Unmapped = "nothing mapped",
        PastEndOfFile = "a mapping past the end of its file",
        Kernel = "an address of the kernel",
        LastAddress = "the last address there is",
        CodeByte = "a byte of the program's code",
    }
    /// The gate of the call under test: its address and instruction.
    gate: GateChoice, "entry" {
        FirstGate = "the first gate",
        SecondGate = "the second gate",
        SecondEntry = "the gate of the other entry",
        LowMemory = "a gate in low memory",
        HighestPage = "a gate in the highest page",
        EndOfPage = "an instruction that ends a page",
    }
    /// The value of the number register.
    number: Number, "number" {
        Getresuid = "getresuid",
        GetresuidFarBits = "getresuid, high half garbage",
        Zero = "0",
        Unused = "an unknown number",
        MinusOne = "-1",
        IntMin = "INT_MIN",
        Minus512 = "-512",
        Minus513 = "-513",
        Minus514 = "-514",
        Minus515 = "-515",
        Minus516 = "-516",
        Minus38 = "-38",
        RtSigreturn = "rt_sigreturn",
        Exit = "exit",
        ExitGroup = "exit_group",
        Disarm = "prctl that disarms",
        LowHalfMinusOne = "-1 in the low half alone",
        GetresuidBit30 = "getresuid with bit 30 set",
    }
    /// The disposition of SIGSYS, its mask and the alternate stack.
    disposition: Disposition, "SIGSYS" {
        Handler = "handled",
        OnStack = "handled, SA_ONSTACK",
        ReadOnlyStack = "handled, SA_ONSTACK, stack read-only",
        NoDefer = "handled, SA_NODEFER",
        ResetHand = "handled, SA_RESETHAND",
        Restart = "handled, SA_RESTART",
        NoSiginfo = "handled, no SA_SIGINFO",
        Ignored = "ignored",
        Default = "default action",
        Blocked = "handled, blocked",
        IgnoredBlocked = "ignored, blocked",
        AutoDisarm = "handled, SA_ONSTACK, SS_AUTODISARM",
    }
    /// The signal that is pending when the call is issued.
    pending: Pending, "pending" {
        None = "nothing",
        Sigusr1 = "SIGUSR1, blocked",
        Sigsys = "SIGSYS, blocked",
        NoneAtLimitZero = "nothing, RLIMIT_SIGPENDING 0",
        Sigsegv = "SIGSEGV, blocked",
        RealTimeSignal = "a real-time signal, blocked",
    }
    /// The tracer: how it attaches, and the request by which it resumes the tracee before the call.
    tracer: Tracer, "tracer" {
        None = "none",
        Cont = "PTRACE_CONT",
        Syscall = "PTRACE_SYSCALL",
        Sysemu = "PTRACE_SYSEMU",
        Singlestep = "PTRACE_SINGLESTEP",
        SeizedCont = "PTRACE_SEIZE, PTRACE_CONT",
        SeizedSyscall = "PTRACE_SEIZE, PTRACE_SYSCALL",
        ContSuppressed = "PTRACE_CONT, SIGSYS suppressed",
        SyscallSuppressed = "PTRACE_SYSCALL, SIGSYS suppressed",
        SysemuSinglestep = "PTRACE_SYSEMU_SINGLESTEP",
    }
    /// The kind of the task that issues the call.
    task: Task, "task" {
        Child = "a child that shares memory",
        Vfork = "a child of vfork",
        Forked = "a child of fork",
        Thread = "a second thread",
        Init = "the first process of a PID namespace",
        Session = "a child that shares memory, leader of a session",
    }
    /// The caller's seccomp mode and filter. Strict mode is set after the dispatch configuration.
    seccomp: Seccomp, "seccomp" {
        None = "none",
        Allow = "a filter that allows",
        Errno = "a filter that fails the call",
        Trap = "a filter that traps the call",
        Kill = "a filter that kills for the call",
        Strict = "strict",
    }
    /// The registration for restartable sequences.
    rseq: Rseq, "rseq" {
        None = "not registered",
        Registered = "registered",
    }
    /// The number of times that the call is issued, with the same selector.
    times: Times, "issued" {
        Once = "once",
        Twice = "twice",
        Thrice = "three times",
    }
    /// The way in which the configuration is set.
    arming: Arming, "set" {
        Once = "by prctl",
        Replaced = "by prctl, over another one",
        Tracer = "by the tracer",
        AfterOff = "by prctl, after OFF",
    }
    /// The configuration of the caller's parent; of the first thread if a second thread is the caller.
    parent: Parent, "parent" {
        Unarmed = "not armed",
        Armed = "armed with its own selector",
    }
    /// The kernel mechanism that observes the calls of all tasks.
    monitor: Monitor, "observed" {
        None = "by nobody",
        Tracepoints = "by tracepoints of calls",
        Audit = "by audit",
    }
    /// The sysctl `kernel.syscall_user_dispatch` when the caller sets its configuration.
    sysctl: Sysctl, "sysctl" {
        Permits = "permits",
        Denies = "denies",
    }
}

/// The selector values of products that do not use all 256: ALLOW, BLOCK, their neighbours, and values that
/// differ from these in one bit or in the sign.
pub const SAMPLE_VALUES: &[u8] = &[0, 1, 2, 255, 3, 0x81, 0x80, 0xfe, 0x7f];

impl Point {
    /// The point with these states and state 0 of all other dimensions.
    #[must_use]
    pub fn with_states(states: &[(Axis, u8)]) -> Point {
        let mut point = Point::default();
        for (axis, state) in states {
            point.0[*axis as usize] = *state;
        }
        point
    }

    /// The value of the selector.
    #[must_use]
    pub fn value(&self) -> u8 {
        self.0[0]
    }

    /// The point's code in its id: two hexadecimal digits for each dimension, without trailing zero states.
    #[must_use]
    pub fn code(&self) -> String {
        use fmt::Write as _;
        let used = self.0.iter().rposition(|state| *state != 0).map_or(1, |last| last + 1);
        self.0[..used].iter().fold(String::new(), |mut code, state| {
            let _ = write!(code, "{state:02x}");
            code
        })
    }

    /// The point with this [`Point::code`]. `None` if the code is invalid.
    #[must_use]
    pub fn parse(code: &str) -> Option<Point> {
        let mut point = Point::default();
        if !code.is_ascii()
            || !code.len().is_multiple_of(2)
            || code.len() / 2 > DIMENSION_COUNT
            || code.is_empty()
        {
            return None;
        }
        for index in 0..code.len() / 2 {
            point.0[index] = u8::from_str_radix(&code[2 * index..2 * index + 2], 16).ok()?;
            let states = DIMENSIONS[index].states.len();
            if states != 0 && usize::from(point.0[index]) >= states {
                return None;
            }
        }
        Some(point)
    }
}

/// Describes the states in words. State 0 of a dimension after [`Axis::Disposition`] is omitted.
impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LAST_SHOWN_ALWAYS: usize = Axis::Disposition as usize;
        write!(f, "selector's value {}", self.value())?;
        for (index, dimension) in DIMENSIONS.iter().enumerate().skip(1) {
            if index <= LAST_SHOWN_ALWAYS || self.0[index] != 0 {
                let state = dimension.states[usize::from(self.0[index])];
                write!(f, "; {} {state}", dimension.title)?;
            }
        }
        Ok(())
    }
}
