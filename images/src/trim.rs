//! Which parts of a kernel tree no build for an architecture reads. They are half of its bytes and
//! a third of its files, and are neither unpacked nor mirrored.

use crate::Arch;

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

/// Folder of every architecture whose Kconfig the generic crypto/Kconfig names, whatever is built.
const KCONFIG_KEEPER: &str = "crypto";

/// Whether a folder of a user's tree, named from its top, is left out of the mirror.
///
/// The registers stay in: whoever has a tree may build any driver of it.
pub(crate) fn leaves_out(folder: &str, arch: Arch) -> bool {
    if let Some((name, below)) = folder.strip_prefix("arch/").and_then(|rest| rest.split_once('/'))
    {
        return ARCHITECTURES.contains(&name) && name != arch.folder() && below != KCONFIG_KEEPER;
    }
    folder != AMD_REGISTERS && FOLDERS.contains(&folder)
        // Only its Kconfig is read, which is in the top folder.
        || folder.strip_prefix("Documentation/").is_some_and(|rest| !rest.contains('/'))
}

/// The same for tar: patterns for `--exclude`, below one top folder of any name.
pub(crate) fn tar_patterns(arch: Arch) -> Vec<String> {
    let others = ARCHITECTURES.iter().filter(|name| **name != arch.folder());
    // No pattern takes something back in: all but what begins like Kconfig goes.
    std::iter::once("*/Documentation/[!K]*".to_owned())
        .chain(others.flat_map(|name| {
            ["[!Kc]*", "c[!r]*", "crypto/[!K]*"].map(|rest| format!("*/arch/{name}/{rest}"))
        }))
        .chain(FOLDERS.iter().map(|folder| format!("*/{folder}")))
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
    }
}
