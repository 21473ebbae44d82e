//! What a person types after `KERNEL=`.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::image_file::{self, ImageFile};
use crate::pins::Pins;
use crate::ready::PACKAGE_MAGIC;
use crate::version::{Release, Series};
use crate::{Arch, Error};

/// A kernel reference, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// This release and no other, such as `v6.12.117`.
    Exact(Release),
    /// The newest of a series, such as `6.12`.
    Newest(Series),
    /// A pinned kernel, by its name.
    Pinned(String),
    /// A source tree, by its canonical path.
    Tree(PathBuf),
    /// A commit of the git tree that `LINUX=` names, as git-rev-parse(1) takes it.
    Commit(String),
    /// The newest release there is, candidates included.
    Latest,
    /// The newest release that is no candidate.
    Stable,
    /// A kernel image that is there already.
    Image(ImageFile),
    /// The newest kernel that is installed here.
    Installed,
    /// The file of a distribution package.
    PackageFile(PathBuf),
    /// A distribution package by its name.
    Package(String),
    /// The distribution's newest package of a series for clouds.
    NewestPackage(Series),
}

impl Reference {
    /// Understands a reference. Empty means the pinned default, and so does `pinned`. In a git tree (`linux`), what is
    /// none of the rest is a commit.
    ///
    /// # Errors
    /// [`Error::Input`] with one sentence that says what is wrong and what is accepted;
    /// [`Error::Machine`] if a file cannot be read.
    pub fn parse(text: &str, arch: Arch, linux: Option<&Path>) -> Result<Reference, Error> {
        let text = text.trim();
        let pins = Pins::embedded()?;
        let name = match text {
            "" | "pinned" => pins.default_name(arch).unwrap_or(text),
            _ => text,
        };
        if let Some(series) = pins.series(name) {
            if !pins.names(arch).any(|other| other == name) {
                return Err(Error::Input(format!(
                    "KERNEL={text} is not for {}; pinned for it: {}; {ACCEPTED}",
                    arch.name(),
                    pins.names(arch).collect::<Vec<_>>().join(", ")
                )));
            }
            return Ok(match pins.patches(name).is_empty() {
                true => Reference::Newest(series),
                false => Reference::Pinned(name.to_owned()),
            });
        }
        match text {
            "latest" => return Ok(Reference::Latest),
            "stable" => return Ok(Reference::Stable),
            "installed" => return Ok(Reference::Installed),
            "running" => {
                return Err(Error::Input(format!(
                    "KERNEL={text}: the kernel that is running here has no image to boot; {ACCEPTED}"
                )));
            }
            _ => {}
        }
        if let Some(package) = text.strip_prefix("deb:") {
            return of_package(text, package);
        }
        if let Some(release) = text.strip_prefix('v').and_then(|rest| rest.parse().ok()) {
            return Ok(Reference::Exact(release));
        }
        if let Ok(series) = text.parse() {
            return Ok(Reference::Newest(series));
        }
        if let Ok(release) = text.parse::<Release>() {
            return Ok(Reference::Exact(release));
        }
        let path = expand_home(Path::new(text));
        if path.exists() {
            return of_path(text, &path, arch);
        }
        if linux.is_some() && !text.starts_with(['.', '/', '~']) {
            return Ok(Reference::Commit(text.to_owned()));
        }
        Err(Error::Input(if text.contains('/') || text.starts_with('~') {
            format!("KERNEL={text}: there is no such file or directory; {ACCEPTED}")
        } else {
            let names: Vec<&str> = pins.names(arch).collect();
            format!(
                "KERNEL={text}: neither a version nor a file; pinned here: {}; {ACCEPTED}",
                names.join(", ")
            )
        }))
    }
}

impl Reference {
    /// Whether it is built here.
    pub(crate) fn has_source(&self) -> bool {
        match self {
            Reference::Exact(_)
            | Reference::Newest(_)
            | Reference::Pinned(_)
            | Reference::Tree(_)
            | Reference::Commit(_)
            | Reference::Latest
            | Reference::Stable => true,
            Reference::Image(_)
            | Reference::Installed
            | Reference::PackageFile(_)
            | Reference::Package(_)
            | Reference::NewestPackage(_) => false,
        }
    }
}

/// What is accepted, said wherever something else was given.
pub(crate) const ACCEPTED: &str = "give a release such as v6.12.117, a series such as 6.12, latest, \
     stable, installed, the directory of a Linux source tree, a vmlinux, bzImage or .deb file, \
     deb:6.12 or deb:PACKAGE, or a commit of the git tree in LINUX=";

/// A package by its name (Debian policy, 5.6.1), or the newest of a series.
fn of_package(text: &str, package: &str) -> Result<Reference, Error> {
    if let Ok(series) = package.parse() {
        return Ok(Reference::NewestPackage(series));
    }
    let known =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    if package.len() < 2 || package.starts_with(['+', '-', '.']) || !package.bytes().all(known) {
        return Err(Error::Input(format!(
            "KERNEL={text}: not the name of a package; give a series such as deb:6.12 or a package \
             such as deb:linux-image-6.12.117+deb12-cloud-amd64"
        )));
    }
    Ok(Reference::Package(package.to_owned()))
}

/// `~` and `~/...` as a shell expands them: make hands them on as typed.
pub(crate) fn expand_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        // join() of an empty rest would put a slash at the end.
        (Ok(rest), Some(home)) if rest.as_os_str().is_empty() => PathBuf::from(home),
        (Ok(rest), Some(home)) => Path::new(&home).join(rest),
        _ => path.to_owned(),
    }
}

fn of_path(text: &str, path: &Path, arch: Arch) -> Result<Reference, Error> {
    let unreadable =
        |e: std::io::Error| Error::Input(format!("KERNEL={text}: cannot be read: {e}"));
    let path = fs::canonicalize(path).map_err(unreadable)?;
    let meta = fs::metadata(&path).map_err(unreadable)?;
    if !meta.is_dir() {
        let mut head = [0; PACKAGE_MAGIC.len()];
        let is_package = fs::File::open(&path)
            .and_then(|mut file| file.read_exact(&mut head))
            .is_ok_and(|()| head == PACKAGE_MAGIC);
        if is_package {
            return Ok(Reference::PackageFile(path));
        }
        return image_file::inspect(&path, arch)
            .map(Reference::Image)
            .map_err(|why| Error::Input(format!("KERNEL={text}: {why}")));
    }
    match tree_release(&path) {
        Ok(_) => Ok(Reference::Tree(path)),
        Err(what) => Err(Error::Input(format!(
            "KERNEL={text}: not a Linux source tree: {what}; name the directory that holds Linux's \
             top Makefile"
        ))),
    }
}

/// The release that a tree's Makefile says it is, such as `6.12.0-rc3`.
pub(crate) fn tree_release(tree: &Path) -> Result<String, String> {
    let makefile = fs::read_to_string(tree.join("Makefile"))
        .map_err(|e| format!("its Makefile cannot be read: {e}"))?;
    let value = |name: &str| {
        makefile.lines().take(40).find_map(|line| {
            let (left, right) = line.split_once('=')?;
            (left.trim() == name).then(|| right.trim().to_owned())
        })
    };
    let (Some(version), Some(patchlevel)) = (value("VERSION"), value("PATCHLEVEL")) else {
        return Err("its Makefile sets no VERSION and PATCHLEVEL".into());
    };
    if !tree.join("Kconfig").is_file() || !tree.join("kernel").is_dir() {
        return Err("it has no Kconfig or no kernel directory".into());
    }
    let sub = value("SUBLEVEL").filter(|s| !s.is_empty()).unwrap_or_else(|| "0".into());
    let extra = value("EXTRAVERSION").unwrap_or_default();
    Ok(format!("{version}.{patchlevel}.{sub}{extra}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Reference, Error> {
        Reference::parse(text, Arch::X86_64, None)
    }

    fn refused(text: &str) -> String {
        let error = parse(text).unwrap_err();
        assert_eq!(error.fault(), crate::Fault::Input, "{error}");
        let sentence = error.to_string();
        assert!(sentence.contains(text) && !sentence.contains('\n'), "{sentence}");
        sentence
    }

    #[test]
    fn versions() {
        assert_eq!(parse("v6.12").unwrap(), Reference::Exact("6.12".parse().unwrap()));
        assert_eq!(parse("v6.12.117").unwrap(), Reference::Exact("6.12.117".parse().unwrap()));
        assert_eq!(parse("6.12.117").unwrap(), Reference::Exact("6.12.117".parse().unwrap()));
        assert_eq!(parse("v7.3-rc7").unwrap(), Reference::Exact("7.3-rc7".parse().unwrap()));
        assert_eq!(parse("6.1").unwrap(), Reference::Newest("6.1".parse().unwrap()));
        // That no such release exists is found out by looking for its source.
        assert_eq!(parse("v9.99").unwrap(), Reference::Exact("9.99".parse().unwrap()));
    }

    #[test]
    fn empty_is_the_default() {
        let Reference::Newest(series) = parse("").unwrap() else { panic!("a series") };
        let pins = Pins::embedded().unwrap();
        assert_eq!(Some(series), pins.series(pins.default_name(Arch::X86_64).unwrap()));
    }

    #[test]
    fn a_patched_kernel_is_for_its_architecture_only() {
        let here = Reference::parse("6.12-sud", Arch::Aarch64, None).unwrap();
        assert_eq!(here, Reference::Pinned("6.12-sud".into()));
        for text in ["", "pinned"] {
            assert_eq!(Reference::parse(text, Arch::Aarch64, None).unwrap(), here);
        }
        assert!(refused("6.12-sud").contains("not for x86_64"));
        let plain = Reference::parse("6.12", Arch::Aarch64, None).unwrap();
        assert_eq!(plain, Reference::Newest("6.12".parse().unwrap()));
    }

    #[test]
    fn nonsense_gets_one_sentence_with_what_is_accepted() {
        assert!(refused("banana").contains("a series such as 6.12"));
        assert!(refused("./no/such/tree").contains("no such file"));
        assert!(refused("running").contains("no image"));
        for text in ["deb:", "deb:6.12 7.3", "deb:../x", "deb:-o", "deb:Linux=1"] {
            assert!(refused(text).contains("deb:6.12"));
        }
    }

    #[test]
    fn packages_by_series_name_and_file() {
        assert_eq!(parse("deb:6.18").unwrap(), Reference::NewestPackage("6.18".parse().unwrap()));
        let name = "linux-image-6.18.15+deb13-cloud-amd64";
        assert_eq!(parse(&format!("deb:{name}")).unwrap(), Reference::Package(name.into()));
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "!<arch>\ndebian-binary").unwrap();
        let path = file.path().canonicalize().unwrap();
        assert_eq!(parse(path.to_str().unwrap()).unwrap(), Reference::PackageFile(path));
    }

    #[test]
    fn in_a_git_tree_what_is_nothing_else_is_a_commit() {
        let linux = Some(Path::new("linux"));
        let parse = |text| Reference::parse(text, Arch::X86_64, linux);
        for text in ["HEAD~3", "master", "origin/next", "0123abcd"] {
            assert_eq!(parse(text).unwrap(), Reference::Commit(text.into()));
        }
        assert_eq!(parse("v6.13-rc1").unwrap(), Reference::Exact("6.13-rc1".parse().unwrap()));
        assert_eq!(parse("stable").unwrap(), Reference::Stable);
        assert!(parse("./no/such").is_err());
    }

    #[test]
    fn trees_are_recognised_and_other_directories_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        assert!(refused(path).contains("not a Linux source tree"));
        fs::write(dir.path().join("Makefile"), "all:\n\techo hello\n").unwrap();
        assert!(refused(path).contains("VERSION"));
        let makefile = "# SPDX\nVERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 0\nEXTRAVERSION = -rc3\n";
        fs::write(dir.path().join("Makefile"), makefile).unwrap();
        assert!(refused(path).contains("Kconfig"));
        fs::write(dir.path().join("Kconfig"), "").unwrap();
        fs::create_dir(dir.path().join("kernel")).unwrap();
        assert_eq!(parse(path).unwrap(), Reference::Tree(dir.path().canonicalize().unwrap()));
        assert_eq!(tree_release(dir.path()).unwrap(), "6.12.0-rc3");
    }

    #[test]
    fn a_text_file_is_no_kernel() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "hello, I am a text\n").unwrap();
        assert!(refused(file.path().to_str().unwrap()).contains("text"));
    }

    #[test]
    fn home_is_expanded() {
        let home = PathBuf::from(std::env::var_os("HOME").unwrap());
        assert_eq!(expand_home(Path::new("~/src/linux")), home.join("src/linux"));
        assert_eq!(expand_home(Path::new("~")), home);
        assert_eq!(expand_home(Path::new("./~/x")), PathBuf::from("./~/x"));
    }
}
