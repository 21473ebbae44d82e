// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Finds conditions and statements in C code of the kernel's coding style, and makes mutants of them.

use super::Mutant;
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
const DECLARATION_KEYWORDS: &[&str] =
    &["struct", "const", "unsigned", "char", "bool", "int", "long", "static"];

/// A piece of code that has mutants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CodeKind {
    Condition,
    /// The initializer of a declaration.
    Initializer,
    Statement,
    /// The `return` at the end of a function. It is never dropped, because the function would have no value.
    LastReturn,
}

/// Returns the code with a selection of a mutant at each condition and statement, and adds the
/// mutants to the list.
pub(super) fn mutate(code: &str, file: &str, mutants: &mut Vec<Mutant>) -> String {
    let mut out = String::new();
    let mut copied_until = 0;
    for (kind, begin, end) in find_mutable_code(&without_comments(code)) {
        let original = code[begin..end].split_whitespace().collect::<Vec<_>>().join(" ");
        let mut selection = String::new();
        for replacement in find_replacements(kind, &original) {
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
                let in_file = mutant.place.split(',').next() == Some(file);
                in_file && (&mutant.original, &mutant.replacement) == (&original, &replacement)
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

/// The replacements for one condition, initializer or statement.
fn find_replacements(kind: CodeKind, original: &str) -> Vec<String> {
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
    for (old, new) in WORD_REPLACEMENTS {
        let places =
            original.match_indices(old).filter(|(offset, _)| is_word(original, *offset, old.len()));
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
    // Off by one.
    if let Some((target, value)) =
        original.strip_suffix(';').and_then(|text| text.split_once(" = "))
        && !["0", "true", "false"].contains(&value)
    {
        all.push(format!("{target} = {value} + 1;"));
    }
    all
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
        .map(|line| if line.starts_with('#') { " ".repeat(line.len()) } else { line.to_owned() })
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
        } else if rest.starts_with("switch (") {
            offset += closing_parenthesis(rest) + 1;
        } else if rest.starts_with("else") && is_word(code, offset, 4) {
            offset += 4;
        } else if rest.starts_with("case ") || rest.starts_with("default:") {
            offset += rest.find(':').map_or(rest.len(), |colon| colon + 1);
        } else {
            let end = offset + rest.find([';', '{', '}']).unwrap_or(rest.len() - 1);
            if code.as_bytes()[end] == b';' {
                all.extend(classify_statement(code, offset, end));
            }
            offset = end + 1;
        }
    }
    all
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
    let last = text.starts_with("return") && code[end + 1..].starts_with("\n}");
    Some((if last { CodeKind::LastReturn } else { CodeKind::Statement }, begin, end + 1))
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
        let expected = "{\n\tif ((sudbox_is_mutant(1) ? (!(!a)) : sudbox_is_mutant(2) ? (a) : (!a)))\
                        \n\t\t{ if (sudbox_is_mutant(3)) {  } else if (sudbox_is_mutant(4)) \
                        { b = c + 1; } else b = c; } /* why */\n}\n";
        assert_eq!(mutate(code, "f.c", &mut mutants), expected);
    }
}
