//! What a person types after `KERNEL=`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::image_file::{self, ImageFile};
use crate::pins::Pins;
use crate::version::{Release, Series};
use crate::{Arch, Error};

/// A kernel reference, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// This release and no other, such as `v6.12.117`.
    Exact(Release),
    /// The newest of a series, such as `6.12`, or a pinned one by its name.
    Newest(Series),
    /// A source tree, by its canonical path.
    Tree(PathBuf),
    /// A kernel image that is there already.
    Image(ImageFile),
}

impl Reference {
    /// Understands a reference. Empty means the pinned default.
    ///
    /// # Errors
    /// [`Error::Input`] with one sentence that says what is wrong and what is accepted;
    /// [`Error::Machine`] if a file cannot be read.
    pub fn parse(text: &str, arch: Arch) -> Result<Reference, Error> {
        let text = text.trim();
        let pins = Pins::embedded()?;
        let name = if text.is_empty() { pins.default_name(arch).unwrap_or(text) } else { text };
        if let Some(series) = pins.series(name) {
            return Ok(Reference::Newest(series));
        }
        if let Some(kind) = later(text) {
            return Err(Error::Input(format!(
                "KERNEL={text}: {kind} cannot be judged by this version of sudbox yet; {ACCEPTED}"
            )));
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
        Err(Error::Input(if text.contains('/') || text.starts_with('~') {
            format!("KERNEL={text}: there is no such file or directory; {ACCEPTED}")
        } else {
            let names: Vec<&str> = pins.names().collect();
            format!(
                "KERNEL={text}: neither a version nor a file; pinned here: {}; {ACCEPTED}",
                names.join(", ")
            )
        }))
    }
}

/// What is accepted, said wherever something else was given.
pub(crate) const ACCEPTED: &str = "give a release such as v6.12.117, a series such as 6.12, the \
     directory of a Linux source tree, or a vmlinux or bzImage file";

/// References the design knows and this version does not.
fn later(text: &str) -> Option<&'static str> {
    match text {
        "running" => Some("the running kernel"),
        "installed" => Some("an installed kernel"),
        "latest" => Some("the latest kernel"),
        _ if text.starts_with("deb:") || text.ends_with(".deb") => Some("a distribution package"),
        _ => None,
    }
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
        Reference::parse(text, Arch::X86_64)
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
    fn nonsense_gets_one_sentence_with_what_is_accepted() {
        assert!(refused("banana").contains("a series such as 6.12"));
        assert!(refused("./no/such/tree").contains("no such file"));
        for later in ["running", "installed", "latest", "deb:linux-image-amd64"] {
            assert!(refused(later).contains("yet"));
        }
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
