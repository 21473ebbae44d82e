// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The parts of a kernel tree that a build for an architecture does not read: half of its bytes and
//! a third of its files. They are neither unpacked nor mirrored.

use crate::arch::{self, Arch};

/// The header files of AMD's graphics chips: a quarter of all bytes of a kernel tree.
const AMD_REGISTERS: &str = "drivers/gpu/drm/amd/include/asic_reg";

/// The driver that would need [`AMD_REGISTERS`].
pub(crate) const LEFT_OUT_DRIVER: &str = "CONFIG_DRM_AMDGPU";

/// Folders that are left out.
const FOLDERS: [&str; 3] = [AMD_REGISTERS, "tools/perf", "tools/testing"];

/// Architectures of Linux. One that is missing here is kept, which costs only time. `um` must be
/// missing: builds for x86 use its Makefiles (arch/x86/um).
const ARCHITECTURES: [&str; 23] = [
    "alpha",
    "arc",
    "arm",
    "arm64",
    "csky",
    "h8300",
    "hexagon",
    "ia64",
    "loongarch",
    "m68k",
    "microblaze",
    "mips",
    "nds32",
    "nios2",
    "openrisc",
    "parisc",
    "powerpc",
    "riscv",
    "s390",
    "sh",
    "sparc",
    "x86",
    "xtensa",
];

/// Folders of other architectures whose Kconfig is read by every build (by crypto/Kconfig and
/// drivers/ras/Kconfig).
const KCONFIG_KEEPERS: [&str; 2] = ["crypto", "ras"];

/// The table of system calls that scripts/checksyscalls.sh compares every architecture's with. From
/// 7.2 on a build fails without it.
const CALLS: &str = "arch/x86/entry/syscalls";

/// Whether a folder of a user's tree, by its path from the top, is left out of the mirror.
/// [`AMD_REGISTERS`] is not: a user may build any driver of a tree.
pub(crate) fn leaves_out(folder: &str, arch: Arch) -> bool {
    if folder == CALLS || CALLS.starts_with(&format!("{folder}/")) {
        return false;
    }
    if let Some((name, below)) = folder.strip_prefix("arch/").and_then(|rest| rest.split_once('/'))
    {
        return ARCHITECTURES.contains(&name)
            && name != arch::facts(arch).folder
            && !KCONFIG_KEEPERS.contains(&below);
    }
    folder != AMD_REGISTERS && FOLDERS.contains(&folder)
        // Its Kconfig, which is read, is in its top folder.
        || folder.strip_prefix("Documentation/").is_some_and(|rest| !rest.contains('/'))
}

/// The folders to leave out as patterns for tar's `--exclude`, below one top folder of any name.
pub(crate) fn tar_patterns(arch: Arch) -> Vec<String> {
    let others = ARCHITECTURES.iter().filter(|name| **name != arch::facts(arch).folder);
    // tar has no patterns that include a file again, so these match all names but the kept ones.
    std::iter::once("*/Documentation/[!K]*".to_owned())
        .chain(others.flat_map(|name| {
            let all = ["[!Kcre]*", "c[!r]*", "crypto/[!K]*", "r[!a]*", "ras/[!K]*"];
            let keeps = CALLS.starts_with(&format!("arch/{name}/"));
            let entry: &[&str] = if keeps { &["e[!n]*", "entry/[!s]*"] } else { &["e*"] };
            all.into_iter()
                .chain(entry.iter().copied())
                .map(move |rest| format!("*/arch/{name}/{rest}"))
        }))
        .chain(FOLDERS.iter().map(|folder| format!("*/{folder}")))
        .collect()
}

/// The folders of [`leaves_out`] as patterns of a sparse checkout (git-sparse-checkout(1)); the
/// last one that matches counts.
pub(crate) fn sparse_patterns(arch: Arch) -> String {
    let others = ARCHITECTURES.iter().filter(|name| **name != arch::facts(arch).folder);
    std::iter::once("/*\n!/Documentation/*/\n".to_owned())
        .chain(others.map(|name| {
            let keep = KCONFIG_KEEPERS.map(|keeper| format!("/arch/{name}/{keeper}/\n")).concat();
            format!("!/arch/{name}/*/\n{keep}")
        }))
        .chain(std::iter::once(format!("/{CALLS}/\n")))
        .chain(
            FOLDERS
                .iter()
                .filter(|folder| **folder != AMD_REGISTERS)
                .map(|folder| format!("!/{folder}/\n")),
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_build_reads_stays() {
        for folder in [
            "arch",
            "arch/x86",
            "arch/x86/um",
            "arch/arm/crypto",
            "tools/lib",
            "tools/objtool",
            "kernel",
        ] {
            assert!(!leaves_out(folder, Arch::X86_64), "{folder}");
        }
        for folder in ["arch/arm64/kernel", "Documentation/admin-guide", "tools/perf"] {
            assert!(leaves_out(folder, Arch::X86_64), "{folder}");
        }
        assert!(!leaves_out("Documentation", Arch::X86_64), "holds a Kconfig");
        assert!(!leaves_out("arch/x86/ras", Arch::Riscv64), "holds a Kconfig that all read");
        assert!(leaves_out("arch/x86/kernel", Arch::Riscv64));
        assert!(!leaves_out("arch/x86/entry", Arch::Riscv64));
        assert!(!leaves_out("arch/x86/entry/syscalls", Arch::Riscv64));
        assert!(leaves_out("arch/x86/entry/vdso", Arch::Riscv64));
    }
}
