// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Finds conditions and statements in C code of the kernel's coding style, and makes mutants of them.

use super::{Family, Mutant};
use std::fmt::Write as _;

/// Operators and their replacements.
const OPERATOR_REPLACEMENTS: &[(&str, &str)] = &[
    (" < ", " <= "),
    (" <= ", " < "),
    (" == ", " != "),
    (" != ", " == "),
    (" && ", " || "),
    (" || ", " && "),
    (" + ", " - "),
    (" - ", " + "),
    (" & ", " | "),
    (" | ", " & "),
    (" |= ", " &= "),
    (" &= ", " |= "),
    (" -= ", " += "),
];

/// Constants, operands and functions, and their replacements.
const WORD_REPLACEMENTS: &[(&str, &str)] = &[
    ("0", "1"),
    ("true", "false"),
    ("false", "true"),
    ("offset", "len"),
    ("len", "offset"),
    ("task", "current"),
    ("child", "current"),
    ("arg2", "arg3"),
    ("arg3", "arg4"),
    ("arg4", "arg3"),
    ("arg5", "arg2"),
    ("addr", "data"),
    ("EINVAL", "EPERM"),
    ("EPERM", "EINVAL"),
    ("EFAULT", "EINVAL"),
    ("SIGSYS", "SIGSEGV"),
    ("SIGSEGV", "SIGSYS"),
    ("SYS_USER_DISPATCH", "SYS_SECCOMP"),
    ("PR_SYS_DISPATCH_OFF", "PR_SYS_DISPATCH_ON"),
    ("PR_SYS_DISPATCH_ON", "PR_SYS_DISPATCH_OFF"),
    ("SYSCALL_DISPATCH_FILTER_ALLOW", "SYSCALL_DISPATCH_FILTER_BLOCK"),
    ("SYSCALL_DISPATCH_FILTER_BLOCK", "SYSCALL_DISPATCH_FILTER_ALLOW"),
    ("set_task_syscall_work", "clear_task_syscall_work"),
    ("clear_task_syscall_work", "set_task_syscall_work"),
    ("syscall_user_dispatch_set_config", "syscall_user_dispatch_get_config"),
    ("syscall_user_dispatch_get_config", "syscall_user_dispatch_set_config"),
    ("sym_vdso32_sigreturn_landing_pad", "sym_vdso32_rt_sigreturn_landing_pad"),
    ("sym_vdso32_rt_sigreturn_landing_pad", "sym_vdso32_sigreturn_landing_pad"),
    ("SIG_DFL", "SIG_IGN"),
    ("SIG_IGN", "SIG_DFL"),
    ("HANDLER_CURRENT", "HANDLER_SIG_DFL"),
    ("HANDLER_SIG_DFL", "HANDLER_EXIT"),
    ("HANDLER_EXIT", "HANDLER_SIG_DFL"),
    ("PIDTYPE_PID", "PIDTYPE_TGID"),
    ("caller", "thread"),
];

/// The parameter of the functions in `kernel/fork.c` that copy a task, and its neighbour.
const FORK_REPLACEMENTS: &[(&str, &str)] = &[("tsk", "orig")];

/// Words of [`WORD_REPLACEMENTS`] that are replaced as a variable, not as the name of a member.
const VARIABLES: &[&str] = &["task", "child", "caller"];

/// Words that begin a declaration.
const DECLARATION_KEYWORDS: &[&str] = &[
    "struct",
    "const",
    "unsigned",
    "char",
    "bool",
    "int",
    "long",
    "static",
    "enum",
    "void",
    "u16",
    "u32",
    "u64",
    "pid_t",
    "size_t",
    "sigset_t",
    "stack_t",
    "kernel_siginfo_t",
    "siginfo_t",
    "compat_siginfo_t",
    "compat_sigset_t",
];

/// Beginnings of statements without mutants: locks, checks of the kernel's own state, what keeps the kernel
/// from using the memory of programs by mistake, what CPUs with FRED need, and what a compiler demands at its
/// place.
const KEPT_STATEMENTS: &[&str] = &[
    "fallthrough;",
    "lockdep_assert_held(",
    "assert_spin_locked(",
    "BUG_ON(",
    "spin_lock_irq",
    "spin_unlock_irq",
    "rcu_read_lock(",
    "rcu_read_unlock(",
    "cond_resched(",
    "smp_mb__before_atomic(",
    "user_access_end(",
    "prevent_single_step_upon_eretu(",
];

/// Folders whose functions return errors to callers that only ask whether there is one. Their errors are not
/// replaced by others.
const FOLDERS_WITHOUT_ERROR_NUMBERS: [&str; 1] = ["arch/x86/kernel/"];

/// A piece of code that has mutants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CodeKind {
    Condition,
    /// The initializer of a declaration.
    Initializer,
    Statement,
    /// A `return` after which the function has no further statement. It is never dropped, because the
    /// function would have no value.
    LastReturn,
}

/// Returns the code with a selection of a mutant at each condition and statement, and adds the
/// mutants to the list.
pub(super) fn mutate(code: &str, file: &str, family: Family, mutants: &mut Vec<Mutant>) -> String {
    let mut out = String::new();
    let mut copied_until = 0;
    for (kind, begin, end) in find_mutable_code(&without_comments(code)) {
        let original = code[begin..end].split_whitespace().collect::<Vec<_>>().join(" ");
        let mut selection = String::new();
        for replacement in find_replacements(kind, &original, file, family) {
            let number = mutants.len() + 1;
            let _ = match kind {
                CodeKind::Condition | CodeKind::Initializer => {
                    write!(selection, "sudbox_is_mutant({number}) ? ({replacement}) : ")
                }
                CodeKind::Statement | CodeKind::LastReturn => {
                    write!(selection, "if (sudbox_is_mutant({number})) {{ {replacement} }} else ")
                }
            };
            let is_equal = |mutant: &&Mutant| {
                mutant.file() == file
                    && (&mutant.original, &mutant.replacement) == (&original, &replacement)
            };
            let place = match mutants.iter().filter(is_equal).count() {
                0 => file.to_owned(),
                before => format!("{file}, place {}", before + 1),
            };
            mutants.push(Mutant { number, place, original: original.clone(), replacement });
        }
        out.push_str(&code[copied_until..begin]);
        match kind {
            _ if selection.is_empty() => out.push_str(&code[begin..end]),
            CodeKind::Condition | CodeKind::Initializer => {
                out.push_str(&format!("({selection}({original}))"));
            }
            CodeKind::Statement | CodeKind::LastReturn => {
                out.push_str(&format!("{{ {selection}{original} }}"));
            }
        }
        copied_until = end;
    }
    out.push_str(&code[copied_until..]);
    out
}

/// The replacements for one condition, initializer or statement of a file.
fn find_replacements(kind: CodeKind, original: &str, file: &str, family: Family) -> Vec<String> {
    let mut all = Vec::new();
    if kind == CodeKind::Condition {
        all.push(format!("!({original})"));
    }
    if kind == CodeKind::Statement {
        all.push(String::new());
    }
    for (old, new) in OPERATOR_REPLACEMENTS {
        all.extend(
            original.match_indices(old).map(|(offset, _)| replace_at(original, offset, old, new)),
        );
    }
    let of_file = if file == "kernel/fork.c" { FORK_REPLACEMENTS } else { &[] };
    let tells_error_numbers =
        !FOLDERS_WITHOUT_ERROR_NUMBERS.iter().any(|folder| file.starts_with(folder));
    let words = WORD_REPLACEMENTS.iter().filter(|(old, _)| tells_error_numbers || *old != "EFAULT");
    for (old, new) in words.chain(of_file) {
        let places = original.match_indices(old).filter(|(offset, _)| {
            let is_member =
                original[..*offset].ends_with("->") || original[..*offset].ends_with('.');
            is_word(original, *offset, old.len()) && !(is_member && VARIABLES.contains(old))
        });
        all.extend(places.map(|(offset, _)| replace_at(original, offset, old, new)));
    }
    // Signs and negations.
    for sign in ["!", "-"] {
        let places = original.match_indices(sign).filter(|(offset, _)| {
            let before = original[..*offset].chars().next_back();
            let after = original[offset + 1..].chars().next();
            after.is_some_and(|c| c.is_alphabetic() || c == '_')
                && before.is_none_or(|c| c == ' ' || c == '(')
        });
        all.extend(places.map(|(offset, _)| replace_at(original, offset, sign, "")));
    }
    // The negation of a comparison, or of a negation, is there already.
    let is_single = ![" && ", " || "].iter().any(|operator| original.contains(operator));
    let is_negatable =
        original.starts_with('!') || [" == ", " != "].iter().any(|o| original.contains(o));
    if family == Family::Signals && kind == CodeKind::Condition && is_single && is_negatable {
        all.remove(0);
    }
    // Off by one. Most statements of the signal code copy a register or a field; whoever sees that one is
    // dropped sees also that its value is another.
    if family == Family::Dispatch
        && let Some((target, value)) =
            original.strip_suffix(';').and_then(|text| text.split_once(" = "))
        && !["0", "true", "false"].contains(&value)
        && !is_whole_structure(value)
    {
        all.push(format!("{target} = {value} + 1;"));
    }
    all
}

/// Whether a value is a structure to which a pointer points, such as `*info`, not a number.
fn is_whole_structure(value: &str) -> bool {
    value
        .strip_prefix('*')
        .is_some_and(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'))
}

fn replace_at(text: &str, offset: usize, old: &str, new: &str) -> String {
    format!("{}{new}{}", &text[..offset], &text[offset + old.len()..])
}

fn is_word(text: &str, offset: usize, length: usize) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    !text[..offset].chars().next_back().is_some_and(part)
        && !text[offset + length..].chars().next().is_some_and(part)
}

/// The code with comments and preprocessor lines replaced by spaces; all other offsets stay.
fn without_comments(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    while let Some(begin) = rest.find("/*") {
        let end = rest[begin..].find("*/").map_or(rest.len(), |length| begin + length + 2);
        out.push_str(&rest[..begin]);
        out.push_str(&" ".repeat(end - begin));
        rest = &rest[end..];
    }
    out.push_str(rest);
    out.split_inclusive('\n')
        .map(|line| match line.find("//") {
            _ if line.starts_with('#') => " ".repeat(line.len()),
            Some(begin) => format!("{}{}", &line[..begin], " ".repeat(line.len() - begin)),
            None => line.to_owned(),
        })
        .collect()
}

/// Conditions, initializers and statements with their begin and end offsets, in order.
fn find_mutable_code(code: &str) -> Vec<(CodeKind, usize, usize)> {
    let mut all = Vec::new();
    let mut offset = 0;
    while offset < code.len() {
        let rest = &code[offset..];
        if rest.starts_with(|c: char| c.is_whitespace() || c == '{' || c == '}') {
            offset += 1;
        } else if rest.starts_with("if (") {
            let end = offset + closing_parenthesis(rest);
            all.push((CodeKind::Condition, offset + 4, end));
            offset = end + 1;
        } else if rest.starts_with("switch (") || rest.starts_with("for (") {
            offset += closing_parenthesis(rest) + 1;
        } else if rest.starts_with("else") && is_word(code, offset, 4) {
            offset += 4;
        } else if rest.starts_with("case ") {
            offset += rest.find(':').map_or(rest.len(), |colon| colon + 1);
        } else if let Some(length) = label_length(rest) {
            offset += length;
        } else {
            let end = offset + rest.find([';', '{', '}']).unwrap_or(rest.len() - 1);
            let is_kept = KEPT_STATEMENTS.iter().any(|begin| rest.starts_with(begin));
            if code.as_bytes()[end] == b';' && !is_kept {
                all.extend(classify_statement(code, offset, end));
            }
            offset = end + 1;
        }
    }
    all
}

/// Length of the label with its colon at the start of the text, such as `default:` or `Efault:`.
fn label_length(text: &str) -> Option<usize> {
    let length = text.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    (length > 0 && text[length..].starts_with(':')).then_some(length + 1)
}

/// Returns the statement from `begin` to the semicolon at `end`. Of a declaration, returns the
/// initializer, or `None` if it has none.
fn classify_statement(code: &str, begin: usize, end: usize) -> Option<(CodeKind, usize, usize)> {
    let text = &code[begin..end];
    if DECLARATION_KEYWORDS
        .iter()
        .any(|word| text.starts_with(word) && is_word(text, 0, word.len()))
    {
        let value = begin + text.find(" = ")? + 3;
        return Some((CodeKind::Initializer, value, end));
    }
    let last = text.starts_with("return") && ends_function(&code[end + 1..]);
    Some((if last { CodeKind::LastReturn } else { CodeKind::Statement }, begin, end + 1))
}

/// Whether a function ends with the blocks that end in `code`: up to its closing brace, no line at the
/// function's own indentation begins a statement.
fn ends_function(code: &str) -> bool {
    code.split_once("\n}").is_some_and(|(rest, _)| {
        rest.lines().all(|line| {
            let depth = line.len() - line.trim_start_matches('\t').len();
            depth != 1 || line.starts_with("\t}")
        })
    })
}

/// Offset of the parenthesis that closes the first one of the text.
fn closing_parenthesis(text: &str) -> usize {
    let mut depth = 0;
    for (offset, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return offset,
            ')' => depth -= 1,
            _ => {}
        }
    }
    panic!("no closing parenthesis: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(code: &str) -> Vec<String> {
        let mut mutants = Vec::new();
        let _ = mutate(code, "f.c", Family::Dispatch, &mut mutants);
        mutants.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_condition_and_statement_has_its_mutants() {
        let code = "\
static int f(struct task *task, unsigned long len)
{
	struct sd *sd = &task->sd;
	/* if (not) this; */
	if (likely(len < sd->b) ||
	    !sd->c)
		return -EINVAL;
	else
		g(len);
	return 0;
}
";
        let expected = "\
`&task->sd` becomes `&current->sd`
`likely(len < sd->b) || !sd->c` becomes `!(likely(len < sd->b) || !sd->c)`
`likely(len < sd->b) || !sd->c` becomes `likely(len <= sd->b) || !sd->c`
`likely(len < sd->b) || !sd->c` becomes `likely(len < sd->b) && !sd->c`
`likely(len < sd->b) || !sd->c` becomes `likely(offset < sd->b) || !sd->c`
`likely(len < sd->b) || !sd->c` becomes `likely(len < sd->b) || sd->c`
`return -EINVAL;` becomes `nothing`
`return -EINVAL;` becomes `return -EPERM;`
`return -EINVAL;` becomes `return EINVAL;`
`g(len);` becomes `nothing`
`g(len);` becomes `g(offset);`
`return 0;` becomes `return 1;`";
        let got: Vec<String> = list(code).iter().map(|line| line.replace("f.c: ", "")).collect();
        assert_eq!(got.join("\n"), expected);
    }

    #[test]
    fn equal_mutants_of_a_file_are_numbered() {
        let expected =
            ["f.c: `break;` becomes `nothing`", "f.c, place 2: `break;` becomes `nothing`"];
        assert_eq!(list("{\ncase A:\n\tbreak;\ncase B:\n\tbreak;\n}\n"), expected);
    }

    #[test]
    fn the_selection_is_inserted_and_other_code_stays() {
        let mut mutants = Vec::new();
        let code = "{\n\tif (!a)\n\t\tb = c; /* why */\n}\n";
        let expected = "{\n\tif ((sudbox_is_mutant(1) ? (!(!a)) : sudbox_is_mutant(2) ? (a) : (!a)))\
                        \n\t\t{ if (sudbox_is_mutant(3)) {  } else if (sudbox_is_mutant(4)) \
                        { b = c + 1; } else b = c; } /* why */\n}\n";
        assert_eq!(mutate(code, "f.c", Family::Dispatch, &mut mutants), expected);
    }
}
