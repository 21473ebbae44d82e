// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `sudbox kernels`: what is pinned, in the cache and on offer; and making room.

use crate::cli::{KernelsArgs, KernelsVerb, PruneArgs};
use crate::output::print;
use crate::output::progress::Progress;
use indicatif::HumanBytes;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};
use sudbox_images::kernels::{self, Cached};
use sudbox_images::{Arch, Cache, Ctx};
use unicode_width::UnicodeWidthStr as _;

/// Prints the table, or prunes. Returns the exit code.
pub(crate) fn kernels(args: &KernelsArgs) -> anyhow::Result<u8> {
    let cache = Cache::open()?;
    match &args.verb {
        Some(KernelsVerb::Prune(args)) => prune(&cache, args),
        None => list(&cache),
    }
}

fn list(cache: &Cache) -> anyhow::Result<u8> {
    let arch = Arch::default();
    let mut progress = Progress::new();
    let offers = kernels::on_offer(&mut Ctx::new(cache, &mut progress), arch)?;
    drop(progress);
    let mut rows = vec![["KERNEL", "STATE", "SIZE", "USED", "WHAT"].map(str::to_owned)];
    let nothing = String::new;
    for pinned in kernels::pinned(arch)? {
        let state = if pinned.default { "pinned, default" } else { "pinned" };
        rows.push([pinned.name, state.into(), nothing(), nothing(), nothing()]);
    }
    rows.extend(kernels::cached(cache).iter().map(row));
    for offer in offers {
        rows.push([offer.reference, "on offer".into(), nothing(), nothing(), offer.package]);
    }
    print(&table(&rows))?;
    Ok(0)
}

fn prune(cache: &Cache, args: &PruneArgs) -> anyhow::Result<u8> {
    let unused = Duration::from_secs(u64::from(args.days) * 24 * 3600);
    let gone = kernels::prune(cache, unused, args.yes);
    let bytes = human_size(gone.iter().map(|cached| cached.bytes).sum());
    let mut text = table(&gone.iter().map(row).collect::<Vec<_>>());
    let age = format!("not used for {} days", args.days);
    let _ = match (args.yes, gone.len()) {
        (true, count) => writeln!(text, "freed {bytes}: {count} entries {age}"),
        (false, 0) => writeln!(text, "nothing to free: no entry is {age}"),
        (false, count) => {
            writeln!(text, "would free {bytes}: {count} entries {age}; --yes frees them")
        }
    };
    print(&text)?;
    Ok(0)
}

fn row(cached: &Cached) -> [String; 5] {
    [
        cached.name.clone(),
        format!("cached {}", cached.kind),
        human_size(cached.bytes),
        age(cached.used),
        cached.source.clone().unwrap_or_default(),
    ]
}

fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Formatting pads by characters, terminals show columns.
            let padding = width - cell.width() + 2;
            let _ = write!(line, "{cell}{:padding$}", "");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A size in the binary unit that fits, such as `5.00 MiB`.
fn human_size(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

fn age(used: SystemTime) -> String {
    let hours = used.elapsed().unwrap_or_default().as_secs() / 3600;
    match hours {
        0 => "now".into(),
        1..=47 => format!("{hours} h ago"),
        _ => format!("{} days ago", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [["a", "bb", ""], ["cccc", "d", "e"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "a     bb\ncccc  d   e\n");
        assert_eq!(human_size(5 << 20), "5.00 MiB");
        assert_eq!(human_size(20 << 30), "20.00 GiB");
        let before = |hours: u64| age(SystemTime::now() - Duration::from_secs(hours * 3600 + 60));
        assert_eq!([before(0), before(3), before(72)], ["now", "3 h ago", "3 days ago"]);
    }
}
