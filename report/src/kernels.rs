// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The list of pinned, cached and offered kernels.

use bytesize::ByteSize;
use serde::Serialize;

use crate::form::{Form, Report};
use crate::forms::json::to_json;
use crate::terminal::{ReportWriter, Screen};
use crate::text::{self, Printable};

/// A kernel, or a part of the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KernelEntry {
    /// The kernel as typed after `KERNEL=`, or the name of the cache's entry.
    pub name: String,
    /// `pinned`, `pinned, default`, `on offer`, or `cached` and the kind of the cache's entry.
    pub state: String,
    /// Size in bytes, for an entry of the cache.
    pub bytes: Option<u64>,
    /// Seconds since the last use, for an entry of the cache.
    pub unused_seconds: Option<u64>,
    /// The package, or the origin of an image.
    pub origin: String,
}

/// The list of kernels and of entries of the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KernelList {
    /// Version of the schema.
    pub schema: u32,
    /// The kernels.
    pub kernels: Vec<KernelEntry>,
}

impl KernelList {
    /// The list of these kernels.
    #[must_use]
    pub fn from_entries(kernels: Vec<KernelEntry>) -> KernelList {
        KernelList { schema: 1, kernels }
    }
}

impl Report for KernelList {
    const FORMS: &'static [Form<KernelList>] = &[
        Form { name: "table", about: "For people", file_name: "kernels.txt", render },
        Form {
            name: "json",
            about: "All that is known",
            file_name: "kernels.json",
            render: |list, _| to_json(list),
        },
    ];
}

/// Renders a line for each entry. If the terminal is too narrow, the last column moves to separate lines; if
/// the terminal is still too narrow, each entry is a paragraph.
fn render(list: &KernelList, screen: Screen) -> Printable {
    let mut rows = vec![["KERNEL", "STATE", "SIZE", "USED", "WHAT"].map(str::to_owned)];
    rows.extend(list.kernels.iter().map(|entry| {
        [
            text::escaped_line(&entry.name),
            entry.state.clone(),
            entry.bytes.map(human_size).unwrap_or_default(),
            entry.unused_seconds.map(human_age).unwrap_or_default(),
            text::escaped_line(&entry.origin),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| text::width_in_columns(&row[column])).max();
    let widths: [usize; 5] = std::array::from_fn(|column| width(column).unwrap_or(0) + 2);
    let fits = |columns: usize| widths[..columns].iter().sum::<usize>() <= screen.width() + 2;
    let mut writer = ReportWriter::new(screen);
    if !screen.is_terminal() || fits(5) {
        for row in &rows {
            writer.write_line(&padded_row(row, &widths));
        }
    } else if fits(4) {
        for row in &rows {
            writer.write_line(&padded_row(&row[..4], &widths));
            writer.write_wrapped(CONTINUATION_INDENT, CONTINUATION_INDENT, &row[4]);
        }
    } else {
        for row in &rows[1..] {
            let cells: Vec<&str> =
                row.iter().map(String::as_str).filter(|cell| !cell.is_empty()).collect();
            writer.write_wrapped("", CONTINUATION_INDENT, &cells.join(", "));
        }
    }
    writer.finish()
}

/// The indent of a continued line.
const CONTINUATION_INDENT: &str = "    ";

fn padded_row(cells: &[String], widths: &[usize]) -> String {
    cells.iter().zip(widths).map(|(cell, width)| text::padded(cell, *width)).collect()
}

/// Formats a size in the largest binary unit that fits, such as `5.0 MiB`.
#[must_use]
pub fn human_size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

fn human_age(seconds: u64) -> String {
    match seconds / 3600 {
        0 => "now".into(),
        hours @ 1..=47 => format!("{hours} h ago"),
        hours => format!("{} days ago", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_column_is_as_wide_as_its_widest_cell() {
        let entry = KernelEntry {
            name: "6.12.117".into(),
            state: "cached image".into(),
            bytes: Some(5 << 20),
            unused_seconds: Some(72 * 3600),
            origin: "a".into(),
        };
        let offer = KernelEntry {
            name: "deb:6.12".into(),
            state: "on offer".into(),
            bytes: None,
            unused_seconds: None,
            origin: "b".into(),
        };
        let list = KernelList::from_entries(vec![entry, offer]);
        assert_eq!(
            &*render(&list, Screen::FILE),
            "KERNEL    STATE         SIZE     USED        WHAT\n\
             6.12.117  cached image  5.0 MiB  3 days ago  a\n\
             deb:6.12  on offer                           b\n"
        );
        assert_eq!(
            [human_age(0), human_age(3 * 3600), human_age(47 * 3600)],
            ["now", "3 h ago", "47 h ago"]
        );
    }
}
