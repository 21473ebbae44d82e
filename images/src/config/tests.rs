// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use std::fs;

const SERIES: Series = Series { major: 6, minor: 12 };

/// Creates a configuration of flavour `default`, perhaps with a fragment of the user.
fn configuration(user_fragment: Option<&str>) -> Configuration {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), user_fragment.unwrap_or_default()).unwrap();
    let files: Vec<PathBuf> = user_fragment.map(|_| file.path().to_owned()).into_iter().collect();
    Configuration::new(Arch::X86_64, "default", &files).unwrap()
}

/// The symbols that the configuration of these tests requires.
fn required_symbols() -> Vec<RequiredSymbol<'static>> {
    let mut required = parse_required(REQUIRED_LIST).unwrap();
    required.retain(|symbol| symbol.applies_to(Arch::X86_64, "default", SERIES));
    required
}

/// A .config with all required settings.
pub(crate) fn config_with_required_symbols() -> String {
    required_symbols()
        .iter()
        .map(|required| format!("{}={}\n", required.symbol, required.value))
        .collect()
}

#[test]
fn settings_are_parsed() {
    assert_eq!(parse_setting("CONFIG_A=y"), Some(("CONFIG_A", "y")));
    assert_eq!(parse_setting("# CONFIG_A is not set"), Some(("CONFIG_A", "n")));
    assert_eq!(parse_setting("CONFIG_B=\"a=b\""), Some(("CONFIG_B", "\"a=b\"")));
    assert_eq!(parse_setting("# CONFIG_A decides"), None);
    assert_eq!(parse_setting("# a comment"), None);
}

#[test]
fn the_last_setting_of_a_symbol_counts() {
    let merged = configuration(Some("CONFIG_MINE=y\n# CONFIG_SMP is not set\n"))
        .merge("# CONFIG_MINE is not set\nCONFIG_TINY=y\n");
    assert!(merged.contains("CONFIG_TINY=y\n") && merged.contains("CONFIG_MINE=y\n"));
    assert!(!merged.contains("# CONFIG_MINE") && !merged.contains("CONFIG_SMP=y"));
    assert!(merged.contains("# CONFIG_SMP is not set\n"));
}

#[test]
fn the_last_symbol_of_a_choice_counts() {
    let merged = configuration(None).merge("CONFIG_SLOB=y\n# CONFIG_SLUB is not set\n");
    assert!(merged.find("CONFIG_SLOB=y").unwrap() < merged.find("CONFIG_SLUB=y").unwrap());
}

#[test]
fn all_missing_symbols_are_named() {
    assert!(!config_with_required_symbols().is_empty());
    let configuration = configuration(None);
    let notes = configuration.check(&config_with_required_symbols(), SERIES).unwrap();
    assert_eq!(notes, Vec::<String>::new());
    let error = configuration.check("", SERIES).unwrap_err();
    assert_eq!(error.fault(), crate::Fault::Kernel);
    for required in required_symbols() {
        if required.value != "n" {
            assert!(error.to_string().contains(required.symbol), "{error}");
        }
    }
}

#[test]
fn a_fragment_that_unsets_a_required_symbol_is_bad_input() {
    let symbol = required_symbols()[0].symbol;
    let configuration = configuration(Some(&format!("# {symbol} is not set\n")));
    let error = configuration.check("", SERIES).unwrap_err();
    assert_eq!(error.fault(), crate::Fault::Input);
    assert!(error.to_string().contains(symbol));
}

#[test]
fn a_setting_without_effect_is_reported() {
    let configuration = configuration(Some("CONFIG_NO_SUCH=y\n"));
    let notes = configuration.check(&config_with_required_symbols(), SERIES).unwrap();
    assert_eq!(notes.len(), 1);
    assert!(notes[0].starts_with("CONFIG_NO_SUCH=y of "), "{notes:?}");
}

#[test]
fn unknown_flavours_and_files_that_are_no_fragments_are_refused() {
    let error = Configuration::new(Arch::X86_64, "vanilla", &[]).unwrap_err();
    assert!(error.to_string().contains("default, full"));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "CONFIG_A=y\nhello\n").unwrap();
    let files = [file.path().to_owned()];
    let error = Configuration::new(Arch::X86_64, "default", &files).unwrap_err();
    assert_eq!(error.fault(), crate::Fault::Input);
    assert!(error.to_string().contains("line 2"));
    let missing = [PathBuf::from("/no/such.config")];
    assert!(Configuration::new(Arch::X86_64, "default", &missing).is_err());
}

#[test]
fn a_required_symbol_applies_under_its_conditions() {
    let required =
        parse_required("CONFIG_A=y arch=x86_64 flavour=full since=6.5 before=7.3 # why\n\n# c\n")
            .unwrap();
    let [symbol] = &required[..] else { panic!("not one symbol") };
    let series = |major, minor| Series { major, minor };
    assert!(symbol.applies_to(Arch::X86_64, "full", series(6, 5)));
    assert!(!symbol.applies_to(Arch::X86_64, "default", series(6, 5)));
    assert!(!symbol.applies_to(Arch::X86_64, "full", series(6, 4)));
    assert!(!symbol.applies_to(Arch::X86_64, "full", series(7, 3)));
    assert!(parse_required("CONFIG_A=y sinc=6.5").is_err());
}
