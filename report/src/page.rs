//! What the pages of HTML have in common: one file, which loads nothing, and lets the browser use no style
//! and run no script but its own.

use sha2::{Digest as _, Sha256};

/// A whole page. The title is text; the body is markup, in which what a guest said is [`escaped`].
pub(crate) fn whole(title: &str, style: &str, script: Option<&str>, body: &str) -> String {
    let title = escaped(title);
    let styles = digest(style);
    let scripts = script.map(|text| format!(" script-src '{}';", digest(text))).unwrap_or_default();
    let script = script.map(|text| format!("<script>{text}</script>\n")).unwrap_or_default();
    format!(
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
    )
}

/// Text as HTML has it between tags.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The source of a style or script as a content security policy names it: `sha256-` and base64.
fn digest(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::from("sha256-");
    for bytes in Sha256::digest(text).chunks(3) {
        let triple = bytes.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte));
        let triple = triple << (8 * (3 - bytes.len()));
        for i in 0..4 {
            let digit = (triple >> (18 - 6 * i)) as usize & 63;
            out.push(if i <= bytes.len() { char::from(DIGITS[digit]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_base64() {
        // printf '' | openssl dgst -sha256 -binary | base64
        assert_eq!(digest(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }
}
