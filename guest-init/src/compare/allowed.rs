// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The allowed differences between two records, and the kernel function that writes each field. A
//! comment above each row gives the reason.

use super::record::Moment;

/// A row of the table: a difference that does not fail a comparison.
pub(super) struct AllowedDifference {
    /// The comparisons for which the row holds, as ids without `compare/` and without the suffixes
    /// `-stops` and `-death`. Empty for all comparisons.
    pub(super) comparisons: &'static [&'static str],
    /// The variant; empty for all variants.
    pub(super) variant: &'static str,
    /// The step; empty for all steps.
    pub(super) step: &'static str,
    /// The field; empty for all fields.
    pub(super) field: &'static str,
    /// The parts of the field. Empty if the whole field may differ or be missing.
    pub(super) parts: &'static [&'static str],
    /// The first bytes that a part must have in the second record, before zeros; empty for any bytes.
    pub(super) seen: &'static [u8],
}

impl AllowedDifference {
    /// Whether this row allows a difference in this part of this field. `seen` is the part in the second
    /// record.
    pub(super) fn allows(&self, moment: Moment, field: &str, part: &str, seen: &[u8]) -> bool {
        let has_seen = seen
            .strip_prefix(self.seen)
            .is_some_and(|rest| self.seen.is_empty() || rest.iter().all(|byte| *byte == 0));
        has_seen
            && (self.variant.is_empty() || self.variant == moment.variant)
            && (self.step.is_empty() || self.step == moment.step)
            && (self.field.is_empty() || self.field == field)
            && (self.parts.is_empty() || self.parts.contains(&part))
    }
}

/// A row for a whole field in all comparisons.
const fn field(field: &'static str) -> AllowedDifference {
    AllowedDifference { comparisons: &[], variant: "", step: "", field, parts: &[], seen: &[] }
}

/// A row for parts of a field in all comparisons.
const fn parts(name: &'static str, parts: &'static [&'static str]) -> AllowedDifference {
    AllowedDifference { parts, ..field(name) }
}

impl AllowedDifference {
    /// Restricts a row to these comparisons.
    const fn of(self, comparisons: &'static [&'static str]) -> AllowedDifference {
        AllowedDifference { comparisons, ..self }
    }

    /// Restricts a row to a variant.
    const fn in_variant(self, variant: &'static str) -> AllowedDifference {
        AllowedDifference { variant, ..self }
    }

    /// Restricts a row to parts that have these bytes in the second record.
    const fn if_seen(self, seen: &'static [u8]) -> AllowedDifference {
        AllowedDifference { seen, ..self }
    }

    /// Restricts a row to a step.
    const fn at_step(self, step: &'static str) -> AllowedDifference {
        AllowedDifference { step, ..self }
    }
}

/// Suffixes of the ids of comparisons whose observer is not the program.
const SUFFIXES: [&str; 2] = ["-stops", "-death"];

/// Differences between the state given to a call and the state in its signal frame or after it.
pub(super) const RETURNED: &[AllowedDifference] = &[
    // The frame has the next instruction's address. syscall leaves that address and the flags in rcx
    // and r11.
    parts("registers", &["Ip", "Cx", "R11", "Sp", "Pc", "Pswa", "Psw"]),
    // The arguments of a handler: signal, siginfo, context, and 0 as the result of a call. Its flags DF, RF
    // and TF are clear.
    parts("registers", &["Ax", "Di", "Si", "Dx", "Flags"]).at_step("handler"),
    // The SIGTRAP handler clears TF.
    parts("registers", &["Flags"]).at_step("after").in_variant("trap-flag"),
    parts("registers", &["Flags"]).at_step("after").in_variant("alternate-disarming"),
];

/// Differences in parts of the XSAVE area that are not program state. The x87's last instruction and
/// operand are lost unless an exception is pending.
pub(super) const NOT_STATE: AllowedDifference = parts(
    "floating",
    &[
        "x87 opcode",
        "x87 instruction pointer",
        "x87 data pointer",
        "mxcsr mask",
        "reserved bytes",
        "xstate_bv",
        "other components",
    ],
);

/// A handler's frame begins at the end of an alternate stack with `SS_AUTODISARM` although the program is on
/// that stack: `on_sig_stack()`.
pub(super) const STACK_REUSED: AllowedDifference =
    parts("deviations of the frame", &["bytes in the red zone"])
        .in_variant("alternate-entered-disarming");

/// As the rows of `frame-32` about null selectors, between the state given to a call and later states.
pub(super) const NULL_SELECTORS: [AllowedDifference; 2] =
    [parts("segments", &["fs", "gs"]).if_seen(&[3]), parts("bases", &["fs"]).if_seen(&[0])];

/// The PKRU value at the entry of a handler, which the administrator sets (`init_pkru`).
pub(super) const DEFAULT_KEYS: AllowedDifference = parts("floating", &["pkru"]);

/// The result register of a call that is executed, between the given state and later states.
pub(super) const EXECUTED_RETURNED: AllowedDifference =
    parts("registers", &["Ax", "X0", "A0", "R2"]);

/// Differences between two kernels, or two boots of one, that are not about dispatch. These parts are
/// not recorded. The comparisons within one kernel compare them.
const UNRECORDED: &[AllowedDifference] = &[
    // The processor may or may not report a component in its initial state as in use (XINUSE).
    parts("floating", &["xstate_bv"]),
    parts("floating point frame", &["xstate_bv"]),
    parts("NT_X86_XSTATE", &["xstate_bv"]),
    // A core has the value that was saved at the last context switch: thread.pkru.
    parts("core's NT_X86_XSTATE", &["pkru", "xstate_bv"]),
    // Another thread of the dead process is anywhere in its code when it is stopped.
    field("").at_step("other thread"),
    // The arguments of init are those boot arguments that the kernel does not know. The flags are the
    // kernel's own: their bits change meaning from release to release.
    parts("core's NT_PRPSINFO", &["pr_psargs", "pr_flag"]),
    // The first thread, which the note describes, may have begun to wait or not: fill_psinfo().
    parts("core's NT_PRPSINFO", &["pr_state", "pr_sname"]).of(&["thread"]),
    // The vDSO has more or fewer mappings and pages.
    field("segments of the core"),
    field("VmLib"),
    // Addresses of the vDSO and of the process's stack.
    parts(
        "core's NT_AUXV",
        &["AT_SYSINFO_EHDR", "AT_RANDOM", "AT_EXECFN", "AT_PLATFORM", "AT_BASE"],
    ),
    // The memory of the C library's thread, at a random place.
    parts("bases", &["fs"]),
    parts("NT_PRSTATUS", &["fs_base"]),
    parts("core's NT_PRSTATUS", &["fs_base"]),
    // An idle process waits in no watched call: addresses of its stack, process ids, and what the C
    // library left there.
    field("NT_PRSTATUS").at_step("idle"),
    field("NT_PRFPREG").at_step("idle"),
    field("NT_X86_XSTATE").at_step("idle"),
    parts("syscall info", &["stack_pointer"]).at_step("idle"),
    field("/proc/PID/syscall").at_step("idle"),
];

/// The rows for parts of the case `id` that are not recorded.
pub(super) fn unrecorded(id: &str) -> Vec<&'static AllowedDifference> {
    of_case(UNRECORDED, id)
}

/// The rows of [`TABLE`] that hold for the case `id`.
pub(super) fn rows(id: &str) -> Vec<&'static AllowedDifference> {
    of_case(TABLE, id)
}

/// The rows that hold for the case `id`.
fn of_case(rows: &'static [AllowedDifference], id: &str) -> Vec<&'static AllowedDifference> {
    let name = id.split_once('/').map_or(id, |(_, name)| name);
    let name = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    let holds =
        |row: &&AllowedDifference| row.comparisons.is_empty() || row.comparisons.contains(&name);
    rows.iter().filter(holds).collect()
}

/// The comparisons with a seccomp trap.
const TRAPPED: &[&str] = &["trap", "int80-trap", "trap-32"];

const TABLE: &[AllowedDifference] = &[
    // The number of the signal is an argument of the call and of the handler, and the handler blocks it.
    parts("registers", &["Dx"]).of(&["other-signal"]),
    parts("registers", &["Di"]).at_step("handler").of(&["other-signal"]),
    field("signal").of(&["other-signal"]),
    parts("frame", &["dx", "si_signo"]).of(&["other-signal"]),
    field("mask").at_step("handler").of(&["other-signal"]),
    field("SigCgt").of(&["other-signal"]),
    // The processor may or may not report a component in its initial state as in use (XINUSE).
    parts("floating", &["xstate_bv"]),
    parts("NT_X86_XSTATE", &["xstate_bv"]),
    parts("floating point frame", &["xstate_bv"]).in_variant("initial-state"),
    // si_code is SYS_SECCOMP in place of SYS_USER_DISPATCH: force_sig_seccomp().
    parts("frame", &["si_code"]).of(TRAPPED),
    parts("siginfo", &["si_code"]).of(TRAPPED),
    parts("core's NT_SIGINFO", &["si_code"]).of(TRAPPED),
    // A core has the value that was saved at the last context switch: thread.pkru.
    parts("core's NT_X86_XSTATE", &["pkru", "xstate_bv"]),
    // The call that queues the signal is executed and leaves its result.
    parts("core's NT_PRSTATUS", &["ax"]).of(&["queued"]),
    parts("frame", &["ax"]).of(&["queued"]),
    parts("registers", &["Ax"]).of(&["queued"]),
    parts("NT_PRSTATUS", &["ax"]).of(&["queued"]),
    // The thread's stack is one more segment.
    field("segments of the core").of(&["thread"]),
    // The first thread waits, and the note describes the first thread: fill_psinfo().
    parts("core's NT_PRPSINFO", &["pr_state", "pr_sname", "pr_flag"]).of(&["thread"]),
    // The core has one more thread.
    field("").at_step("other thread").of(&["thread"]),
    // Installing a filter without privileges requires PR_SET_NO_NEW_PRIVS.
    field("NoNewPrivs").of(&["filtered"]),
    // The compiler of filters asks whether the task has CAP_SYS_ADMIN, which sets PF_SUPERPRIV:
    // emit_spectre_bhb_barrier(), ns_capable_noaudit().
    parts("core's NT_PRPSINFO", &["pr_flag"]).of(&["filtered"]),
    // The seccomp mode is SECCOMP_MODE_FILTER, with one filter.
    field("Seccomp").of(&["filtered"]),
    field("Seccomp_filters").of(&["filtered"]),
    // The first thread waits beside the calling thread.
    field("Threads").of(&["thread"]),
    // The child has a copy of the parent's value, and the parent's last trap was a breakpoint.
    parts("frame", &["trapno"]).of(&["born-of-stepped"]),
    // Only one of the two tasks is armed.
    field("dispatch").of(&["trap", "queued", "allowed", "disarmed", "allowed-trap", "trap-32"]),
    // A tracer reads that there is no selector.
    parts("dispatch", &["selector"]).of(&["no-selector"]),
    // syscall leaves the next address and the flags in rcx and r11. The two instructions are at
    // different addresses.
    parts("registers", &["Cx", "R11", "Ip"]).of(&["int80"]),
    // The same in the frame; si_arch names the calling convention.
    parts("frame", &["cx", "r11", "ip", "si_call_addr", "si_arch"]).of(&["int80"]),
    // A 32-bit handler is called with other arguments, on a frame with another length.
    parts("registers", &["Ax", "Cx", "Dx", "Di", "Si", "Sp"]).at_step("handler").of(&["frame-32"]),
    field("below the frame").of(&["frame-32"]),
    field("after the frame").of(&["frame-32"]),
    field("above the frame").of(&["frame-32"]),
    field("change of the stack").of(&["frame-32"]),
    field("change of the alternate stack").of(&["frame-32"]),
    // The segments of data are loaded for a 32-bit handler.
    parts("segments", &["ds", "es"]).at_step("handler").of(&["frame-32"]),
    // Kernels without fixup_rpl() in arch/x86/kernel/signal_32.c, such as 6.1, set the RPL of null
    // selectors at the return from a 32-bit handler. Loading FS with one clears its base.
    parts("segments", &["fs", "gs"]).of(&["frame-32"]).if_seen(&[3]),
    parts("frame", &["fs", "gs"]).of(&["frame-32"]).if_seen(&[3]),
    parts("bases", &["fs"]).of(&["frame-32"]).if_seen(&[0]),
    // The flags of the context tell of segments in 64-bit frames only, and the state of floating point
    // instructions is at another address.
    parts("frame", &["uc_flags", "padding after ss_flags", "fpstate", "reserved1"])
        .of(&["frame-32"]),
    // The extended size counts the state in the format of fsave, which comes before.
    parts("floating point frame", &["sw_reserved.extended_size"]).of(&["frame-32"]),
    // Without SA_SIGINFO a 32-bit frame has no context.
    parts(
        "frame",
        &[
            "uc_stack.ss_sp",
            "uc_stack.ss_flags",
            "uc_stack.ss_size",
            "si_signo",
            "si_errno",
            "si_code",
            "padding after si_code",
            "si_call_addr",
            "si_syscall",
            "si_arch",
            "rest of siginfo",
        ],
    )
    .of(&["frame-32"])
    .in_variant("no-siginfo"),
];

/// The kernel function that writes a field.
pub(super) fn function(field: &str) -> &'static str {
    match field {
        "registers" | "segments" => "x64_setup_rt_frame(), restore_sigcontext()",
        "floating" => "fpu__clear_user_states(), fpu__restore_sig()",
        "floating point frame" => "copy_fpstate_to_sigframe()",
        "frame" => "x64_setup_rt_frame(), ia32_setup_frame(), trigger_sigsys()",
        "deviations of the frame" => "get_sigframe(), x64_setup_rt_frame(), ia32_setup_frame()",
        "mask" | "pending" => "signal_setup_done(), set_current_blocked()",
        "alternate stack" => "save_altstack_ex(), restore_altstack()",
        "the frame's stack"
        | "words written outside the frame"
        | "below the frame"
        | "after the frame"
        | "above the frame"
        | "change of the stack"
        | "change of the alternate stack" => "get_sigframe()",
        "siginfo" => "ptrace_getsiginfo(), trigger_sigsys()",
        "queue of the task" | "queue of the process" => "ptrace_peek_siginfo()",
        "dispatch" => "syscall_user_dispatch_get_config()",
        "rseq" => "ptrace_get_rseq_configuration()",
        "syscall info" | "length of the syscall info" => "ptrace_get_syscall_info()",
        "/proc/PID/syscall" => "proc_pid_syscall()",
        "NT_PRSTATUS" => "genregs_get()",
        "NT_PRFPREG" | "NT_X86_XSTATE" => "xfpregs_get(), xstateregs_get()",
        "debug registers" => "ptrace_get_debugreg()",
        "status" | "waitid" | "wait4" | "end" | "count" | "event message" => {
            "ptrace_stop(), do_wait()"
        }
        "core's NT_AUXV" => "create_elf_tables()",
        name if name.starts_with("core's ") => "fill_note_info()",
        _ => "proc_pid_status()",
    }
}
