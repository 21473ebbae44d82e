// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The HTML pages of a run and of a matrix in a browser.

use std::path::Path;
use sudbox_report::matrix::{Cell, CellResult, Matrix, Plan};
use sudbox_report::{Bug, CaseReport, Kernel, Outcome, Report, Screen, Verdict};
use sudbox_tests::browser::{Browser, ColorScheme};

fn case(id: &str, outcome: Outcome) -> CaseReport {
    let failed = outcome.is_failure();
    CaseReport {
        id: id.into(),
        promise: "a selector that is neither ALLOW nor BLOCK kills the task with SIGSYS".into(),
        kernel_function: "syscall_user_dispatch()".into(),
        outcome,
        expected: if failed { "death by SIGSYS".into() } else { String::new() },
        detail: if outcome == Outcome::Pass { String::new() } else { format!("{id} was seen") },
        bug: None,
        log: vec![],
        console: failed.then(|| "Call Trace:\n do_syscall_64+0x9e/0x1a0".into()),
        rerun: format!("sudbox run 6.12 --cases {id}"),
        duration_micros: 1500,
    }
}

fn judged(release: &str, cases: Vec<CaseReport>) -> Option<CellResult> {
    let kernel = Kernel { release: release.into(), ..Kernel::default() };
    Some(CellResult::Judged(Box::new(Verdict { kernel, cases, ..Verdict::default() })))
}

/// A matrix of these kernels and their results.
fn matrix_of(kernels: Vec<(&str, Option<CellResult>)>) -> Matrix {
    let cell = |kernel: &str| Cell {
        kernel: kernel.into(),
        arch: "x86_64".into(),
        flavour: "default".into(),
    };
    let (cells, results) = kernels.into_iter().map(|(name, result)| (cell(name), result)).unzip();
    let plan = Plan {
        sudbox_version: "0.1.0".into(),
        command: "sudbox matrix --kernels '6.12 ...'".into(),
        strict: false,
        boot_selected: false,
        cells,
    };
    Matrix { plan, shards: None, results }
}

/// A matrix of ten kernels: one breaks two promises, one does not build.
fn sample() -> Matrix {
    let names: Vec<String> = (1..=10).map(|minor| format!("deb:6.{minor}")).collect();
    let kernels = names.iter().enumerate().map(|(index, name)| {
        let outcome = |broken, working| if index == 2 { broken } else { working };
        let mut cases: Vec<CaseReport> =
            (0..12).map(|n| case(&format!("arguments/check-{n}"), Outcome::Pass)).collect();
        cases.push(case("selector/allow-passes", Outcome::Pass));
        cases.push(case("selector/invalid-value-kills", outcome(Outcome::Fail, Outcome::Pass)));
        let inclusive = if index < 5 { Outcome::Absent } else { Outcome::Pass };
        cases.push(case("range/inclusive", inclusive));
        cases.push(case("registers/kept", outcome(Outcome::Crash, Outcome::Known)));
        let result = match index {
            6 => Some(CellResult::Failed { exit_code: 125, reason: "it does not build".into() }),
            _ => judged(&format!("6.{}.7", index + 1), cases),
        };
        (name.as_str(), result)
    });
    matrix_of(kernels.collect())
}

/// Renders a report as HTML.
fn html<T: Report>(subject: &T) -> String {
    let form = T::form("html").expect("there is a page");
    (form.render)(subject, Screen::FILE).to_string()
}

/// Renders a report and opens it in a browser; `None` if there is no browser.
fn open<T: Report>(
    matrix: &T,
    dir: &Path,
    width: u32,
    height: u32,
    scheme: ColorScheme,
) -> Option<Browser> {
    let file = dir.join("matrix.html");
    std::fs::write(&file, html(matrix)).expect("a file");
    let browser = Browser::start(width, height, scheme)?;
    browser.open(&file);
    Some(browser)
}

/// Saves a screenshot in the directory that the environment variable `SUDBOX_PICTURES` names, if it
/// is set.
fn save_screenshot(browser: &Browser, name: &str) {
    if let Some(dir) = std::env::var_os("SUDBOX_PICTURES") {
        let file = Path::new(&dir).join(format!("{name}.png.base64"));
        std::fs::write(file, browser.screenshot()).expect("a file");
    }
}

#[test]
fn groups_fold_and_cells_show_details() {
    let dir = tempfile::tempdir().unwrap();
    let Some(browser) = open(&sample(), dir.path(), 1300, 900, ColorScheme::Light) else { return };
    assert_eq!(browser.evaluate("return document.title"), "Syscall User Dispatch on 10 kernels");
    assert_eq!(browser.evaluate("return document.querySelectorAll('thead button').length"), 10);

    // Groups without a failure are folded.
    let folds = "return [...document.querySelectorAll('tbody.group th button')].map((fold) => \
                 fold.textContent + ' ' + fold.getAttribute('aria-expanded'))";
    let folded =
        serde_json::json!(["arguments false", "selector true", "range false", "registers true"]);
    assert_eq!(browser.evaluate(folds), folded);
    let first_group = "tbody.group:nth-of-type(1) th button";
    browser.click(first_group);
    assert!(browser.is_shown("[aria-label='arguments/check-3 on deb:6.1, x86_64, default: pass']"));
    browser.click(first_group);
    assert!(
        !browser.is_shown("[aria-label='arguments/check-3 on deb:6.1, x86_64, default: pass']")
    );
    assert!(browser.is_shown(
        "[aria-label='selector on deb:6.3, x86_64, default: 1/2 kept, worst fail'].fail"
    ));

    assert!(!browser.is_shown("#details"));
    browser.click("[aria-label='registers/kept on deb:6.3, x86_64, default: crash']");
    save_screenshot(&browser, "wide");
    let details = browser.text("#details");
    for words in [
        "registers/kept on deb:6.3, x86_64, default",
        "a selector that is neither ALLOW nor BLOCK",
        "syscall_user_dispatch()",
        "death by SIGSYS",
        "registers/kept was seen",
        "do_syscall_64+0x9e/0x1a0",
        "sudbox run 6.12 --cases registers/kept",
    ] {
        assert!(details.contains(words), "`{words}` is not in: {details}");
    }
    browser.click("#details .close");
    assert!(!browser.is_shown("#details"));

    browser.click("thead th:nth-child(8) button");
    assert!(browser.text("#details").contains("it does not build"));
    browser.click("[aria-label='range on deb:6.1, x86_64, default: 0/1 kept, worst absent']");
    assert!(browser.text("#details").contains("range/inclusive was seen"));
    browser.click("#details .close");

    let differences = browser.text("#differences");
    assert!(differences.contains("deb:6.2 \u{2192} deb:6.3: 2 cases"), "{differences}");
    assert!(differences.contains("pass -> fail: selector/invalid-value-kills"), "{differences}");
    assert!(differences.contains("deb:6.1 \u{2192} deb:6.2: nothing"), "{differences}");
    assert!(differences.contains("deb:6.5 \u{2192} deb:6.6: 1 case\n"), "{differences}");

    let console = "#failures details:nth-of-type(2) pre";
    assert!(!browser.is_shown(console));
    browser.click("#failures details:nth-of-type(2) summary");
    assert!(browser.text(console).contains("do_syscall_64"));
    assert_eq!(browser.console_messages(), Vec::<String>::new());
}

#[test]
fn a_narrow_screen_in_dark_mode_shows_everything() {
    let dir = tempfile::tempdir().unwrap();
    let Some(browser) = open(&sample(), dir.path(), 390, 844, ColorScheme::Dark) else { return };
    let width = browser.evaluate("return [document.documentElement.scrollWidth, innerWidth]");
    assert_eq!(width, serde_json::json!([390, 390]), "only the map scrolls sideways");
    let paper = browser.evaluate("return getComputedStyle(document.body).backgroundColor");
    assert_eq!(paper, "rgb(20, 23, 26)");
    save_screenshot(&browser, "phone");
    browser.click("[aria-label='selector/invalid-value-kills on deb:6.3, x86_64, default: fail']");
    save_screenshot(&browser, "phone-details");
    assert!(browser.text("#details").contains("death by SIGSYS"));
    let sheet = browser.evaluate(
        "const sheet = document.getElementById('details').getBoundingClientRect(); \
         const cell = document.querySelector('[aria-pressed=\"true\"]').getBoundingClientRect(); \
         return [sheet.left, sheet.right, sheet.bottom <= innerHeight, cell.bottom <= sheet.top]",
    );
    assert_eq!(sheet, serde_json::json!([0, 390, true, true]), "the cell is not covered");
    assert_eq!(browser.console_messages(), Vec::<String>::new());
}

#[test]
fn markup_in_texts_of_the_guest_is_escaped_in_the_matrix() {
    const EVIL: &str = "</script><script>document.title='taken'</script><img src=x \
                        onerror=\"document.title='taken'\"><!--<script> ]]> {{7*7}} ${7*7} '\"&lt;b&gt;";
    let evil = || EVIL.to_owned();
    let mut bad = case(EVIL, Outcome::Crash);
    (bad.promise, bad.kernel_function, bad.expected) = (evil(), evil(), evil());
    (bad.detail, bad.rerun, bad.console) = (evil(), evil(), Some(format!("{EVIL}\n{EVIL}")));
    bad.log = vec![evil()];
    let proto = case("__proto__/constructor", Outcome::Fail);
    let hostile = Verdict {
        sudbox_version: evil(),
        kernel: Kernel {
            reference: evil(),
            release: evil(),
            arch: evil(),
            flavour: evil(),
            source: evil(),
            substitution_note: Some(evil()),
        },
        machine: evil(),
        guest_facts: vec![evil()],
        cases: vec![bad, proto],
        ..Verdict::default()
    };
    let unjudged = Verdict { unjudged_reason: Some(evil()), ..hostile.clone() };
    let mut matrix = matrix_of(vec![
        ("6.12", judged("6.12.1", vec![case(EVIL, Outcome::Pass)])),
        (EVIL, Some(CellResult::Judged(Box::new(hostile)))),
        ("6.13", Some(CellResult::Judged(Box::new(unjudged)))),
        ("6.14", Some(CellResult::Failed { exit_code: 125, reason: evil() })),
    ]);
    (matrix.plan.command, matrix.plan.sudbox_version) = (evil(), evil());
    (matrix.plan.cells[1].arch, matrix.plan.cells[1].flavour) = (evil(), evil());
    let dir = tempfile::tempdir().unwrap();
    let Some(browser) = open(&matrix, dir.path(), 1300, 900, ColorScheme::Light) else { return };
    for selector in [
        "tbody.group:nth-of-type(1) td:nth-child(3) button",
        "tbody.cases tr td:nth-child(3) button",
        "thead th:nth-child(3) button",
        "thead th:nth-child(5) button",
    ] {
        browser.click(selector);
        let count = "return document.querySelectorAll('script').length * 100 + \
                     document.querySelectorAll('img, b:not(.legend b, #differences b)').length";
        assert_eq!(browser.evaluate(count), 200, "{selector}: not two scripts without an image");
    }
    assert!(browser.text("#details").contains("<script>document.title='taken'</script>"));
    assert_eq!(browser.evaluate("return document.title"), "Syscall User Dispatch on 4 kernels");
    assert_eq!(browser.console_messages(), Vec::<String>::new());
}

#[test]
fn the_page_of_a_run_explains_bugs_and_shows_the_console_of_failures() {
    let mut known = case("registers/flags-kept", Outcome::Known);
    known.bug = Some(Bug { id: "restart-number".into(), citation: "see handle_signal()".into() });
    let verdict = Verdict {
        start_time: "2026-11-29T19:43:58Z".into(),
        kernel: Kernel { release: "6.12.1".into(), ..Kernel::default() },
        options: "--memory 512".into(),
        cases: vec![
            case("arguments/check", Outcome::Pass),
            case("selector/invalid-value-kills", Outcome::Crash),
            known,
            case("range/inclusive", Outcome::Absent),
        ],
        ..Verdict::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let Some(browser) = open(&verdict, dir.path(), 1300, 900, ColorScheme::Light) else { return };
    save_screenshot(&browser, "run");
    let title = "Syscall User Dispatch on Linux 6.12.1";
    assert_eq!(browser.evaluate("return document.title"), title);
    let body = browser.text("body");
    for words in ["1 broken", "2026-11-29T19:43:58Z", "--memory 512", "see handle_signal()"] {
        assert!(body.contains(words), "`{words}` is not in: {body}");
    }
    // The failure is unfolded, the recorded bug is folded.
    assert!(browser.text("#failures pre").contains("do_syscall_64+0x9e/0x1a0"));
    assert!(browser.is_shown("#failures pre") && !browser.is_shown("#known dl"));
    browser.click("#known summary");
    assert!(browser.text("#known dl").contains("registers/flags-kept was seen"));
    browser.click("#passes summary");
    assert!(browser.text("#passes").contains("arguments/check"));
    assert_eq!(browser.console_messages(), Vec::<String>::new());

    let Some(browser) = open(&verdict, dir.path(), 390, 844, ColorScheme::Dark) else { return };
    let width = browser.evaluate("return [document.documentElement.scrollWidth, innerWidth]");
    assert_eq!(width, serde_json::json!([390, 390]), "nothing is wider than a phone");
    save_screenshot(&browser, "run-phone");
}

#[test]
fn markup_in_texts_of_the_guest_is_escaped_in_the_page_of_a_run() {
    let evil =
        || "</pre></p><img src=x onerror=\"document.title='taken'\"><script>x</script>".to_owned();
    let mut bad = case("a/b", Outcome::Crash);
    (bad.id, bad.promise, bad.kernel_function, bad.expected) = (evil(), evil(), evil(), evil());
    (bad.detail, bad.rerun, bad.console, bad.log) = (evil(), evil(), Some(evil()), vec![evil()]);
    let mut known = CaseReport { outcome: Outcome::Known, ..bad.clone() };
    known.bug = Some(Bug { id: evil(), citation: evil() });
    let others = [Outcome::Pass, Outcome::Unmet, Outcome::Absent, Outcome::Fixed];
    let mut cases = vec![bad.clone(), known];
    cases.extend(others.map(|outcome| CaseReport { outcome, ..bad.clone() }));
    let kernel = Kernel {
        reference: evil(),
        release: evil(),
        arch: evil(),
        flavour: evil(),
        source: evil(),
        substitution_note: Some(evil()),
    };
    let verdict = Verdict {
        sudbox_version: evil(),
        start_time: evil(),
        kernel,
        machine: evil(),
        options: evil(),
        guest_facts: vec![evil()],
        cases,
        ..Verdict::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let Some(browser) = open(&verdict, dir.path(), 1300, 900, ColorScheme::Light) else { return };
    let count = "return document.querySelectorAll('script, img').length";
    assert_eq!(browser.evaluate(count), 0);
    let title = browser.evaluate("return document.title");
    assert!(title.as_str().is_some_and(|title| title.starts_with("Syscall")), "{title}");
    assert_eq!(browser.console_messages(), Vec::<String>::new());
}
