// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The allowed differences between two records, and the kernel function that writes each field. The comment
//! above a row, or above several rows, gives the reason.

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
    /// The number of earlier steps of the same name from which on the row holds.
    pub(super) first_count: u32,
    /// The field; empty for all fields.
    pub(super) field: &'static str,
    /// The parts of the field. Empty if the whole field may differ or be missing.
    pub(super) parts: &'static [&'static str],
    /// The value, without trailing zeros, that the part must have in the second record; empty for any value.
    pub(super) actual: &'static [u8],
}

impl AllowedDifference {
    /// Whether this row is about this field at some moment.
    pub(super) fn is_about_field(&self, field: &str) -> bool {
        self.field.is_empty() || self.field == field
    }

    /// Whether this row is about some field at this moment.
    pub(super) fn is_about_moment(&self, moment: Moment) -> bool {
        (self.variant.is_empty() || self.variant == moment.variant)
            && (self.step.is_empty() || self.step == moment.step)
            && self.first_count <= moment.count
    }

    /// Whether this row allows a difference in this part of this field. `actual` is the value of the part in
    /// the second record.
    pub(super) fn allows(&self, moment: Moment, field: &str, part: &str, actual: &[u8]) -> bool {
        let has_value = actual
            .strip_prefix(self.actual)
            .is_some_and(|rest| self.actual.is_empty() || rest.iter().all(|byte| *byte == 0));
        has_value
            && self.is_about_moment(moment)
            && self.is_about_field(field)
            && (self.parts.is_empty() || self.parts.contains(&part))
    }
}

/// A row for a whole field, in all comparisons.
const fn whole_field(field: &'static str) -> AllowedDifference {
    AllowedDifference {
        comparisons: &[],
        variant: "",
        step: "",
        first_count: 0,
        field,
        parts: &[],
        actual: &[],
    }
}

/// A row for parts of a field, in all comparisons.
const fn parts_of(name: &'static str, parts: &'static [&'static str]) -> AllowedDifference {
    AllowedDifference { parts, ..whole_field(name) }
}

impl AllowedDifference {
    /// Restricts a row to these comparisons.
    const fn in_comparisons(self, comparisons: &'static [&'static str]) -> AllowedDifference {
        AllowedDifference { comparisons, ..self }
    }

    /// Restricts a row to a variant.
    const fn in_variant(self, variant: &'static str) -> AllowedDifference {
        AllowedDifference { variant, ..self }
    }

    /// Restricts a row to parts that have this value, without trailing zeros, in the second record.
    const fn if_actual(self, actual: &'static [u8]) -> AllowedDifference {
        AllowedDifference { actual, ..self }
    }

    /// Restricts a row to a step.
    const fn at_step(self, step: &'static str) -> AllowedDifference {
        AllowedDifference { step, ..self }
    }

    /// Restricts a row to the steps of this name, except the first step.
    const fn after_first_step(self, step: &'static str) -> AllowedDifference {
        AllowedDifference { step, first_count: 1, ..self }
    }
}

/// Suffixes of the ids of comparisons whose observer is not the program.
const SUFFIXES: [&str; 2] = ["-stops", "-death"];

/// Allowed differences between the state loaded before a call and the state in its signal frame or after the
/// call.
pub(super) const KEPT_STATE: &[AllowedDifference] = &[
    // The frame has the address of the next instruction. The syscall instruction stores that address and the
    // flags in rcx and r11.
    parts_of("registers", &["Ip", "Cx", "R11", "Sp", "Pc", "Pswa", "Psw"]),
    // A handler begins with its arguments (signal, siginfo, context), with 0 in the result register, and
    // with the flags DF, RF and TF clear.
    parts_of("registers", &["Ax", "Di", "Si", "Dx", "Flags"]).at_step("handler"),
    // The SIGTRAP handler clears TF.
    parts_of("registers", &["Flags"]).at_step("after").in_variant("trap-flag"),
    parts_of("registers", &["Flags"]).at_step("after").in_variant("alternate-disarming"),
];

/// Differences in parts of the XSAVE area that are not program state. The processor keeps the addresses of the
/// last x87 instruction and operand only while an x87 exception is pending.
pub(super) const NOT_PROGRAM_STATE: AllowedDifference = parts_of(
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

/// With `SS_AUTODISARM` a handler's frame begins at the end of the alternate stack, even if the program is on
/// that stack (`on_sig_stack()`). The frame then overwrites the program's red zone.
pub(super) const REUSED_STACK: AllowedDifference =
    parts_of("deviations of the frame", &["bytes in the red zone"])
        .in_variant("alternate-entered-disarming");

/// Differences of null segment selectors between the state loaded before a call with 32-bit frames and later
/// states. The rows of `frame-32` in [`ALLOWED_DIFFERENCES`] give the reason.
pub(super) const NULL_SEGMENT_SELECTORS: [AllowedDifference; 2] = [
    parts_of("segments", &["fs", "gs"]).if_actual(&[3]),
    parts_of("bases", &["fs"]).if_actual(&[0]),
];

/// The PKRU value at the entry of a handler, which the administrator can set (`init_pkru`).
pub(super) const INITIAL_PKRU: AllowedDifference = parts_of("floating", &["pkru"]);

/// A difference of the result register between the state before an executed call and later states.
pub(super) const RESULT_OF_EXECUTED_CALL: AllowedDifference =
    parts_of("registers", &["Ax", "X0", "A0", "R2"]);

/// Parts that differ between two kernels, or between two boots of one kernel, for reasons other than
/// dispatch. The host does not get these parts; the comparisons within one boot compare them.
const UNRECORDED: &[AllowedDifference] = &[
    // The processor may or may not report a component in its initial state as in use (XINUSE).
    parts_of("floating", &["xstate_bv"]),
    parts_of("floating point frame", &["xstate_bv"]),
    parts_of("NT_X86_XSTATE", &["xstate_bv"]),
    // A core has the PKRU value of the last context switch: thread.pkru.
    parts_of("core's NT_X86_XSTATE", &["pkru", "xstate_bv"]),
    // The kernel stops another thread of the dead process anywhere in that thread's code.
    whole_field("").at_step("other thread"),
    // The arguments of init are those boot arguments that the kernel does not know. The flags are the
    // kernel's own: their bits change meaning from release to release.
    parts_of("core's NT_PRPSINFO", &["pr_psargs", "pr_flag"]),
    // The note describes the first thread, which may or may not have begun to wait: fill_psinfo().
    parts_of("core's NT_PRPSINFO", &["pr_state", "pr_sname"]).in_comparisons(&["thread"]),
    // Two kernels have vDSOs of different lengths, and two builds of this program have data of different
    // lengths.
    whole_field("VmLib"),
    whole_field("bytes of memory in the core"),
    // Addresses of the vDSO and of the process's stack.
    parts_of(
        "core's NT_AUXV",
        &["AT_SYSINFO_EHDR", "AT_RANDOM", "AT_EXECFN", "AT_PLATFORM", "AT_BASE"],
    ),
    // The features of the processor, such as that it has several threads.
    parts_of("core's NT_AUXV", &["AT_HWCAP", "AT_HWCAP2"]),
    // The number of this program's headers, and the size of its code.
    parts_of("core's NT_AUXV", &["AT_PHNUM"]),
    whole_field("VmExe"),
    // A text with addresses of this program. The field `syscall info` has the same values.
    whole_field("/proc/PID/syscall"),
    // The handler's code may leave any value in these registers before it returns. At the stop for
    // rt_sigreturn the syscall info contains them as arguments.
    parts_of("NT_PRSTATUS", &["dx", "si", "di", "r8", "r9", "r10"])
        .after_first_step("stop")
        .in_variant("PTRACE_SYSCALL"),
    parts_of("syscall info", &["call"]).after_first_step("stop").in_variant("PTRACE_SYSCALL"),
    // 32-bit code does not change the upper registers, which have values of the compiled code before it.
    parts_of("NT_PRSTATUS", &["r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"])
        .in_comparisons(&["trap-32"]),
    // The address of the C library's thread-local storage is random.
    parts_of("bases", &["fs"]),
    parts_of("NT_PRSTATUS", &["fs_base"]),
    parts_of("core's NT_PRSTATUS", &["fs_base"]),
    // The registers of an idle process hold addresses of its stack, process ids, and values of the C library.
    whole_field("NT_PRSTATUS").at_step("idle"),
    whole_field("NT_PRFPREG").at_step("idle"),
    whole_field("NT_X86_XSTATE").at_step("idle"),
    parts_of("syscall info", &["stack_pointer"]).at_step("idle"),
];

/// Fields with addresses of this program, which differ between two builds of it. They are recorded with
/// placeholders in place of the addresses.
pub(super) const FIELDS_WITH_ADDRESSES: &[&str] = &[
    "registers",
    "frame",
    "siginfo",
    "queue of the task",
    "queue of the process",
    "dispatch",
    "syscall info",
    "NT_PRSTATUS",
    "core's NT_PRSTATUS",
    "core's NT_SIGINFO",
    "core's NT_AUXV",
];

/// The rows for parts of the case `id` that are not recorded.
pub(super) fn unrecorded_rows(id: &str) -> Vec<&'static AllowedDifference> {
    filter_rows(UNRECORDED, id)
}

/// The rows of [`ALLOWED_DIFFERENCES`] that hold for the case `id`.
pub(super) fn rows_of_case(id: &str) -> Vec<&'static AllowedDifference> {
    filter_rows(ALLOWED_DIFFERENCES, id)
}

/// The rows that hold for the case `id`.
fn filter_rows(rows: &'static [AllowedDifference], id: &str) -> Vec<&'static AllowedDifference> {
    let name = id.split_once('/').map_or(id, |(_, name)| name);
    let name = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    let holds =
        |row: &&AllowedDifference| row.comparisons.is_empty() || row.comparisons.contains(&name);
    rows.iter().filter(holds).collect()
}

/// The names of the comparisons with a seccomp trap.
const TRAP_COMPARISONS: &[&str] = &["trap", "int80-trap", "trap-32"];

/// The differences between the two records of a comparison that are allowed.
const ALLOWED_DIFFERENCES: &[AllowedDifference] = &[
    // The number of the signal is an argument of the call and of the handler, and is blocked in the handler.
    parts_of("registers", &["Dx"]).in_comparisons(&["other-signal"]),
    parts_of("registers", &["Di"]).at_step("handler").in_comparisons(&["other-signal"]),
    whole_field("signal").in_comparisons(&["other-signal"]),
    parts_of("frame", &["dx", "si_signo"]).in_comparisons(&["other-signal"]),
    whole_field("mask").at_step("handler").in_comparisons(&["other-signal"]),
    whole_field("SigCgt").in_comparisons(&["other-signal"]),
    // The processor may or may not report a component in its initial state as in use (XINUSE).
    parts_of("floating", &["xstate_bv"]),
    parts_of("NT_X86_XSTATE", &["xstate_bv"]),
    parts_of("floating point frame", &["xstate_bv"]).in_variant("initial-state"),
    // si_code is SYS_SECCOMP in place of SYS_USER_DISPATCH: force_sig_seccomp().
    parts_of("frame", &["si_code"]).in_comparisons(TRAP_COMPARISONS),
    parts_of("siginfo", &["si_code"]).in_comparisons(TRAP_COMPARISONS),
    parts_of("core's NT_SIGINFO", &["si_code"]).in_comparisons(TRAP_COMPARISONS),
    // A core has the PKRU value of the last context switch: thread.pkru.
    parts_of("core's NT_X86_XSTATE", &["pkru", "xstate_bv"]),
    // The call that queues the signal is executed and leaves its result.
    parts_of("core's NT_PRSTATUS", &["ax"]).in_comparisons(&["queued"]),
    parts_of("frame", &["ax"]).in_comparisons(&["queued"]),
    parts_of("registers", &["Ax"]).in_comparisons(&["queued"]),
    parts_of("NT_PRSTATUS", &["ax"]).in_comparisons(&["queued"]),
    // The first thread waits, and the note describes the first thread: fill_psinfo().
    parts_of("core's NT_PRPSINFO", &["pr_state", "pr_sname", "pr_flag"])
        .in_comparisons(&["thread"]),
    // The core has one more thread.
    whole_field("").at_step("other thread").in_comparisons(&["thread"]),
    // Installing a filter without privileges requires PR_SET_NO_NEW_PRIVS.
    whole_field("NoNewPrivs").in_comparisons(&["filtered"]),
    // The compiler of filters asks whether the task has CAP_SYS_ADMIN, which sets PF_SUPERPRIV:
    // emit_spectre_bhb_barrier(), ns_capable_noaudit().
    parts_of("core's NT_PRPSINFO", &["pr_flag"]).in_comparisons(&["filtered"]),
    // The seccomp mode is SECCOMP_MODE_FILTER, with one filter.
    whole_field("Seccomp").in_comparisons(&["filtered"]),
    whole_field("Seccomp_filters").in_comparisons(&["filtered"]),
    // The process has two threads: the first thread, which waits, and the calling thread.
    whole_field("Threads").in_comparisons(&["thread"]),
    // The child has a copy of the parent's trap number, and the parent's last trap was a breakpoint.
    parts_of("frame", &["trapno"]).in_comparisons(&["born-of-stepped"]),
    // Only one of the two tasks is armed.
    whole_field("dispatch").in_comparisons(&[
        "trap",
        "queued",
        "allowed",
        "disarmed",
        "allowed-trap",
        "trap-32",
    ]),
    // The configuration that the tracer reads has no selector.
    parts_of("dispatch", &["selector"]).in_comparisons(&["no-selector"]),
    // The syscall instruction stores the address of the next instruction and the flags in rcx and r11; int
    // 0x80 does not. The two instructions are at different addresses.
    parts_of("registers", &["Cx", "R11", "Ip"]).in_comparisons(&["int80"]),
    // The same registers differ in the frame, and si_arch names the calling convention.
    parts_of("frame", &["cx", "r11", "ip", "si_call_addr", "si_arch"]).in_comparisons(&["int80"]),
    // A 32-bit handler is called with other arguments, on a frame with another length.
    parts_of("registers", &["Ax", "Cx", "Dx", "Di", "Si", "Sp"])
        .at_step("handler")
        .in_comparisons(&["frame-32"]),
    whole_field("below the frame").in_comparisons(&["frame-32"]),
    whole_field("after the frame").in_comparisons(&["frame-32"]),
    whole_field("above the frame").in_comparisons(&["frame-32"]),
    whole_field("change of the stack").in_comparisons(&["frame-32"]),
    whole_field("change of the alternate stack").in_comparisons(&["frame-32"]),
    // The kernel loads ds and es for a 32-bit handler, with __USER_DS.
    parts_of("segments", &["ds", "es"])
        .at_step("handler")
        .in_comparisons(&["frame-32"])
        .if_actual(&[0x2b]),
    // Kernels without fixup_rpl() in arch/x86/kernel/signal_32.c, such as 6.1, set the RPL of null
    // selectors at the return from a 32-bit handler. Loading FS with a null selector clears the base of FS.
    parts_of("segments", &["fs", "gs"]).in_comparisons(&["frame-32"]).if_actual(&[3]),
    parts_of("frame", &["fs", "gs"]).in_comparisons(&["frame-32"]).if_actual(&[3]),
    parts_of("bases", &["fs"]).in_comparisons(&["frame-32"]).if_actual(&[0]),
    // Only the flags of a 64-bit context describe segments. The floating point state is at another address.
    parts_of("frame", &["uc_flags", "padding after ss_flags", "fpstate", "reserved1"])
        .in_comparisons(&["frame-32"]),
    // The extended size includes the state in the format of fsave, which only 32-bit frames have.
    parts_of("floating point frame", &["sw_reserved.extended_size"]).in_comparisons(&["frame-32"]),
    // Without SA_SIGINFO a 32-bit frame has no context.
    parts_of(
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
    .in_comparisons(&["frame-32"])
    .in_variant("no-siginfo"),
];

/// The kernel function that writes a field of a record.
pub(super) fn kernel_function_of(field: &str) -> &'static str {
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
