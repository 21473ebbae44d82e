// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Paths that users type, and directory names for the cache.

use std::path::{Path, PathBuf};

/// Expands `~` and `~/...` as a shell does. In variables of make, the shell does not expand them.
#[must_use]
pub fn expand_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        // Joining an empty rest would append a slash.
        (Ok(rest), Some(home)) if rest.as_os_str().is_empty() => home,
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

/// The name of a directory, without characters that are not used in cache keys.
pub(crate) fn name_for_cache(tree: &Path) -> String {
    let name = tree.file_name().unwrap_or_default().to_string_lossy();
    let plain = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
    name.chars().filter(plain).take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_is_expanded() {
        let home = PathBuf::from(std::env::var_os("HOME").unwrap());
        assert_eq!(expand_home(Path::new("~/src/linux")), home.join("src/linux"));
        assert_eq!(expand_home(Path::new("~")), home);
        assert_eq!(expand_home(Path::new("./~/x")), PathBuf::from("./~/x"));
    }
}
