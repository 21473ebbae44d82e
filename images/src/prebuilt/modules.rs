// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Finds the modules of the transport (virtio-mmio and vsock), by which a guest reaches the host,
//! and their dependencies.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::{fs, io};

use memchr::memmem;

use crate::compression::{self, MODULE_LIMIT};
use crate::error::ModuleError;
use crate::regular_file::read_limited;

/// Names of the transport's modules.
const TRANSPORT: [&str; 2] = ["virtio_mmio", "vmw_vsock_virtio_transport"];

/// The modules of a kernel, by name.
#[derive(Debug, Default)]
pub(crate) struct Modules(BTreeMap<String, PackedModule>);

/// A module whose file may be compressed.
#[derive(Debug)]
enum PackedModule {
    /// The module's file on this machine.
    File(PathBuf),
    /// The module's content in a package.
    Bytes(Vec<u8>),
}

/// An uncompressed module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Module {
    /// Name as lsmod(8) shows it.
    pub(crate) name: String,
    /// Content of the file.
    pub(crate) content: Vec<u8>,
}

/// The kernel's name of the module in a file such as `virtio-rng.ko.xz`: `virtio_rng`.
fn module_name(file: &str) -> Option<String> {
    let (name, suffix) = file.split_once(".ko")?;
    ["", ".gz", ".xz", ".zst"].contains(&suffix).then(|| name.replace('-', "_"))
}

impl Modules {
    /// The modules below a directory such as `/lib/modules/RELEASE`; no modules if the directory
    /// does not exist.
    pub(crate) fn in_folder(folder: &Path) -> Modules {
        let mut modules = Modules::default();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                match (entry.file_type(), entry.file_name().to_str().and_then(module_name)) {
                    // Symbolic links are not followed: `build` and `source` point to source trees.
                    (Ok(kind), _) if kind.is_dir() => folders.push(entry.path()),
                    (_, Some(name)) => {
                        modules.0.insert(name, PackedModule::File(entry.path()));
                    }
                    _ => {}
                }
            }
        }
        modules
    }

    /// Adds a file of a package, if it is a module.
    pub(crate) fn add(
        &mut self,
        path: &str,
        content: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> io::Result<()> {
        if let Some(name) = path.rsplit('/').next().and_then(module_name) {
            self.0.insert(name, PackedModule::Bytes(content()?));
        }
        Ok(())
    }

    /// The modules of the transport and their dependencies, in loading order. Skips a driver that
    /// is not a module, because it is built in or missing.
    ///
    /// # Errors
    /// [`ModuleError`] if a module cannot be read or dependencies are circular.
    pub(crate) fn transport_modules(&self) -> Result<Vec<Module>, ModuleError> {
        let mut modules = Vec::new();
        for name in TRANSPORT {
            self.add_with_dependencies(name, &mut modules, 0)?;
        }
        Ok(modules)
    }

    /// Appends a module to `modules`, after its dependencies. Skips a module that `modules` has
    /// already, or that the kernel does not have.
    fn add_with_dependencies(
        &self,
        name: &str,
        modules: &mut Vec<Module>,
        depth: u32,
    ) -> Result<(), ModuleError> {
        if modules.iter().any(|module| module.name == name) {
            return Ok(());
        }
        let Some(module) = self.0.get(name) else { return Ok(()) };
        let file_content = match module {
            PackedModule::File(path) => {
                File::open(path).and_then(|file| read_limited(file, MODULE_LIMIT)).map(Cow::Owned)
            }
            PackedModule::Bytes(bytes) => Ok(Cow::Borrowed(&bytes[..])),
        };
        let content = file_content
            .and_then(|bytes| compression::decompress_if_compressed(bytes, MODULE_LIMIT))
            .map_err(|reason| ModuleError::Unreadable { name: name.to_owned(), reason })?;
        // Damaged modules may have circular dependencies.
        if depth == 16 {
            return Err(ModuleError::Circular { name: name.to_owned() });
        }
        for dependency in
            module_dependencies(&content).split(',').filter(|dependency| !dependency.is_empty())
        {
            self.add_with_dependencies(&dependency.replace('-', "_"), modules, depth + 1)?;
        }
        modules.push(Module { name: name.to_owned(), content });
        Ok(())
    }
}

/// The field `depends` of a module's `.modinfo` (`add_depends()`, scripts/mod/modpost.c): names,
/// separated by commas. This field is read because a package that is not installed has no
/// modules.dep.
fn module_dependencies(module: &[u8]) -> String {
    const FIELD: &[u8] = b"\0depends=";
    let Some(start) = memmem::find(module, FIELD) else { return String::new() };
    let value_and_rest = &module[start + FIELD.len()..];
    let end = value_and_rest.iter().position(|byte| *byte == 0).unwrap_or(value_and_rest.len());
    String::from_utf8_lossy(&value_and_rest[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(depends: &str) -> Vec<u8> {
        format!("\x7fELF\0license=GPL\0depends={depends}\0name=x\0").into_bytes()
    }

    fn names(modules: &Modules) -> Vec<String> {
        modules.transport_modules().unwrap().into_iter().map(|module| module.name).collect()
    }

    #[test]
    fn a_module_follows_its_dependencies_and_occurs_once() {
        let mut modules = Modules::default();
        for (file, depends) in [
            ("kernel/net/vmw_vsock/vmw_vsock_virtio_transport.ko", "virtio_ring,vsock,a-common"),
            ("kernel/net/vmw_vsock/a-common.ko", "vsock,virtio"),
            ("kernel/net/vmw_vsock/vsock.ko", ""),
            ("kernel/drivers/virtio/virtio_mmio.ko", "virtio_ring,virtio"),
            ("kernel/drivers/virtio/virtio_ring.ko", "virtio"),
            ("kernel/drivers/net/other.ko", "vsock"),
            ("modules.builtin", ""),
        ] {
            modules.add(file, || Ok(module(depends))).unwrap();
        }
        // virtio is built in.
        let expected =
            ["virtio_ring", "virtio_mmio", "vsock", "a_common", "vmw_vsock_virtio_transport"];
        assert_eq!(names(&modules), expected);
        assert!(names(&Modules::default()).is_empty());
    }

    #[test]
    fn compressed_and_uncompressed_modules_are_found_in_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("kernel/net");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("vsock.ko"), module("")).unwrap();
        let Some(gz) = crate::compression::tests::compress(&["gzip"], &module("vsock")) else {
            panic!("gzip")
        };
        fs::write(folder.join("vmw_vsock_virtio_transport.ko.gz"), gz).unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("build")).unwrap();
        let modules = Modules::in_folder(dir.path());
        assert_eq!(names(&modules), ["vsock", "vmw_vsock_virtio_transport"]);
        assert_eq!(modules.transport_modules().unwrap()[1].content, module("vsock"));
    }

    #[test]
    fn errors_name_the_module_with_circular_dependencies_or_damage() {
        let mut modules = Modules::default();
        modules.add("virtio_mmio.ko", || Ok(module("virtio_mmio"))).unwrap();
        assert!(modules.transport_modules().unwrap_err().to_string().contains("virtio_mmio"));
        modules.add("virtio_mmio.ko.xz", || Ok(b"\xfd7zXZ\0damaged".to_vec())).unwrap();
        assert!(
            modules
                .transport_modules()
                .unwrap_err()
                .to_string()
                .contains("virtio_mmio cannot be read")
        );
    }
}
