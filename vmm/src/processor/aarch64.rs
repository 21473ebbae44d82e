// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Recognises QEMU's emulation of aarch64.

/// Returns true on QEMU's model `max`. QEMU's models of real processors cannot be distinguished
/// from the real processors.
pub(super) fn is_emulated() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| is_model_max(&text))
}

/// Returns true if `/proc/cpuinfo` names QEMU's model `max`: implementer 0, which is not assigned,
/// and part number 51h (QEMU's target/arm/tcg/cpu64.c, `aarch64_max_tcg_initfn()`).
fn is_model_max(cpuinfo: &str) -> bool {
    let has_field = |name: &str, value: &str| {
        cpuinfo.lines().filter_map(|line| line.split_once(':')).any(|(found_name, found_value)| {
            found_name.trim() == name && found_value.trim() == value
        })
    };
    has_field("CPU implementer", "0x00") && has_field("CPU part", "0x051")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_max_is_recognised_by_implementer_and_part() {
        let max = "processor\t: 0\nCPU implementer\t: 0x00\nCPU part\t: 0x051\nCPU revision\t: 0\n";
        assert!(is_model_max(max));
        assert!(!is_model_max(&max.replace("0x051", "0xd0c").replace("0x00", "0x41")));
        assert!(!is_model_max(""));
    }
}
