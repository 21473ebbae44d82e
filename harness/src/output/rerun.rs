// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The command that runs one case again on the same kernel, in make syntax when run from make.

use crate::cli::{self, Backend, BuildArgs, MatrixArgs, VmArgs};
use crate::selection::BOOT;
use std::fmt::Write as _;
use sudbox_guest_init::bench;
use sudbox_guest_init::case::{Case, Run};

/// The command without its case.
#[derive(Clone, Debug)]
pub(crate) struct Rerun {
    line: String,
    by_make: bool,
    options: String,
}

impl Rerun {
    /// From what was typed.
    pub(crate) fn of(kernel: &str, build: &BuildArgs, vm: &VmArgs) -> Rerun {
        let by_make = std::env::var_os("SUDBOX_MAKE").is_some();
        let mut line = String::from(if by_make { "make test-kernel" } else { "sudbox run" });
        let mut add = |variable: &str, option: &str, value: &str| {
            if !value.is_empty() {
                let value = quoted(value);
                let word = if by_make {
                    format!(" {variable}={value}")
                } else {
                    format!(" {option}{value}")
                };
                line.push_str(&word);
            }
        };
        add("KERNEL", "", kernel);
        add("FLAVOUR", "--flavour ", &build.flavour);
        add("ARCH", "--arch ", &build.arch);
        for (variable, option, value) in options(build, vm) {
            // make passes on no option that has no variable.
            if !(by_make && variable.is_empty()) {
                add(variable, option, &value);
            }
        }
        let shown: Vec<String> = options(build, vm)
            .into_iter()
            .filter(|(_, _, value)| !value.is_empty())
            .map(|(_, option, value)| format!("{option}{}", quoted(&value)))
            .collect();
        Rerun { line, by_make, options: shown.join(" ") }
    }

    /// The options beside kernel, architecture and flavour, as on the command line.
    pub(crate) fn options(&self) -> &str {
        &self.options
    }

    /// The same with these patches.
    pub(crate) fn with_patches(mut self, patches: &[String]) -> Rerun {
        let option = if self.by_make { "PATCHES=" } else { "--patches " };
        for path in patches.iter().filter(|path| !path.is_empty()) {
            let _ = write!(self.line, " {option}{}", quoted(path));
            let _ = write!(self.options, " --patches {}", quoted(path));
        }
        self
    }

    /// The same with this option, unless it has its default. make has no variable
    /// for such options, and passes none on.
    pub(crate) fn with_number(mut self, option: &str, value: u64, default: u64) -> Rerun {
        if value != default && !self.by_make {
            let _ = write!(self.line, " {option} {value}");
        }
        self
    }

    /// The command for this case.
    pub(crate) fn case(&self, case: &Case) -> String {
        match (case.run, self.by_make) {
            (
                Run::Check(_) | Run::Compare(_) | Run::Conserve(_) | Run::Point(_) | Run::Random(_),
                _,
            ) => self.listed(case.id),
            (Run::Walk(seed), true) => format!("{} FUZZ=1 SEED={seed}", self.line),
            (Run::Walk(seed), false) => format!("{} --fuzz 1 --seed {seed}", self.line),
        }
    }

    /// The command for the case that is about booting.
    pub(crate) fn boot(&self) -> String {
        self.listed(BOOT)
    }

    fn listed(&self, id: &str) -> String {
        if let Some(name) = id.strip_prefix(bench::PREFIX) {
            let (of_run, of_bench, option) = if self.by_make {
                ("make test-kernel", "make bench", "BENCH=")
            } else {
                ("sudbox run", "sudbox bench", "--only ")
            };
            return format!("{} {option}{name}", self.line.replacen(of_run, of_bench, 1));
        }
        let option = if self.by_make { "CASES=" } else { "--cases " };
        format!("{} {option}{id}", self.line)
    }
}

/// The options that were given beside kernel, architecture and flavour: make variable, option, value.
fn options(build: &BuildArgs, vm: &VmArgs) -> Vec<(&'static str, &'static str, String)> {
    let mut options = vec![("LINUX", "--linux ", build.source.linux.clone())];
    options.extend(
        build.source.config.iter().map(|fragment| ("CONFIG", "--config ", fragment.clone())),
    );
    let toolchain = &build.source.toolchain;
    for (variable, option, value) in [
        ("APPEND", "--append ", &vm.append),
        ("CC", "--cc ", &toolchain.cc),
        ("LLVM", "--llvm ", &toolchain.llvm),
        ("CROSS_COMPILE", "--cross-compile ", &toolchain.cross_compile),
        ("KCFLAGS", "--kcflags ", &toolchain.kcflags),
        ("", "--cpu-model ", &vm.cpu_model),
    ] {
        options.push((variable, option, value.clone()));
    }
    if vm.backend != Backend::AUTO {
        options.push(("", "--backend ", vm.backend.name().to_owned()));
    }
    if vm.cpus != 1 {
        options.push(("", "--cpus ", vm.cpus.to_string()));
    }
    if vm.memory != cli::MEMORY {
        options.push(("", "--memory ", vm.memory.to_string()));
    }
    options
}

/// The command that runs a matrix, as scripts call it.
pub(crate) fn matrix(args: &MatrixArgs, build: &BuildArgs) -> String {
    let mut line = String::from("sudbox matrix");
    let mut add = |option: &str, value: &str| {
        if !value.is_empty() {
            let _ = write!(line, " {option}{}", quoted(value));
        }
    };
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    add("--kernels ", &words(&args.kernels));
    add("--arches ", &words(&args.arches));
    add("--flavours ", &words(&args.flavours));
    add("--cases ", &args.cases);
    for (_, option, value) in options(build, &args.vm) {
        add(option, &value);
    }
    if args.timeout != cli::TIMEOUT {
        add("--timeout ", &args.timeout.to_string());
    }
    if args.strict {
        line.push_str(" --strict");
    }
    line
}

/// A word as a shell takes it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_named() {
        let options = "--cpus 2".into();
        let plain = Rerun { line: "sudbox run 6.12".into(), by_make: false, options };
        let patched = plain.with_patches(&["a.mbox".into(), String::new(), "b c".into()]);
        assert_eq!(patched.options(), "--cpus 2 --patches a.mbox --patches 'b c'");
        assert_eq!(
            patched.boot(),
            "sudbox run 6.12 --patches a.mbox --patches 'b c' --cases boot/reaches-init"
        );
    }

    #[test]
    fn words_come_back_from_a_shell_as_they_were() {
        assert_eq!(quoted("~/src"), "'~/src'");
        assert_eq!(quoted("v6.12"), "v6.12");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
