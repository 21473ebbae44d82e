// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Which parts of a kernel tree no build for an architecture reads. They are half of its bytes and
//! a third of its files, and are neither unpacked nor mirrored.

use crate::arch::{self, Arch};

/// The header files of AMD's graphics chips: a quarter of all bytes of a kernel tree.
const AMD_REGISTERS: &str = "drivers/gpu/drm/amd/include/asic_reg";

/// The driver that would need [`AMD_REGISTERS`].
pub(crate) const LEFT_OUT_DRIVER: &str = "CONFIG_DRM_AMDGPU";

/// Folders that are left out whole.
const FOLDERS: [&str; 3] = [AMD_REGISTERS, "tools/perf", "tools/testing"];

/// Architectures Linux has or had; what is not in this list is kept, which costs only time. `um`
/// must not be in it: arch/x86/um includes its Makefiles, and make cleans and builds through them.
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

/// Folders of other architectures whose Kconfig a generic one names, whatever is built: crypto/Kconfig
/// and drivers/ras/Kconfig.
const KCONFIG_KEEPERS: [&str; 2] = ["crypto", "ras"];

/// The table of system calls that every architecture's is compared with (scripts/checksyscalls.sh).
/// From 7.2 a build stops without it.
const CALLS: &str = "arch/x86/entry/syscalls";

/// Whether a folder of a user's tree, named from its top, is left out of the mirror.
///
/// The registers stay in: whoever has a tree may build any driver of it.
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
        // Only its Kconfig is read, which is in the top folder.
        || folder.strip_prefix("Documentation/").is_some_and(|rest| !rest.contains('/'))
}

/// The same for tar: patterns for `--exclude`, below one top folder of any name.
pub(crate) fn tar_patterns(arch: Arch) -> Vec<String> {
    let others = ARCHITECTURES.iter().filter(|name| **name != arch::facts(arch).folder);
    // No pattern takes something back in: all but what begins like Kconfig goes.
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

/// The same as [`leaves_out`] for git: patterns of a sparse checkout, of which the last that matches
/// counts.
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
