// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The frame of an HTML page that needs no other files. The page's content security policy allows only its own style
//! and script, by their digests.

use crate::text::Printable;
use base64ct::{Base64, Encoding as _};
use sha2::{Digest as _, Sha256};

/// The style of pages about cases.
pub(crate) const CASES_STYLE: &str = include_str!("html_page.css");

/// Renders a complete page. `title` is plain text. `body` is HTML, in which the caller has escaped text of the
/// guest ([`escape_html`]).
pub(crate) fn render_page(title: &str, style: &str, script: Option<&str>, body: &str) -> Printable {
    let title = escape_html(title);
    let styles = csp_digest(style);
    let scripts =
        script.map(|text| format!(" script-src '{}';", csp_digest(text))).unwrap_or_default();
    let script = script.map(|text| format!("<script>{text}</script>\n")).unwrap_or_default();
    let page = format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src '{styles}';{scripts} base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
{body}
{script}</body>
</html>
"#
    );
    Printable::document(&page)
}

/// Escapes text for HTML, for use between tags.
pub(crate) fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The digest of a style or script for a content security policy: `sha256-` and base64.
fn csp_digest(text: &str) -> String {
    format!("sha256-{}", Base64::encode_string(&Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_base64() {
        // The output of: printf '' | openssl dgst -sha256 -binary | base64
        assert_eq!(csp_digest(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }
}
