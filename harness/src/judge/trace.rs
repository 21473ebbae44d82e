// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Counts the instructions of traced benchmark operations by function.

use crate::symbols::Symbols;
use std::collections::BTreeMap;
use sudbox_guest_init::bench::TABLE;
use sudbox_report::{CaseMeasurement, FunctionCost};
use sudbox_vmm::machine::MarkedOperationTrace;

/// Function name for all instructions of the program, which is the same on every kernel.
const PROGRAM: &str = "program";

/// Function name for instructions of the kernel at addresses without a symbol.
const KERNEL: &str = "kernel";

/// Lowest address of the kernel. On every 64-bit architecture with traces, programs are in the lower
/// half of the address space.
const KERNEL_START: u64 = 1 << 63;

/// Adds the instruction counts of each trace to the measurement of its case, which is the case at
/// index `MarkedOperationTrace::operation` of the table of benchmarks.
pub(super) fn add_functions(
    measurements: &mut [CaseMeasurement],
    traces: &[MarkedOperationTrace],
    symbols: Option<&Symbols>,
) {
    for trace in traces {
        let case = usize::try_from(trace.operation).ok().and_then(|number| TABLE.get(number));
        let measurement = measurements
            .iter_mut()
            .find(|measurement| case.is_some_and(|case| case.id == measurement.id));
        if let Some(measurement) = measurement {
            measurement.functions = functions(trace, symbols);
        }
    }
}

/// The instructions of a trace by function.
fn functions(trace: &MarkedOperationTrace, symbols: Option<&Symbols>) -> Vec<FunctionCost> {
    let mut costs: BTreeMap<&str, FunctionCost> = BTreeMap::new();
    for instruction in &trace.instructions {
        let name = match instruction.address {
            address if address < KERNEL_START => PROGRAM,
            address => symbols.and_then(|symbols| symbols.function_at(address)).unwrap_or(KERNEL),
        };
        let cost = costs.entry(name).or_default();
        cost.function = name.to_owned();
        cost.instructions += instruction.count;
        if let Some(kind) = instruction.kind {
            *cost.costly.entry(kind.to_owned()).or_default() += instruction.count;
        }
    }
    costs.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sudbox_vmm::machine::ExecutedInstruction;

    #[test]
    fn traces_go_to_the_measurements_of_their_cases() {
        let executed = |address, kind, count| ExecutedInstruction { address, kind, count };
        let trace = MarkedOperationTrace {
            operation: 1,
            instructions: vec![
                executed(0x40_1000, None, 3),
                executed(KERNEL_START, Some("atomic"), 2),
                executed(KERNEL_START + 4, None, 1),
            ],
        };
        let unknown = MarkedOperationTrace { operation: u64::MAX, instructions: vec![] };
        let measurement =
            |id: &str| CaseMeasurement::new(id, sudbox_protocol::Measurement::default());
        let mut measurements = [measurement(TABLE[0].id), measurement(TABLE[1].id)];
        add_functions(&mut measurements, &[trace, unknown], None);
        assert!(measurements[0].functions.is_empty());
        let functions = &measurements[1].functions;
        let kernel = FunctionCost {
            function: KERNEL.into(),
            instructions: 3,
            costly: BTreeMap::from([("atomic".to_owned(), 2)]),
        };
        assert_eq!(functions[0], kernel);
        assert_eq!((functions[1].function.as_str(), functions[1].instructions), (PROGRAM, 3));
    }
}
