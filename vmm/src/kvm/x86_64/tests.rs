// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of loading: the contents of guest memory after generated kernels are loaded, and the
//! errors for invalid kernels.

use std::fs;
use std::ops::Range;

use linux_loader::bootparam::{boot_params, setup_header};
use linux_loader::elf::{Elf64_Ehdr, Elf64_Nhdr, Elf64_Phdr};
use linux_loader::start_info::{hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info};
use proptest::prelude::*;
use tempfile::TempDir;
use vm_memory::ByteValued;

use super::layout::*;
use super::*;

const MIB: u64 = 1 << 20;
const KERNEL_ADDRESS: u64 = 0x100_0000;
const TEXT: &[u8] = b"the kernel's instructions";
const INITRAMFS: &[u8] = b"070701, an archive of some length";
const CMDLINE_TEXT: &str = "console=ttyS0 panic=-1";

/// A vmlinux: one segment followed by `.bss`, and two notes, the second of which is PVH's.
#[derive(Clone)]
struct Vmlinux {
    header: Elf64_Ehdr,
    segments: Vec<Elf64_Phdr>,
    notes: Vec<u8>,
}

impl Vmlinux {
    fn new() -> Vmlinux {
        let mut header = Elf64_Ehdr { e_machine: 62, e_phentsize: 56, ..Default::default() };
        header.e_ident[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        header.e_phoff = 64;
        header.e_phnum = 2;
        // NT_GNU_BUILD_ID, and XEN_ELFNOTE_PHYS32_ENTRY with the entry point 0x100_0120.
        let notes = [note(b"GNU\0", 3, b"identity"), note(b"Xen\0", 18, &[0x20, 1, 0, 1])].concat();
        let text = 64 + 2 * 56;
        let segments = vec![
            Elf64_Phdr {
                p_type: 1,
                p_offset: text,
                p_paddr: KERNEL_ADDRESS,
                p_filesz: TEXT.len() as u64,
                p_memsz: 2 * MIB,
                ..Default::default()
            },
            Elf64_Phdr {
                p_type: 4,
                p_offset: text + TEXT.len() as u64,
                p_filesz: notes.len() as u64,
                ..Default::default()
            },
        ];
        Vmlinux { header, segments, notes }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header.as_slice().to_vec();
        for segment in &self.segments {
            bytes.extend(segment.as_slice());
        }
        bytes.extend(TEXT);
        bytes.extend(&self.notes);
        bytes
    }
}

fn note(name: &[u8], note_type: u32, content: &[u8]) -> Vec<u8> {
    let header = Elf64_Nhdr {
        n_namesz: u32::try_from(name.len()).unwrap(),
        n_descsz: u32::try_from(content.len()).unwrap(),
        n_type: note_type,
    };
    [header.as_slice(), name, content].concat()
}

/// A setup header like that of Linux 6.12, with one setup sector.
fn bz_header() -> setup_header {
    setup_header {
        setup_sects: 1,
        boot_flag: 0xaa55,
        header: 0x5372_6448,
        version: 0x20f,
        loadflags: 1,
        initrd_addr_max: 0x7fff_ffff,
        relocatable_kernel: 1,
        xloadflags: 0x7f,
        cmdline_size: 2047,
        payload_offset: 8,
        payload_length: 17,
        pref_address: KERNEL_ADDRESS,
        init_size: 0x30_0000,
        ..Default::default()
    }
}

fn bz_image(header: &setup_header) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    bytes[0x1f1..0x1f1 + size_of::<setup_header>()].copy_from_slice(header.as_slice());
    bytes.extend(TEXT);
    bytes
}

/// A folder with the files of a VM.
struct Files(TempDir);

impl Files {
    fn new(kernel: &[u8]) -> Files {
        let files = Files(tempfile::tempdir().unwrap());
        fs::write(files.kernel(), kernel).unwrap();
        fs::write(files.initramfs(), INITRAMFS).unwrap();
        files
    }
    fn kernel(&self) -> PathBuf {
        self.0.path().join("kernel")
    }
    fn initramfs(&self) -> PathBuf {
        self.0.path().join("initramfs")
    }
    fn load(&self, memory: &GuestMemoryMmap) -> Result<KernelEntry, LoadError> {
        load(memory, &self.kernel(), &self.initramfs(), CMDLINE_TEXT, 2)
    }
}

fn memory(bytes: u64) -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&memory_ranges(bytes)).unwrap()
}

/// Returns the error of loading this kernel into 64 MiB of memory.
fn load_error(kernel: &[u8]) -> LoadError {
    Files::new(kernel).load(&memory(64 * MIB)).expect_err("the kernel was loaded")
}

fn read_bytes(memory: &GuestMemoryMmap, address: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    memory.read_slice(&mut bytes, GuestAddress(address)).unwrap();
    bytes
}

#[test]
fn memory_continues_above_the_mmio_hole() {
    assert_eq!(memory_ranges(128 * MIB), [(GuestAddress(0), 128 << 20)]);
    assert_eq!(memory_ranges(MMIO_HOLE), [(GuestAddress(0), 3 << 30)]);
    let above = (GuestAddress(1 << 32), 4096);
    assert_eq!(memory_ranges(MMIO_HOLE + 4096), [(GuestAddress(0), 3 << 30), above]);
}

#[test]
fn areas_of_the_layout_do_not_overlap() {
    let from = |start: u64, size: u64| start..start + size;
    let mut ranges: Vec<Range<u64>> = vec![
        // The real-mode interrupt table and the BIOS data area, which a kernel may read.
        0..0x500,
        from(GDT, 6 * 8),
        from(PVH_START_INFO, 0x1000),
        from(ZERO_PAGE, size_of::<boot_params>() as u64),
        from(PAGE_TABLES, 6 * 0x1000),
        from(CMDLINE, CMDLINE_SIZE as u64),
        from(MP_TABLE, 0x400),
        BASE_MEMORY_END..ACPI,
        ACPI..HIGH_MEMORY,
        from(VSOCK_MMIO, VSOCK_MMIO_SIZE),
        from(IO_APIC, 0x1000),
        from(LOCAL_APIC, 0x1000),
        from(KVM_IDENTITY_MAP, 0x1000),
        from(KVM_TSS, 3 * 0x1000),
        MMIO_HOLE_END..u64::MAX,
    ];
    ranges.sort_by_key(|range| range.start);
    for (range, next) in ranges.iter().zip(ranges.iter().skip(1)) {
        assert!(range.end <= next.start, "{range:x?} and {next:x?}");
    }
    for device in [VSOCK_MMIO, IO_APIC, LOCAL_APIC, KVM_IDENTITY_MAP] {
        assert!((MMIO_HOLE..MMIO_HOLE_END).contains(&device));
    }
}

#[test]
fn kernel_arguments_announce_the_vsock_device() {
    assert_eq!(
        kernel_arguments(),
        "console=ttyS0 reboot=k panic=-1 no_timer_check virtio_mmio.device=4K@0xc0000000:5"
    );
}

/// Checks a memory map of (start, size, type) entries: they are sorted and do not overlap, and
/// exactly the memory without tables is usable (type 1).
fn check_map(map: &[(u64, u64, u32)], memory: &GuestMemoryMmap) {
    for ((start, size, _), (next, ..)) in map.iter().zip(map.iter().skip(1)) {
        assert!(start + size <= *next);
    }
    let usable: Vec<_> = map.iter().filter(|(.., entry_type)| *entry_type == 1).collect();
    for (start, size, _) in &usable {
        assert!(memory.check_range(GuestAddress(*start), usize::try_from(*size).unwrap()));
        assert!(start + size <= MP_TABLE || *start >= HIGH_MEMORY);
    }
    let total: u64 = usable.iter().map(|(_, size, _)| size).sum();
    let memory_size: u64 = memory.iter().map(GuestMemoryRegion::len).sum();
    assert_eq!(total, memory_size - (HIGH_MEMORY - MP_TABLE));
    for tables in [MP_TABLE..BASE_MEMORY_END, ACPI..HIGH_MEMORY] {
        let reserved = (tables.start, tables.end - tables.start, 2);
        assert!(map.contains(&reserved), "{tables:x?} must be reserved");
    }
}

#[test]
fn a_vmlinux_is_entered_by_pvh_with_start_info() {
    for size in [64 * MIB, MMIO_HOLE + 64 * MIB] {
        let memory = memory(size);
        let entry = Files::new(&Vmlinux::new().bytes()).load(&memory).unwrap();
        assert_eq!(entry, KernelEntry::Pvh { entry: 0x100_0120 });
        assert_eq!(read_bytes(&memory, KERNEL_ADDRESS, TEXT.len() + 1), [TEXT, b"\0"].concat());

        let info: hvm_start_info = memory.read_obj(GuestAddress(PVH_START_INFO)).unwrap();
        assert_eq!((info.magic, info.version, info.flags), (0x336e_c578, 1, 0));
        assert_eq!((info.cmdline_paddr, info.rsdp_paddr), (CMDLINE, ACPI));
        let map: Vec<_> = (0..u64::from(info.memmap_entries))
            .map(|index| {
                let at = GuestAddress(info.memmap_paddr + index * 24);
                let entry: hvm_memmap_table_entry = memory.read_obj(at).unwrap();
                (entry.addr, entry.size, entry.type_)
            })
            .collect();
        check_map(&map, &memory);

        assert_eq!(info.nr_modules, 1);
        let module: hvm_modlist_entry = memory.read_obj(GuestAddress(info.modlist_paddr)).unwrap();
        assert!(info.modlist_paddr + 32 <= PVH_START_INFO + 0x1000);
        assert_eq!(module.size, INITRAMFS.len() as u64);
        assert_eq!(read_bytes(&memory, module.paddr, INITRAMFS.len()), INITRAMFS);
        // Page-aligned, at the end of memory below the hole.
        assert_eq!(module.paddr, size.min(MMIO_HOLE) - 0x1000);
        let cmdline = read_bytes(&memory, CMDLINE, CMDLINE_TEXT.len() + 1);
        assert_eq!(cmdline, [CMDLINE_TEXT.as_bytes(), b"\0"].concat());
        assert_eq!(read_bytes(&memory, MP_TABLE, 4), b"_MP_");
        assert_eq!(read_bytes(&memory, ACPI, 8), b"RSD PTR ");
    }
}

#[test]
fn a_bzimage_is_entered_in_64_bit_mode_with_a_zero_page() {
    let memory = memory(64 * MIB);
    let entry = Files::new(&bz_image(&bz_header())).load(&memory).unwrap();
    assert_eq!(entry, KernelEntry::Linux64 { entry: KERNEL_ADDRESS + 0x200 });
    assert_eq!(read_bytes(&memory, KERNEL_ADDRESS, TEXT.len()), TEXT);

    let params: boot_params = memory.read_obj(GuestAddress(ZERO_PAGE)).unwrap();
    let header = params.hdr;
    assert_eq!((header.header, header.boot_flag), (0x5372_6448, 0xaa55));
    assert_eq!(header.type_of_loader, 0xff);
    assert_eq!(u64::from(header.cmd_line_ptr), CMDLINE);
    assert_eq!({ params.acpi_rsdp_addr }, ACPI);
    let (address, size) = (header.ramdisk_image, header.ramdisk_size);
    assert_eq!(read_bytes(&memory, address.into(), size as usize), INITRAMFS);
    let table = params.e820_table;
    let map: Vec<_> = table[..usize::from(params.e820_entries)]
        .iter()
        .map(|entry| (entry.addr, entry.size, entry.r#type))
        .collect();
    check_map(&map, &memory);
    assert_eq!(params.sentinel, 0);
    // The page tables exist: the first entry points to the next table.
    assert_eq!(memory.read_obj::<u64>(GuestAddress(PAGE_TABLES)).unwrap() & !0xfff, 0xa000);
}

#[test]
fn the_limits_in_a_bzimages_header_are_respected() {
    let low_initrd = setup_header { initrd_addr_max: 0x1ff_ffff, ..bz_header() };
    let memory = memory(64 * MIB);
    Files::new(&bz_image(&low_initrd)).load(&memory).unwrap();
    let params: boot_params = memory.read_obj(GuestAddress(ZERO_PAGE)).unwrap();
    assert_eq!({ params.hdr.ramdisk_image }, 0x1ff_f000);

    let short_cmdline = bz_image(&setup_header { cmdline_size: 10, ..bz_header() });
    assert!(matches!(
        load_error(&short_cmdline),
        LoadError::CommandLineTooLong { length: 22, limit: 10 }
    ));
}

#[test]
fn command_lines_that_the_kernel_would_not_read_completely_are_refused() {
    let files = Files::new(&Vmlinux::new().bytes());
    let memory = memory(64 * MIB);
    let load = |cmdline: &str| load(&memory, &files.kernel(), &files.initramfs(), cmdline, 1);
    load(&"a".repeat(2047)).unwrap();
    assert!(matches!(
        load(&"a".repeat(2048)),
        Err(LoadError::CommandLineTooLong { length: 2048, limit: 2047 })
    ));
    assert!(matches!(load("quiet\0 panic=-1"), Err(LoadError::CommandLineNul)));
}

#[test]
fn a_vm_has_1_to_8_vcpus() {
    let files = Files::new(&Vmlinux::new().bytes());
    let memory = memory(64 * MIB);
    let load = |cpus| load(&memory, &files.kernel(), &files.initramfs(), "", cpus);
    assert!(matches!(load(0), Err(LoadError::Cpus(0))));
    load(8).unwrap();
    assert!(matches!(load(9), Err(LoadError::Cpus(9))));
}

#[test]
fn truncated_files_are_refused() {
    for whole in [Vmlinux::new().bytes(), bz_image(&bz_header())] {
        for length in 0..whole.len() {
            let error = load_error(&whole[..length]);
            // Without its magic number, the file is not recognised.
            let magic_end = if whole.starts_with(b"\x7fELF") { 4 } else { 0x206 };
            let is_expected = match error {
                LoadError::NotAKernel { .. } => length < magic_end,
                LoadError::Truncated { end, size, .. } => {
                    length >= magic_end && size == length as u64 && end > size
                }
                _ => false,
            };
            assert!(is_expected, "truncated to {length} bytes: {error}");
        }
    }
}

#[test]
fn files_that_are_no_bootable_kernel_are_refused_with_the_reason() {
    assert!(matches!(load_error(b""), LoadError::NotAKernel { .. }));
    assert!(matches!(load_error(&[0x1f; 4096]), LoadError::NotAKernel { .. }));
    let mut aarch64 = Vmlinux::new();
    aarch64.header.e_machine = 183;
    assert!(matches!(load_error(&aarch64.bytes()), LoadError::NotVmlinux { .. }));
    let mut elf_32_bit = Vmlinux::new();
    elf_32_bit.header.e_ident[4] = 1;
    assert!(matches!(load_error(&elf_32_bit.bytes()), LoadError::NotVmlinux { .. }));
    let mut without_segments = Vmlinux::new();
    without_segments.header.e_phnum = 0;
    assert!(matches!(load_error(&without_segments.bytes()), LoadError::NotVmlinux { .. }));
    let mut short_headers = Vmlinux::new();
    short_headers.header.e_phentsize = 32;
    assert!(matches!(load_error(&short_headers.bytes()), LoadError::NotVmlinux { .. }));

    let mut without_pvh_note = Vmlinux::new();
    // The first note has 24 bytes. The second begins with two lengths of 4 bytes and its type.
    without_pvh_note.notes[24 + 8] = 17;
    assert!(matches!(load_error(&without_pvh_note.bytes()), LoadError::NoPvhNote { .. }));
    let mut truncated_note = Vmlinux::new();
    truncated_note.notes.truncate(24 + 12 + 2);
    truncated_note.segments[1].p_filesz = 24 + 12 + 2;
    assert!(matches!(load_error(&truncated_note.bytes()), LoadError::Loader { .. }));

    let old_protocol = setup_header { version: 0x20b, ..bz_header() };
    assert!(matches!(load_error(&bz_image(&old_protocol)), LoadError::No64BitEntry { .. }));
    let without_64_bit_entry = setup_header { xloadflags: 0x7e, ..bz_header() };
    assert!(matches!(load_error(&bz_image(&without_64_bit_entry)), LoadError::No64BitEntry { .. }));
}

#[test]
fn kernels_and_initramfs_that_do_not_fit_are_refused() {
    let load_at = |address, size| {
        let mut kernel = Vmlinux::new();
        (kernel.segments[0].p_paddr, kernel.segments[0].p_memsz) = (address, size);
        load_error(&kernel.bytes())
    };
    let memory_end = 64 * MIB;
    assert!(matches!(
        load_at(KERNEL_ADDRESS, 49 * MIB),
        LoadError::KernelTooBig { end, memory_end: error_memory_end, .. }
            if end == 65 * MIB && error_memory_end == memory_end
    ));
    assert!(matches!(load_at(KERNEL_ADDRESS, u64::MAX), LoadError::KernelTooBig { .. }));
    assert!(matches!(load_at(u64::MAX, 1), LoadError::KernelTooBig { .. }));
    assert!(matches!(load_at(0x8000, MIB), LoadError::TooLow { address: 0x8000, .. }));
    // The kernel fits exactly, so the initramfs does not.
    assert!(matches!(
        load_at(KERNEL_ADDRESS, 48 * MIB),
        LoadError::InitramfsTooBig { size: 33, available_size: 0, .. }
    ));
    let big = setup_header { init_size: u32::MAX, ..bz_header() };
    assert!(matches!(load_error(&bz_image(&big)), LoadError::KernelTooBig { .. }));
    let low = setup_header { pref_address: 0x1000, ..bz_header() };
    assert!(matches!(load_error(&bz_image(&low)), LoadError::TooLow { .. }));

    let without_first_mib = GuestMemoryMmap::from_ranges(&[(GuestAddress(MIB), 1 << 20)]).unwrap();
    let files = Files::new(&Vmlinux::new().bytes());
    assert!(matches!(
        files.load(&without_first_mib),
        Err(LoadError::KernelTooBig { memory_end: 0, .. })
    ));
}

#[test]
fn errors_name_the_file_that_cannot_be_read() {
    let files = Files::new(&Vmlinux::new().bytes());
    fs::remove_file(files.initramfs()).unwrap();
    let error = files.load(&memory(64 * MIB)).unwrap_err().to_string();
    assert!(error.contains("initramfs: No such file"), "{error}");
    fs::remove_file(files.kernel()).unwrap();
    let error = files.load(&memory(64 * MIB)).unwrap_err().to_string();
    assert!(error.contains("kernel: No such file"), "{error}");
    // A directory can be opened but not read.
    fs::create_dir(files.kernel()).unwrap();
    let error = files.load(&memory(64 * MIB)).unwrap_err().to_string();
    assert!(error.contains("Is a directory"), "{error}");
}

proptest! {
    /// A kernel with some changed bytes is loaded or refused, without a panic.
    #[test]
    fn damaged_kernels_do_not_panic(
        is_vmlinux: bool,
        changes in proptest::collection::vec((0_usize..2048, any::<u8>()), 0..8),
    ) {
        let mut kernel = if is_vmlinux { Vmlinux::new().bytes() } else { bz_image(&bz_header()) };
        for (index, value) in changes {
            let index = index % kernel.len();
            kernel[index] = value;
        }
        let _ = Files::new(&kernel).load(&memory(64 * MIB));
    }

    /// A file with a magic number and random bytes is loaded or refused, without a panic.
    #[test]
    fn random_bytes_do_not_panic(
        is_vmlinux: bool,
        random_bytes in proptest::collection::vec(any::<u8>(), 0..2048),
    ) {
        let mut kernel = random_bytes;
        if is_vmlinux {
            kernel.splice(..kernel.len().min(20), *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0");
        } else if kernel.len() > 0x206 {
            kernel[0x202..0x206].copy_from_slice(b"HdrS");
        }
        let _ = Files::new(&kernel).load(&memory(64 * MIB));
    }
}
