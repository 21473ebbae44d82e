// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The sections of the kernel's source that are mutated.

use super::DISPATCH;

const X86_SIGNAL: &str = "arch/x86/kernel/signal.c";
const X86_SIGNAL_64: &str = "arch/x86/kernel/signal_64.c";
const X86_SIGNAL_32: &str = "arch/x86/kernel/signal_32.c";
const SIGNAL: &str = "kernel/signal.c";
const CORE_DUMP: &str = "fs/binfmt_elf.c";
const SECCOMP: &str = "kernel/seccomp.c";
const PTRACE: &str = "kernel/ptrace.c";

/// A section of code to mutate.
pub(super) struct MutatedSection {
    /// Series whose source has the section.
    pub(super) kernels: &'static [&'static str],
    /// File below the root of the tree.
    pub(super) file: &'static str,
    /// Text with which the section begins.
    pub(super) from: &'static str,
    /// Text before which the section ends; empty for the end of the file.
    pub(super) to: &'static str,
}

const fn section_in_both(
    file: &'static str,
    from: &'static str,
    to: &'static str,
) -> MutatedSection {
    MutatedSection { kernels: &["6.12", "7.3"], file, from, to }
}

const fn section_in_6_12(
    file: &'static str,
    from: &'static str,
    to: &'static str,
) -> MutatedSection {
    MutatedSection { kernels: &["6.12"], file, from, to }
}

const fn section_in_7_3(
    file: &'static str,
    from: &'static str,
    to: &'static str,
) -> MutatedSection {
    MutatedSection { kernels: &["7.3"], file, from, to }
}

/// The dispatch code, and the lines about dispatch in other files.
pub(super) const DISPATCH_SECTIONS: &[MutatedSection] = &[
    section_in_6_12(DISPATCH, "static void trigger_sigsys(", ""),
    section_in_7_3(DISPATCH, "static void trigger_sigsys(", "\n#ifdef CONFIG_SYSCTL"),
    section_in_7_3(
        DISPATCH,
        "static int __init syscall_user_dispatch_sysctl_init(",
        "late_initcall(",
    ),
    section_in_6_12(
        "kernel/entry/common.c",
        "\tif (work & SYSCALL_WORK_SYSCALL_USER_DISPATCH) {\n\t\tif (syscall_user_dispatch(",
        "\t/* Handle ptrace */",
    ),
    section_in_6_12(
        "kernel/entry/common.c",
        "\tif (work & SYSCALL_WORK_SYSCALL_USER_DISPATCH) {\n\t\tif (unlikely(",
        "\taudit_syscall_exit(",
    ),
    section_in_7_3(
        "include/linux/entry-common.h",
        "\tif (work & SYSCALL_WORK_SYSCALL_USER_DISPATCH) {\n\t\tif (syscall_user_dispatch(",
        "\t/*\n\t * User space got a time slice",
    ),
    section_in_7_3(
        "include/linux/entry-common.h",
        "\tif (work & SYSCALL_WORK_SYSCALL_USER_DISPATCH) {\n\t\tif (syscall_user_dispatch_clear",
        "\taudit_syscall_exit(",
    ),
    section_in_7_3(
        "include/linux/syscall_user_dispatch.h",
        "static __always_inline bool syscall_user_dispatch_clear_on_dispatch(",
        "int set_syscall_user_dispatch(",
    ),
    section_in_both(
        "kernel/fork.c",
        "\tclear_syscall_work_syscall_user_dispatch(",
        "#ifdef CONFIG_STACKPROTECTOR",
    ),
    section_in_both(
        "fs/exec.c",
        "\tclear_syscall_work_syscall_user_dispatch(",
        "\tif (bprm->secureexec)",
    ),
    section_in_both(
        "kernel/ptrace.c",
        "\tcase PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG:",
        "\tdefault:",
    ),
    section_in_both(
        "kernel/sys.c",
        "\tcase PR_SET_SYSCALL_USER_DISPATCH:",
        "#ifdef CONFIG_SCHED_CORE",
    ),
    section_in_both(
        "arch/x86/entry/vdso/vma.c",
        "bool arch_syscall_is_vdso_sigreturn(",
        "#ifdef CONFIG_X86_64",
    ),
];

/// The code that a dispatched call passes on its way to a handler and back, to a tracer or to a core dump.
pub(super) const SIGNAL_SECTIONS: &[MutatedSection] = &[
    section_in_both(
        X86_SIGNAL,
        "\tbool nested_altstack = on_sig_stack(",
        "\t\tif (show_unhandled_signals",
    ),
    section_in_both(
        X86_SIGNAL,
        "\t\treturn (void __user *)-1L;\n\t}\n\n",
        "/*\n * There are four different struct types",
    ),
    section_in_both(
        X86_SIGNAL,
        "\trseq_signal_deliver(ksig, regs);",
        "\t\t\treturn ia32_setup_rt_frame(",
    ),
    section_in_both(
        X86_SIGNAL,
        "\t/* Are we from a system call? */",
        "static inline unsigned long get_nr_restart_syscall(",
    ),
    section_in_both(
        X86_SIGNAL,
        "\tif (current->restart_block.arch_data & TS_COMPAT)\n",
        "#endif\n",
    ),
    section_in_both(X86_SIGNAL, "\tif (get_signal(&ksig)) {", "void signal_fault("),
    section_in_both(X86_SIGNAL, "\tforce_sig(SIGSEGV);", "#ifdef CONFIG_DYNAMIC_SIGFRAME"),
    section_in_both(
        X86_SIGNAL_64,
        "\t/* Always make any pending restarted",
        "static __always_inline int\n__unsafe_setup_sigcontext(",
    ),
    section_in_both(
        X86_SIGNAL_64,
        "\tunsafe_put_user(regs->di, &sc->di, Efault);",
        "#define unsafe_put_sigcontext(",
    ),
    section_in_both(
        X86_SIGNAL_64,
        "static unsigned long frame_uc_flags(",
        "/*\n * Do a signal return;",
    ),
    section_in_both(
        X86_SIGNAL_64,
        "SYSCALL_DEFINE0(rt_sigreturn)\n",
        "#ifdef CONFIG_X86_X32_ABI\n",
    ),
    section_in_both(
        X86_SIGNAL_32,
        "\t/* Always make any pending restarted",
        "#ifdef CONFIG_IA32_EMULATION\n\treload_segments(",
    ),
    section_in_both(
        X86_SIGNAL_32,
        "\treturn fpu__restore_sig(",
        "/*\n * Set up a signal frame.\n */",
    ),
    section_in_both(
        X86_SIGNAL_32,
        "\tunsafe_put_user(get_user_seg(gs)",
        "#else\n\tunsafe_put_user(regs->fs",
    ),
    section_in_both(
        X86_SIGNAL_32,
        "\tunsafe_put_user(regs->di, &sc->di, Efault);",
        "#define unsafe_put_sigcontext32(",
    ),
    section_in_both(X86_SIGNAL_32, "\tframe = get_sigframe(", "#else\n\tregs->ds = __USER_DS;"),
    section_in_both(X86_SIGNAL_32, "\tregs->cs = __USER32_CS;", "int ia32_setup_rt_frame("),
    section_in_both(X86_SIGNAL_32, "\tframe = get_sigframe(", "#else\n\tregs->ds = __USER_DS;"),
    section_in_both(
        X86_SIGNAL_32,
        "\tregs->cs = __USER32_CS;",
        "/*\n * The siginfo_t structure and",
    ),
    section_in_both(
        SIGNAL,
        "\tif (unlikely(t->signal->flags & SIGNAL_UNKILLABLE) &&\n\t    handler",
        "\t/* Only allow kernel generated",
    ),
    section_in_both(
        SIGNAL,
        "\tif (sigismember(&t->blocked, sig) || ",
        "/*\n * Re-calculate pending state",
    ),
    section_in_both(SIGNAL, "\tx = *s &~ *m;", "\tswitch (_NSIG_WORDS) {"),
    section_in_both(
        SIGNAL,
        "\t/*\n\t * Might a synchronous signal be",
        "/*\n * Tell a process that it has a new",
    ),
    section_in_both(
        SIGNAL,
        "\treturn !sig_ignored(p, sig, force);",
        "/*\n * Test if P wants to take SIG.",
    ),
    // What follows is for signals that dump no core: neither SIGSYS nor SIGSEGV is one.
    section_in_7_3(
        SIGNAL,
        "\t\tif (!sig_kernel_coredump(sig))",
        "\t\t\t/*\n\t\t\t * Start a group exit",
    ),
    section_in_both(
        SIGNAL,
        "\tsignal_wake_up(t, sig == SIGKILL);",
        "static inline bool legacy_queue(",
    ),
    section_in_both(
        SIGNAL,
        "\tif (!prepare_signal(sig, t, force))",
        "\t/*\n\t * Skip useless siginfo allocation",
    ),
    section_in_both(
        SIGNAL,
        "\tif (sig < SIGRTMIN)\n\t\toverride_rlimit",
        "\telse\n\t\toverride_rlimit = 0;",
    ),
    section_in_both(
        SIGNAL,
        "\t\tdefault:\n\t\t\tcopy_siginfo(&q->info, info);",
        "\t} else if (!is_si_special(info) &&",
    ),
    section_in_both(
        SIGNAL,
        "\tsignalfd_notify(t, sig);\n\tsigaddset(&pending->signal, sig);\n\n\t/* Let multiprocess",
        "\t/* Let multiprocess",
    ),
    section_in_both(
        SIGNAL,
        "\tcomplete_signal(sig, t, type);\nret:",
        "static inline bool has_si_pid_and_uid(",
    ),
    section_in_both(
        SIGNAL,
        "\taction = &t->sighand->action[sig-1];\n\tignored",
        "/*\n * Nuke all other threads",
    ),
    section_in_both(SIGNAL, "void force_sig(int sig)", "EXPORT_SYMBOL(force_sig);"),
    section_in_both(SIGNAL, "void force_exit_sig(int sig)", "int force_sig_fault_to_task("),
    section_in_both(
        SIGNAL,
        "\tcurrent->ptrace_message = message;",
        "\t/*\n\t * If @why is CLD_STOPPED",
    ),
    section_in_both(
        SIGNAL,
        "\texit_code = current->exit_code;\n",
        "\t/* LISTENING can be set only",
    ),
    section_in_both(
        SIGNAL,
        "\tsignr = ptrace_stop(signr, CLD_TRAPPED",
        "static void hide_si_addr_tag_bits(",
    ),
    section_in_both(
        SIGNAL,
        "\t\ttype = PIDTYPE_PID;\n\t\tsignr = dequeue_synchronous_signal",
        "\t\tif (sig_kernel_stop(signr)) {\n",
    ),
    section_in_both(SIGNAL, "\t\tcurrent->flags |= PF_SIGNALED;", "\t\t\tif (print_fatal_signals)"),
    section_in_7_3(
        SIGNAL,
        "\t\t\tvfs_coredump(&ksig->info);",
        "\t\t/*\n\t\t * PF_USER_WORKER threads",
    ),
    section_in_both(
        SIGNAL,
        "\t\tdo_group_exit(signr);",
        "\tif (signr && !(ksig->ka.sa.sa_flags & SA_EXPOSE_TAGBITS))",
    ),
    section_in_both(
        SIGNAL,
        "static void signal_delivered(",
        "/*\n * It could be that complete_signal()",
    ),
    section_in_both(
        SIGNAL,
        "\ttsk->blocked = *newset;",
        "/*\n * This is also useful for kernel threads",
    ),
    section_in_both(
        SIGNAL,
        "static bool known_siginfo_layout(",
        "\telse if (si_code >= SI_DETHREAD)",
    ),
    section_in_both(
        SIGNAL,
        "\tenum siginfo_layout layout = SIL_KILL;",
        "\t\t\t/* Handle the exceptions */",
    ),
    section_in_both(
        SIGNAL,
        "int copy_siginfo_to_user(siginfo_t",
        "static int post_copy_siginfo_from_user(",
    ),
    section_in_both(
        SIGNAL,
        "int copy_siginfo_from_user(",
        "#ifdef CONFIG_COMPAT\n/**\n * copy_siginfo_to_external32",
    ),
    section_in_both(SIGNAL, "\tmemset(to, 0, sizeof(*to));", "\tcase SIL_KILL:\n"),
    section_in_both(
        SIGNAL,
        "\tcase SIL_SYS:\n\t\tto->si_call_addr",
        "static int post_copy_siginfo_from_user32(",
    ),
    section_in_both(
        SIGNAL,
        "\tclear_siginfo(to);\n\tto->si_signo = from->si_signo;",
        "\tcase SIL_KILL:\n",
    ),
    section_in_both(
        SIGNAL,
        "\tcase SIL_SYS:\n\t\tto->si_call_addr",
        "static int __copy_siginfo_from_user32(",
    ),
    section_in_both(SIGNAL, "int copy_siginfo_from_user32(", "#endif /* CONFIG_COMPAT */"),
    section_in_both(SIGNAL, "int restore_altstack(const stack_t", "int __save_altstack("),
    section_in_both(SIGNAL, "int compat_restore_altstack(", "int __compat_save_altstack("),
    section_in_both(CORE_DUMP, "static int notesize(", "static void fill_elf_header("),
    section_in_7_3(CORE_DUMP, "\tnote->name = name;\n", "#define fill_note("),
    section_in_both(
        CORE_DUMP,
        "\tprstatus->pr_info.si_signo =",
        "\tif (thread_group_leader(p)) {\n",
    ),
    section_in_both(
        CORE_DUMP,
        "\tcopy_siginfo_to_external(csigdata",
        "/*\n * Format of NT_FILE note:",
    ),
    section_in_both(
        CORE_DUMP,
        "\tfill_prstatus(&t->prstatus.common",
        "\t\tif (WARN_ON_ONCE(note_iter >= ",
    ),
    section_in_7_3(CORE_DUMP, "\t\tif (is_fpreg)\n", "\t\t/* There should be a note name"),
    section_in_7_3(
        CORE_DUMP,
        "\t\t__fill_note(&t->notes[note_iter]",
        "#else\nstatic int fill_thread_core_info(",
    ),
    section_in_both(
        CORE_DUMP,
        "\tinfo->thread->task = dump_task;",
        "\t/*\n\t * Fill in the two process-wide notes.",
    ),
    section_in_both(
        CORE_DUMP,
        "\tfill_siginfo_note(&info->signote",
        "\tfill_auxv_note(&info->auxv",
    ),
    section_in_both(CORE_DUMP, "\t\tif (!writenote(&t->notes[0], cprm))", "\t} while (t);"),
    section_in_both(
        SECCOMP,
        "\ttask->seccomp.mode = seccomp_mode;",
        "\t/* Assume default seccomp processes",
    ),
    section_in_both(
        SECCOMP,
        "\tset_task_syscall_work(task, SECCOMP);",
        "#ifdef CONFIG_SECCOMP_FILTER\n",
    ),
    section_in_both(
        SECCOMP,
        "\t/* NULL is the root ancestor. */",
        "/**\n * seccomp_can_sync_threads:",
    ),
    section_in_both(
        SECCOMP,
        "\tcaller = current;\n\tfor_each_thread(caller, thread) {\n\t\tpid_t failed;",
        "\t\t/* If the pid cannot be resolved",
    ),
    section_in_both(SECCOMP, "\t\treturn failed;", "static inline void seccomp_filter_free("),
    section_in_both(SECCOMP, "\t/* Synchronize all threads. */", "/**\n * seccomp_prepare_filter:"),
    section_in_both(
        PTRACE,
        "static int ptrace_getsiginfo(",
        "#ifdef CONFIG_RSEQ\nstatic long ptrace_get_rseq",
    ),
    section_in_both(
        PTRACE,
        "\tinfo->entry.nr = syscall_get_nr(",
        "static int\nptrace_get_syscall_info(struct",
    ),
    section_in_7_3(
        PTRACE,
        "\tunsigned long actual_size = ",
        "static int\nptrace_set_syscall_info_entry(",
    ),
    section_in_both(PTRACE, "\tcase PTRACE_GETSIGINFO:\n", "\tcase PTRACE_GETSIGMASK: {"),
    section_in_both(PTRACE, "\tcase PTRACE_GETSIGINFO:\n", "#ifdef CONFIG_HAVE_ARCH_TRACEHOOK\n"),
];
