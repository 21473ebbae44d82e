//! From what a person types after `KERNEL=` to an image that boots, and from guest-init to an
//! initramfs. Knows nothing of VMs.
//!
//! Contract (the implementation follows):
//!
//! ```text
//! pub struct Request { reference, arch, flavour, linux, fragments, toolchain: Toolchain { cc, llvm, cross_compile, kcflags, jobs } , patches }
//! pub struct KernelImage { kernel: PathBuf, vmlinux: Option<PathBuf>, config: Option<PathBuf>,
//!                          release: Option<String>, source: String, stands_in: Option<String>, build_log: Option<PathBuf>, built: bool }
//! pub trait Monitor { fn phase(&mut self, &str); fn progress(&mut self, done: u64, of: u64, unit); fn note(&mut self, &str); fn interrupt(&self) -> Option<BorrowedFd<'_>>; }
//! impl Cache { pub fn open() -> Result<Cache, Error>; pub fn root(&self) -> &Path; }
//! pub fn kernel(cache: &Cache, request: &Request, monitor: &mut dyn Monitor) -> Result<KernelImage, Error>
//! pub mod initramfs { pub fn pack(entries: &[Entry]) -> Vec<u8> }
//! pub enum Fault { Input (129), Machine (128), Kernel (125), Interrupted (130) }   Error::fault()
//! ```
