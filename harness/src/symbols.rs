// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Replaces raw kernel addresses in text by symbols, for kernels built without `CONFIG_KALLSYMS`
//! and for register dumps of QEMU, which knows no symbols.

use std::cell::OnceCell;
use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, bail};
use object::read::elf::ElfFile64;
use object::{
    Object, ObjectSection, ObjectSymbol, ReadCache, SectionKind, SymbolKind, SymbolSection,
};

/// The code symbols of a vmlinux.
#[derive(Debug)]
pub(crate) struct Symbols {
    /// One symbol for each address, sorted by address.
    sorted_symbols: Vec<Symbol>,
}

#[derive(Debug)]
struct Symbol {
    start: u64,
    /// The start of the next symbol or the end of the section, as in get_symbol_pos() of kallsyms.
    end: u64,
    name: String,
}

impl Symbols {
    /// Reads the symbol table of a vmlinux.
    ///
    /// # Errors
    /// If the file cannot be read, is not a 64-bit ELF file, or has no code symbols.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Symbols> {
        let shown = path.display();
        let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
        let cache = ReadCache::new(file);
        let elf = ElfFile64::<object::Endianness, _>::parse(&cache)
            .with_context(|| format!("{shown} is no 64-bit ELF file"))?;
        let sections: Vec<_> = elf
            .sections()
            .filter(|section| section.kind() == SectionKind::Text)
            .map(|section| (section.index(), section.address() + section.size()))
            .collect();
        let mut code: Vec<(bool, Symbol)> = elf
            .symbols()
            .filter(|symbol| matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Unknown))
            .filter_map(|symbol| {
                let SymbolSection::Section(index) = symbol.section() else { return None };
                let (_, end) = *sections.iter().find(|(section, _)| *section == index)?;
                let name = symbol.name().ok().filter(|n| !n.is_empty() && !n.starts_with(".L"))?;
                // If several symbols share an address, that of a global function is preferred.
                let is_minor = symbol.kind() != SymbolKind::Text || symbol.is_local();
                Some((is_minor, Symbol { start: symbol.address(), end, name: name.to_owned() }))
            })
            .collect();
        code.sort_by(|(minor_a, a), (minor_b, b)| {
            (a.start, minor_a, a.name.len(), &a.name).cmp(&(
                b.start,
                minor_b,
                b.name.len(),
                &b.name,
            ))
        });
        code.dedup_by_key(|(_, symbol)| symbol.start);
        let mut code: Vec<Symbol> = code.into_iter().map(|(_, symbol)| symbol).collect();
        for i in 1..code.len() {
            code[i - 1].end = code[i - 1].end.min(code[i].start);
        }
        if code.is_empty() {
            bail!("{shown} has no symbols of code");
        }
        Ok(Symbols { sorted_symbols: code })
    }

    /// Returns the text with code addresses as `symbol+0xoffset/0xsize`. The symbol replaces an
    /// address that the kernel would resolve itself (`0xffffffff81000123`), and follows an address
    /// that the kernel or QEMU prints as a number (`RIP=ffffffff81000123`,
    /// `[<ffffffff81000123>]`). A line that already has a symbol stays unchanged.
    ///
    /// A relocated kernel (`CONFIG_RANDOMIZE_BASE`) prints its offset when it panics (`Kernel
    /// Offset: 0x...`, dump_kernel_offset()). Without that line the offset is taken to be 0.
    pub(crate) fn symbolise(&self, text: &str) -> String {
        let offset = OnceCell::new();
        let offset = || *offset.get_or_init(|| kernel_offset(text));
        let mut out = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            if line.contains("Kernel Offset:") {
                out.push_str(line);
            } else {
                self.symbolise_line(line, &offset, &mut out);
            }
        }
        out
    }

    fn symbolise_line(&self, line: &str, offset: &impl Fn() -> u64, out: &mut String) {
        // In a line with a symbol, other numbers are not to be resolved.
        let resolved = line.contains("+0x");
        let mut rest = line;
        while let Some(digits) = find_address(rest) {
            let (before, after) = (&rest[..digits], &rest[digits + 16..]);
            let address = u64::from_str_radix(&rest[digits..digits + 16], 16);
            let notation = Notation::detect(before, after);
            let exact = !is_trace_entry(before, line.len() - rest.len());
            let symbol = address
                .ok()
                .filter(|_| !resolved)
                .and_then(|address| self.symbol_at(address.checked_sub(offset())?, exact));
            match (notation, symbol) {
                (Notation::Resolvable, Some(symbol)) => {
                    out.push_str(&before[..before.len() - 2]);
                    out.push_str(&symbol);
                }
                (Notation::Raw(tail), Some(symbol)) => {
                    let kept = digits + 16 + tail;
                    let _ = write!(out, "{} ({symbol})", &rest[..kept]);
                    rest = &rest[kept..];
                    continue;
                }
                _ => out.push_str(&rest[..digits + 16]),
            }
            rest = after;
        }
        out.push_str(rest);
    }

    /// The symbol of an address, as `symbol+0xoffset/0xsize`. An address that is not `exact` is a
    /// return address. The call before a return address can be the last instruction of its
    /// function, so the byte before the address is looked up, as sprint_backtrace() does.
    fn symbol_at(&self, address: u64, exact: bool) -> Option<String> {
        let within = if exact { address } else { address.checked_sub(1)? };
        let after = self.sorted_symbols.partition_point(|symbol| symbol.start <= within);
        let symbol = self.sorted_symbols.get(after.checked_sub(1)?)?;
        (within < symbol.end).then(|| {
            let (offset, size) = (address - symbol.start, symbol.end - symbol.start);
            format!("{}+{offset:#x}/{size:#x}", symbol.name)
        })
    }
}

/// The notation of an address in a line.
enum Notation {
    /// After `0x`, as `%pS` and `%pB` print an address without symbol.
    Resolvable,
    /// After a register name, or in brackets. The value is the number of bytes after the digits that
    /// belong to the notation.
    Raw(usize),
    /// Any other number, which may not be an address.
    Other,
}

impl Notation {
    fn detect(before: &str, after: &str) -> Notation {
        if before.ends_with("0x") {
            Notation::Resolvable
        } else if before.ends_with("[<") && after.starts_with(">]") {
            Notation::Raw(2)
        } else if before.ends_with("RIP=") || before.ends_with(" PC=") || before == "PC=" {
            Notation::Raw(0)
        } else if before.ends_with(':') && before.contains(" IP ") {
            // early_fixup_exception(): `PANIC: early exception 0x0d IP 10:ffffffff81000123 error`
            Notation::Raw(0)
        } else {
            Notation::Other
        }
    }
}

/// The position in `text` of the next number of exactly 16 hexadecimal digits.
fn find_address(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut run = 0;
    for (i, byte) in bytes.iter().enumerate() {
        run = if byte.is_ascii_hexdigit() { run + 1 } else { 0 };
        let ends = !bytes.get(i + 1).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
        if run == 16 && ends {
            let start = i + 1 - 16;
            let word = text[..start].bytes().next_back();
            let prefixed = text[..start].ends_with("0x");
            if prefixed || !word.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Some(start);
            }
        }
    }
    None
}

/// Whether an address is an entry of a call trace (printk_stack_address()): only the printk prefix,
/// brackets and the question mark of the unwinder precede it.
fn is_trace_entry(before: &str, consumed: usize) -> bool {
    let words = before.strip_suffix("0x").unwrap_or(before);
    let words = words.strip_suffix("[<").unwrap_or(words);
    let words = words.trim_end().trim_end_matches('?').trim_end();
    consumed == 0 && (words.is_empty() || words.ends_with(']') || words.ends_with('>'))
}

/// The relocation offset that the kernel printed; 0 if it printed none.
fn kernel_offset(text: &str) -> u64 {
    text.split_once("Kernel Offset: 0x")
        .map(|(_, after)| after.split(|c: char| !c.is_ascii_hexdigit()).next().unwrap_or_default())
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;
