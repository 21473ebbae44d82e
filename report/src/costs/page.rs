// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Costs as an HTML page without a script: a chart and the table.

use super::{Cost, Costs, Unit, table};
use crate::form::Form;
use crate::html_page::{self, escape_html};
use crate::terminal::Screen;
use crate::text::{self, Printable};
use std::fmt::Write as _;

/// The row of this form in the list of forms.
pub(crate) const FORM: Form<Costs> = Form {
    name: "html",
    about: "A page with a chart, for a browser",
    file_name: "costs.html",
    render: |costs, _| render(costs),
};

const STYLE: &str = "
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 60em; padding: 0 1em; }
pre { font-size: 13px; overflow-x: auto; }
svg { width: 100%; height: auto; font: 13px system-ui, sans-serif; fill: currentColor; }
.bar { fill: #3b78b8; }
.line { stroke: currentColor; stroke-opacity: 0.25; }
.faint { fill-opacity: 0.6; }
@media (prefers-color-scheme: dark) { body { background: #16181c; color: #ddd; } }
";

/// Width of the chart in SVG units.
const CHART_WIDTH: f64 = 900.0;
/// Left end of the bars.
const BARS_LEFT: f64 = 150.0;
/// Right end of the longest possible bar.
const BARS_RIGHT: f64 = 740.0;
/// Height of a bar and the space around it.
const ROW_HEIGHT: f64 = 26.0;

fn render(costs: &Costs) -> Printable {
    let release = text::escaped_line(&costs.kernel.release);
    let table = escape_html(&table::render(costs, Screen::FILE));
    let body = format!("{}<pre>{table}</pre>", svg_chart(costs));
    html_page::render_page(&format!("What dispatch costs on Linux {release}"), STYLE, None, &body)
}

/// Minimum of the logarithmic scale, in multiples of a native call. A smaller cost is drawn as this
/// minimum.
const MIN_RATIO: f64 = 0.001;

/// The chart: a bar for each cost in multiples of a native call, on a logarithmic scale.
fn svg_chart(costs: &Costs) -> String {
    let drawn_ratio = |cost: &Cost| cost.ratio.max(MIN_RATIO);
    let ratios = || costs.costs.iter().map(drawn_ratio);
    let first_decade = ratios().fold(1.0, f64::min).log10().floor();
    let last_decade = ratios().fold(1.0, f64::max).log10().ceil().max(first_decade + 1.0);
    let x_of_decade = |decade: f64| {
        let position = (decade - first_decade) / (last_decade - first_decade);
        BARS_LEFT + (BARS_RIGHT - BARS_LEFT) * position
    };
    let mut bars = String::new();
    let mut y = ROW_HEIGHT;
    for cost in &costs.costs {
        let text_y = y + ROW_HEIGHT * 0.68;
        let bar_width = (x_of_decade(drawn_ratio(cost).log10()) - BARS_LEFT).max(1.0);
        let (name, label) =
            (escape_html(&text::escaped_line(&cost.name)), bar_label(costs.unit, cost));
        let operation = escape_html(&text::escaped_line(&cost.operation));
        let _ = write!(
            bars,
            r#"<g><title>{operation}</title><text x="{:.1}" y="{text_y:.1}" text-anchor="end">{name}</text>
<rect class="bar" x="{BARS_LEFT:.1}" y="{:.1}" width="{:.1}" height="{:.1}"/>
<text x="{:.1}" y="{text_y:.1}">{label}</text></g>
"#,
            BARS_LEFT - 8.0,
            y + ROW_HEIGHT * 0.15,
            bar_width,
            ROW_HEIGHT * 0.7,
            BARS_LEFT + bar_width + 6.0,
        );
        y += ROW_HEIGHT;
    }
    let mut lines = String::new();
    let mut decade = first_decade;
    while decade <= last_decade {
        let (x, multiple) = (x_of_decade(decade), 10f64.powf(decade));
        let _ = write!(
            lines,
            r#"<line class="line" x1="{x:.1}" x2="{x:.1}" y1="{ROW_HEIGHT:.1}" y2="{y:.1}"/>
<text class="faint" x="{x:.1}" y="{:.1}" text-anchor="middle">{multiple}x</text>
"#,
            ROW_HEIGHT * 0.7,
        );
        decade += 1.0;
    }
    let height = y + ROW_HEIGHT * 0.5;
    format!(
        r#"<svg viewBox="0 0 {CHART_WIDTH} {height:.1}" role="img" aria-label="Costs as multiples of a native call, on a logarithmic scale">
{lines}{bars}</svg>
"#
    )
}

/// The text after a bar: the least cost in the unit, or the ratio.
fn bar_label(unit: Unit, cost: &Cost) -> String {
    let unit_name = match unit {
        Unit::Nanoseconds => " ns",
        Unit::Instructions { .. } => " instructions",
        Unit::Ratio => "",
    };
    cost.cost.map_or_else(
        || format!("{:.2}x", cost.ratio),
        |statistics| format!("{}{unit_name}", table::formatted_number(statistics.least)),
    )
}
