// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Finds conditions and statements in C code of the kernel's coding style, and makes mutants of them.

use super::Mutant;
use std::fmt::Write as _;

/// Operators and their replacements.
const OPERATORS: &[(&str, &str)] = &[
    (" < ", " <= "),
    (" <= ", " < "),
    (" == ", " != "),
    (" != ", " == "),
    (" && ", " || "),
    (" || ", " && "),
    (" + ", " - "),
    (" - ", " + "),
    (" & ", " | "),
];

/// Constants, operands and functions, and their replacements.
const WORDS: &[(&str, &str)] = &[
    ("0", "1"),
    ("true", "false"),
    ("false", "true"),
    ("offset", "len"),
    ("len", "offset"),
    ("task", "current"),
    ("child", "current"),
    ("tsk", "orig"),
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
];

/// Keywords that begin a declaration.
const TYPES: &[&str] = &["struct", "const", "unsigned", "char", "bool", "int", "long", "static"];

/// A piece of code that has mutants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Condition,
    /// The initializer of a declaration.
    Initializer,
    Statement,
    /// The `return` at the end of a function. It cannot be dropped: the function would have no value.
    LastReturn,
}

/// Returns the code with a selection of a mutant at each condition and statement, and adds the
/// mutants to the list.
pub(super) fn mutate(code: &str, file: &str, mutants: &mut Vec<Mutant>) -> String {
    let mut out = String::new();
    let mut done = 0;
    for (kind, begin, end) in units(&without_comments(code)) {
        let original = code[begin..end].split_whitespace().collect::<Vec<_>>().join(" ");
        let mut selection = String::new();
        for replacement in variants(kind, &original) {
            let number = mutants.len() + 1;
            let _ = match kind {
                Kind::Condition | Kind::Initializer => {
                    write!(selection, "sudbox_mutant == {number} ? ({replacement}) : ")
                }
                Kind::Statement | Kind::LastReturn => {
                    write!(selection, "if (sudbox_mutant == {number}) {{ {replacement} }} else ")
                }
            };
            let is_equal = |mutant: &&Mutant| {
                let in_file = mutant.place.split(',').next() == Some(file);
                in_file && (&mutant.original, &mutant.replacement) == (&original, &replacement)
            };
            let place = match mutants.iter().filter(is_equal).count() {
                0 => file.to_owned(),
                before => format!("{file}, place {}", before + 1),
            };
            mutants.push(Mutant { number, place, original: original.clone(), replacement });
        }
        out.push_str(&code[done..begin]);
        match kind {
            _ if selection.is_empty() => out.push_str(&code[begin..end]),
            Kind::Condition | Kind::Initializer => {
                out.push_str(&format!("({selection}({original}))"));
            }
            Kind::Statement | Kind::LastReturn => {
                out.push_str(&format!("{{ {selection}{original} }}"));
            }
        }
        done = end;
    }
    out.push_str(&code[done..]);
    out
}

/// The replacements for one condition, initializer or statement.
fn variants(kind: Kind, was: &str) -> Vec<String> {
    let mut all = Vec::new();
    if kind == Kind::Condition {
        all.push(format!("!({was})"));
    }
    if kind == Kind::Statement {
        all.push(String::new());
    }
    for (old, new) in OPERATORS {
        all.extend(was.match_indices(old).map(|(at, _)| replaced(was, at, old, new)));
    }
    for (old, new) in WORDS {
        let places = was.match_indices(old).filter(|(at, _)| is_word(was, *at, old.len()));
        all.extend(places.map(|(at, _)| replaced(was, at, old, new)));
    }
    // Signs and negations.
    for sign in ["!", "-"] {
        let places = was.match_indices(sign).filter(|(at, _)| {
            let before = was[..*at].chars().next_back();
            let after = was[at + 1..].chars().next();
            after.is_some_and(|c| c.is_alphabetic() || c == '_')
                && before.is_none_or(|c| c == ' ' || c == '(')
        });
        all.extend(places.map(|(at, _)| replaced(was, at, sign, "")));
    }
    // Off by one.
    if let Some((target, value)) = was.strip_suffix(';').and_then(|text| text.split_once(" = "))
        && !["0", "true", "false"].contains(&value)
    {
        all.push(format!("{target} = {value} + 1;"));
    }
    all
}

fn replaced(text: &str, at: usize, old: &str, new: &str) -> String {
    format!("{}{new}{}", &text[..at], &text[at + old.len()..])
}

fn is_word(text: &str, at: usize, length: usize) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    !text[..at].chars().next_back().is_some_and(part)
        && !text[at + length..].chars().next().is_some_and(part)
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
        .map(|line| if line.starts_with('#') { " ".repeat(line.len()) } else { line.to_owned() })
        .collect()
}

/// Conditions, initializers and statements with their begin and end offsets, in order.
fn units(code: &str) -> Vec<(Kind, usize, usize)> {
    let mut all = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let rest = &code[at..];
        if rest.starts_with(|c: char| c.is_whitespace() || c == '{' || c == '}') {
            at += 1;
        } else if rest.starts_with("if (") {
            let end = at + closing(rest);
            all.push((Kind::Condition, at + 4, end));
            at = end + 1;
        } else if rest.starts_with("switch (") {
            at += closing(rest) + 1;
        } else if rest.starts_with("else") && is_word(code, at, 4) {
            at += 4;
        } else if rest.starts_with("case ") || rest.starts_with("default:") {
            at += rest.find(':').map_or(rest.len(), |colon| colon + 1);
        } else {
            let end = at + rest.find([';', '{', '}']).unwrap_or(rest.len() - 1);
            if code.as_bytes()[end] == b';' {
                all.extend(statement(code, at, end));
            }
            at = end + 1;
        }
    }
    all
}

/// The statement from `begin` to the semicolon at `end`, or the initializer if it is a declaration;
/// `None` for a declaration without one.
fn statement(code: &str, begin: usize, end: usize) -> Option<(Kind, usize, usize)> {
    let text = &code[begin..end];
    if TYPES.iter().any(|word| text.starts_with(word) && is_word(text, 0, word.len())) {
        let value = begin + text.find(" = ")? + 3;
        return Some((Kind::Initializer, value, end));
    }
    let last = text.starts_with("return") && code[end + 1..].starts_with("\n}");
    Some((if last { Kind::LastReturn } else { Kind::Statement }, begin, end + 1))
}

/// Offset of the parenthesis that closes the first one of the text.
fn closing(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return at,
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
        let _ = mutate(code, "f.c", &mut mutants);
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
        let expected = "{\n\tif ((sudbox_mutant == 1 ? (!(!a)) : sudbox_mutant == 2 ? (a) : (!a)))\
                        \n\t\t{ if (sudbox_mutant == 3) {  } else if (sudbox_mutant == 4) \
                        { b = c + 1; } else b = c; } /* why */\n}\n";
        assert_eq!(mutate(code, "f.c", &mut mutants), expected);
    }
}
