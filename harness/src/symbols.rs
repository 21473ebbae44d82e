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
        let displayed_path = path.display();
        let file = File::open(path).with_context(|| format!("cannot read {displayed_path}"))?;
        let cache = ReadCache::new(file);
        let elf = ElfFile64::<object::Endianness, _>::parse(&cache)
            .with_context(|| format!("{displayed_path} is no 64-bit ELF file"))?;
        let sections: Vec<_> = elf
            .sections()
            .filter(|section| section.kind() == SectionKind::Text)
            .map(|section| (section.index(), section.address() + section.size()))
            .collect();
        let mut code_symbols: Vec<(bool, Symbol)> = elf
            .symbols()
            .filter(|symbol| matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Unknown))
            .filter_map(|symbol| {
                let SymbolSection::Section(index) = symbol.section() else { return None };
                let (_, end) = *sections.iter().find(|(section, _)| *section == index)?;
                let name = symbol
                    .name()
                    .ok()
                    .filter(|name| !name.is_empty() && !name.starts_with(".L"))?;
                // If several symbols share an address, the symbol of a global function is
                // preferred. The symbols of the linker script for section ends (`__*_end`) are
                // global too, but no functions.
                let is_section_end = name.starts_with("__") && name.ends_with("_end");
                let is_not_preferred =
                    symbol.kind() != SymbolKind::Text || symbol.is_local() || is_section_end;
                Some((
                    is_not_preferred,
                    Symbol { start: symbol.address(), end, name: name.to_owned() },
                ))
            })
            .collect();
        code_symbols.sort_by(|(first_not_preferred, first), (second_not_preferred, second)| {
            (first.start, first_not_preferred, first.name.len(), &first.name).cmp(&(
                second.start,
                second_not_preferred,
                second.name.len(),
                &second.name,
            ))
        });
        code_symbols.dedup_by_key(|(_, symbol)| symbol.start);
        let mut code_symbols: Vec<Symbol> =
            code_symbols.into_iter().map(|(_, symbol)| symbol).collect();
        for index in 1..code_symbols.len() {
            let next_start = code_symbols[index].start;
            let symbol = &mut code_symbols[index - 1];
            symbol.end = symbol.end.min(next_start);
        }
        if code_symbols.is_empty() {
            bail!("{displayed_path} has no symbols of code");
        }
        Ok(Symbols { sorted_symbols: code_symbols })
    }

    /// Returns the text with code addresses as `symbol+0xoffset/0xsize`. The symbol replaces an
    /// address that the kernel would resolve itself (`0xffffffff81000123`), and follows an address
    /// that the kernel or QEMU prints as a number (`RIP=ffffffff81000123`,
    /// `[<ffffffff81000123>]`). A line that already has a symbol stays unchanged.
    ///
    /// A relocated kernel (`CONFIG_RANDOMIZE_BASE`) prints its offset when it panics (`Kernel
    /// Offset: 0x...`, dump_kernel_offset()). Without such a line, the offset is assumed to be 0.
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
        // In a line with a symbol, no other number is resolved.
        let has_symbol = line.contains("+0x");
        let mut remaining = line;
        while let Some(start) = find_address(remaining) {
            let (before, after) = (&remaining[..start], &remaining[start + 16..]);
            let address = u64::from_str_radix(&remaining[start..start + 16], 16);
            let notation = Notation::detect(before, after);
            let is_exact = !is_trace_entry(before, line.len() - remaining.len());
            let symbol = address
                .ok()
                .filter(|_| !has_symbol)
                .and_then(|address| self.symbol_at(address.checked_sub(offset())?, is_exact));
            match (notation, symbol) {
                (Notation::Resolvable, Some(symbol)) => {
                    out.push_str(&before[..before.len() - 2]);
                    out.push_str(&symbol);
                }
                (Notation::Raw(suffix_length), Some(symbol)) => {
                    let end = start + 16 + suffix_length;
                    let _ = write!(out, "{} ({symbol})", &remaining[..end]);
                    remaining = &remaining[end..];
                    continue;
                }
                _ => out.push_str(&remaining[..start + 16]),
            }
            remaining = after;
        }
        out.push_str(remaining);
    }

    /// The name of the function at an address, without the suffixes that the compiler gives to clones
    /// (`.isra.0`, `.cold`).
    pub(crate) fn function_at(&self, address: u64) -> Option<&str> {
        let symbol = self.symbol_around(address)?;
        symbol.name.split('.').next().filter(|name| !name.is_empty())
    }

    /// The symbol whose code contains an address.
    fn symbol_around(&self, address: u64) -> Option<&Symbol> {
        let after = self.sorted_symbols.partition_point(|symbol| symbol.start <= address);
        let symbol = self.sorted_symbols.get(after.checked_sub(1)?)?;
        (address < symbol.end).then_some(symbol)
    }

    /// The symbol of an address, as `symbol+0xoffset/0xsize`. An address that is not exact
    /// (`is_exact`) is a return address. The call before a return address can be the last
    /// instruction of its function, so the byte before the address is looked up, as
    /// sprint_backtrace() does.
    fn symbol_at(&self, address: u64, is_exact: bool) -> Option<String> {
        let looked_up = if is_exact { address } else { address.checked_sub(1)? };
        let symbol = self.symbol_around(looked_up)?;
        let (offset, size) = (address - symbol.start, symbol.end - symbol.start);
        Some(format!("{}+{offset:#x}/{size:#x}", symbol.name))
    }
}

/// The notation of an address in a line.
enum Notation {
    /// After `0x`, as `%pS` and `%pB` print an address without symbol.
    Resolvable,
    /// After a register name, or in brackets. The value is the number of bytes after the digits
    /// that belong to the notation.
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
    let is_word_byte = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let bytes = text.as_bytes();
    let mut digit_count = 0;
    for (index, byte) in bytes.iter().enumerate() {
        digit_count = if byte.is_ascii_hexdigit() { digit_count + 1 } else { 0 };
        if digit_count == 16 && !bytes.get(index + 1).is_some_and(is_word_byte) {
            let start = index + 1 - 16;
            let has_prefix = text[..start].ends_with("0x");
            if has_prefix || !bytes[..start].last().is_some_and(is_word_byte) {
                return Some(start);
            }
        }
    }
    None
}

/// Whether an address is an entry of a call trace (printk_stack_address()): only the printk prefix,
/// brackets and the question mark of the unwinder precede it.
fn is_trace_entry(before: &str, consumed_bytes: usize) -> bool {
    let prefix = before.strip_suffix("0x").unwrap_or(before);
    let prefix = prefix.strip_suffix("[<").unwrap_or(prefix);
    let prefix = prefix.trim_end().trim_end_matches('?').trim_end();
    consumed_bytes == 0 && (prefix.is_empty() || prefix.ends_with(']') || prefix.ends_with('>'))
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
