// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads QEMU's log of executed instructions (`-d in_asm,exec,nochain`, one instruction per block).

use std::collections::{BTreeMap, HashMap};

use super::kinds;
use crate::machine::ExecutedInstruction;
use sudbox_protocol::marks;

/// The code that QEMU has translated so far. QEMU logs the bytes of an instruction when it
/// translates the instruction: before the first execution, and again after the bytes have changed.
#[derive(Debug, Default)]
pub(super) struct TranslatedCode {
    kind_by_address: HashMap<u64, Option<&'static str>>,
}

impl TranslatedCode {
    /// Returns true if no log had the bytes of an instruction.
    pub(super) fn is_empty(&self) -> bool {
        self.kind_by_address.is_empty()
    }

    /// Returns the executed instructions of each operation in a part of the log, each address once.
    /// The mark [`marks::NEXT`] ends an operation.
    pub(super) fn executed(&mut self, log: &str) -> Vec<Vec<ExecutedInstruction>> {
        let mut operations = Vec::new();
        // Address and kind of each executed instruction of the current operation.
        let mut executed: Vec<(u64, Option<&'static str>)> = Vec::new();
        for line in log.lines() {
            if let Some(address) = executed_address(line) {
                if address == marks::NEXT {
                    operations.push(count(&std::mem::take(&mut executed)));
                    continue;
                }
                let kind = self.kind_by_address.get(&address).copied().flatten();
                executed.push((address, kind));
            } else if let Some((address, bytes)) = translated_instruction(line) {
                let _ = self.kind_by_address.insert(address, kinds::slow_kind(&bytes));
            } else if line.starts_with("Stopped execution") || line.starts_with("cpu_io_recompile")
            {
                // QEMU has left the block before its instruction, and will log it again.
                let _ = executed.pop();
            }
        }
        operations
    }
}

/// Counts how often each instruction was executed.
fn count(executed: &[(u64, Option<&'static str>)]) -> Vec<ExecutedInstruction> {
    let mut counts: BTreeMap<(u64, Option<&'static str>), u64> = BTreeMap::new();
    for instruction in executed {
        *counts.entry(*instruction).or_default() += 1;
    }
    counts
        .into_iter()
        .map(|((address, kind), count)| ExecutedInstruction { address, kind, count })
        .collect()
}

/// Returns the guest's address in a line such as `Trace 0: 0x7efda8000100
/// [0000000000000000/ffffffff810001c0/...] `.
fn executed_address(line: &str) -> Option<u64> {
    let fields = line.strip_prefix("Trace ")?.split_once('[')?.1;
    u64::from_str_radix(fields.split('/').nth(1)?, 16).ok()
}

/// Returns address and bytes in a line such as `0xffffffff81000b83:  0f 01 ca        clac`. The
/// further lines of a long instruction are not needed, because its first bytes determine its kind.
fn translated_instruction(line: &str) -> Option<(u64, Vec<u8>)> {
    let (address, rest) = line.strip_prefix("0x")?.split_once(':')?;
    let address = u64::from_str_radix(address, 16).ok()?;
    let byte = |word: &str| (word.len() == 2).then(|| u8::from_str_radix(word, 16).ok()).flatten();
    let words = rest.split(' ').skip_while(|word| word.is_empty());
    let bytes: Vec<u8> = words.map_while(byte).collect();
    (!bytes.is_empty()).then_some((address, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "----------------
IN: 
0xffffffff81000b83:  f0 48 ff 00              lock incq (%rax)

Trace 0: 0x7efda8000100 [0000000000000000/ffffffff81000b83/10c0c2b0/ff020201] 
Trace 0: 0x7efda8000100 [0000000000000000/ffffffff81000b83/10c0c2b0/ff020201] 
Stopped execution of TB chain before 0x7efda8000100 [ffffffff81000b83] 
0x00401000:  0f 05                    syscall  
Trace 0: 0x7efda8000180 [0000000000000000/0000000000401000/10c0c2b0/ff020201] entry
Trace 0: 0x7efda8000200 [0000000000000000/000000005bd00020/10c0c2b0/ff020201] 
Trace 0: 0x7efda8000100 [0000000000000000/ffffffff81000b83/10c0c2b0/ff020201] 
Trace 0: 0x7efda8000200 [0000000000000000/000000005bd00020/10c0c2b0/ff020201] 
Trace 0: 0x7efda8000180 [0000000000000000/0000000000401000/10c0c2b0/ff020201] entry
";

    #[test]
    fn executed_instructions_are_counted_by_address() {
        let mut code = TranslatedCode::default();
        let atomic = |count| ExecutedInstruction {
            address: 0xffff_ffff_8100_0b83,
            kind: Some("atomic"),
            count,
        };
        let call = ExecutedInstruction { address: 0x40_1000, kind: None, count: 1 };
        assert_eq!(code.executed(LOG), [vec![call, atomic(1)], vec![atomic(1)]]);
        // The execution and the mark of the second operation, without the line with the bytes.
        let second_log: String =
            LOG.lines().skip(10).take(2).map(|line| format!("{line}\n")).collect();
        assert_eq!(code.executed(&second_log), [[atomic(1)]], "bytes of the first log");
    }
}
