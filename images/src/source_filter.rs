// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The parts of a kernel tree that a build for an architecture does not read. sudbox neither
//! unpacks nor mirrors these parts, which are half of the bytes and a third of the files.

use crate::arch::{self, Arch};

/// The header files of AMD's graphics chips, a quarter of the bytes of a kernel tree.
const AMD_REGISTERS: &str = "drivers/gpu/drm/amd/include/asic_reg";

/// The driver that needs [`AMD_REGISTERS`].
pub(crate) const LEFT_OUT_DRIVER: &str = "CONFIG_DRM_AMDGPU";

/// Folders to leave out on every architecture.
const FOLDERS: [&str; 3] = [AMD_REGISTERS, "tools/perf", "tools/testing"];

/// Folders of `arch/` to leave out unless the build is for their architecture. A folder that is
/// missing in this list only costs time. `um` is missing, because builds for x86 use it
/// (arch/x86/um).
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

/// Subfolders of other architectures with a Kconfig that every build reads: crypto/Kconfig and
/// drivers/ras/Kconfig include these files.
const FOLDERS_WITH_KCONFIG: [&str; 2] = ["crypto", "ras"];

/// The folder with the system call table that scripts/checksyscalls.sh compares with every
/// architecture's. From 7.2 on, a build fails without this folder.
const SYSCALL_TABLE: &str = "arch/x86/entry/syscalls";

/// Whether to leave a folder of a user's tree, given by its path in the tree, out of the mirror.
/// [`AMD_REGISTERS`] is mirrored, because the user may build any driver.
pub(crate) fn is_left_out(folder: &str, arch: Arch) -> bool {
    if folder == SYSCALL_TABLE || SYSCALL_TABLE.starts_with(&format!("{folder}/")) {
        return false;
    }
    if let Some((name, subfolder)) =
        folder.strip_prefix("arch/").and_then(|path| path.split_once('/'))
    {
        return ARCHITECTURES.contains(&name)
            && name != arch::facts(arch).source_folder
            && !FOLDERS_WITH_KCONFIG.contains(&subfolder);
    }
    folder != AMD_REGISTERS && FOLDERS.contains(&folder)
        // `Documentation` itself has a Kconfig that builds read; its subfolders have none.
        || folder.strip_prefix("Documentation/").is_some_and(|subfolder| !subfolder.contains('/'))
}

/// The folders to leave out, as patterns for tar's `--exclude`. The archive has one top folder of
/// any name.
pub(crate) fn tar_patterns(arch: Arch) -> Vec<String> {
    let other_archs = ARCHITECTURES.iter().filter(|name| **name != arch::facts(arch).source_folder);
    // tar cannot include an excluded file again. So the patterns match every name that does not
    // begin like a name to keep: Kconfig, crypto/Kconfig, ras/Kconfig, entry/syscalls.
    std::iter::once("*/Documentation/[!K]*".to_owned())
        .chain(other_archs.flat_map(|name| {
            let common_patterns = ["[!Kcre]*", "c[!r]*", "crypto/[!K]*", "r[!a]*", "ras/[!K]*"];
            let has_syscall_table = SYSCALL_TABLE.starts_with(&format!("arch/{name}/"));
            let entry_patterns: &[&str] =
                if has_syscall_table { &["e[!n]*", "entry/[!s]*"] } else { &["e*"] };
            common_patterns
                .into_iter()
                .chain(entry_patterns.iter().copied())
                .map(move |pattern| format!("*/arch/{name}/{pattern}"))
        }))
        .chain(FOLDERS.iter().map(|folder| format!("*/{folder}")))
        .collect()
}

/// The folders to leave out, as patterns of a sparse checkout (git-sparse-checkout(1)), of which
/// the last match counts.
pub(crate) fn sparse_patterns(arch: Arch) -> String {
    let other_archs = ARCHITECTURES.iter().filter(|name| **name != arch::facts(arch).source_folder);
    std::iter::once("/*\n!/Documentation/*/\n".to_owned())
        .chain(other_archs.map(|name| {
            let kept_folders =
                FOLDERS_WITH_KCONFIG.map(|folder| format!("/arch/{name}/{folder}/\n")).concat();
            format!("!/arch/{name}/*/\n{kept_folders}")
        }))
        .chain(std::iter::once(format!("/{SYSCALL_TABLE}/\n")))
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
    fn folders_that_a_build_reads_are_kept_and_others_left_out() {
        for folder in [
            "arch",
            "arch/x86",
            "arch/x86/um",
            "arch/arm/crypto",
            "tools/lib",
            "tools/objtool",
            "kernel",
        ] {
            assert!(!is_left_out(folder, Arch::X86_64), "{folder}");
        }
        for folder in ["arch/arm64/kernel", "Documentation/admin-guide", "tools/perf"] {
            assert!(is_left_out(folder, Arch::X86_64), "{folder}");
        }
        assert!(!is_left_out("Documentation", Arch::X86_64), "it has a Kconfig");
        assert!(!is_left_out("arch/x86/ras", Arch::Riscv64), "every build reads its Kconfig");
        assert!(is_left_out("arch/x86/kernel", Arch::Riscv64));
        assert!(!is_left_out("arch/x86/entry", Arch::Riscv64));
        assert!(!is_left_out("arch/x86/entry/syscalls", Arch::Riscv64));
        assert!(is_left_out("arch/x86/entry/vdso", Arch::Riscv64));
    }
}
