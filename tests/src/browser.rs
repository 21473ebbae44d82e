// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A headless Chromium, driven through WebDriver (W3C Recommendation "WebDriver").

use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{ensure_installed, print_uncaptured};

/// The driver program, of Debian's package `chromium-driver`.
const DRIVER: &str = "chromedriver";

/// The key of an element's reference in a response (WebDriver, section "Elements").
const ELEMENT_KEY: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The colour scheme that the browser asks pages for (`prefers-color-scheme`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColorScheme {
    /// Dark text on a light background.
    Light,
    /// Light text on a dark background.
    Dark,
}

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts a browser with a window of this size, in pixels. Installs Chromium if it is missing and
    /// the test runs as root; else prints `NOT RUN` and returns `None`.
    ///
    /// # Panics
    /// If the browser is installed and does not start.
    #[must_use]
    pub fn start(width: u32, height: u32, scheme: ColorScheme) -> Option<Browser> {
        if !ensure_installed(&[DRIVER, "chromium"], &["chromium", "chromium-driver"]) {
            print_uncaptured(
                "NOT RUN: the page in a browser: chromium and chromium-driver are not installed",
            );
            return None;
        }
        let mut driver = Command::new(DRIVER)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        // The driver prints `ChromeDriver was started successfully on port N.`
        let output = BufReader::new(driver.stdout.take().expect("piped"));
        let port = output.lines().map_while(Result::ok).find_map(|line| {
            line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok()
        });
        let profile = tempfile::tempdir().expect("a directory");
        let mut browser = Browser {
            driver,
            port: port.expect("a port"),
            session: String::new(),
            _profile: profile,
        };
        let mut arguments = vec![
            "--headless=new".to_owned(),
            // Chromium's sandbox does not work as root, and is not needed for a page of sudbox.
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--hide-scrollbars".to_owned(),
            format!("--user-data-dir={}", browser._profile.path().display()),
        ];
        if scheme == ColorScheme::Dark {
            arguments.push("--blink-settings=preferredColorScheme=0".to_owned());
        }
        // Chromium's windows are at least 500 pixels wide. Device emulation sets any page size.
        let device =
            json!({ "deviceMetrics": { "width": width, "height": height, "pixelRatio": 1 } });
        let options = json!({ "args": arguments, "mobileEmulation": device });
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let session = browser.call("POST", "/session", &capabilities);
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        Some(browser)
    }

    /// Opens a local file.
    pub fn open(&self, file: &Path) {
        let _ =
            self.command("POST", "url", &json!({ "url": format!("file://{}", file.display()) }));
    }

    /// Clicks on the first element that matches the CSS selector.
    pub fn click(&self, selector: &str) {
        let element = self.find_element(selector);
        let _ = self.command("POST", &format!("element/{element}/click"), &json!({}));
    }

    /// The visible text of the first element that matches the CSS selector.
    #[must_use]
    pub fn text(&self, selector: &str) -> String {
        let element = self.find_element(selector);
        let text = self.command("GET", &format!("element/{element}/text"), &Value::Null);
        text.as_str().expect("text").to_owned()
    }

    /// Whether the first element that matches the CSS selector is visible.
    #[must_use]
    pub fn is_shown(&self, selector: &str) -> bool {
        let element = self.find_element(selector);
        self.command("GET", &format!("element/{element}/displayed"), &Value::Null) == json!(true)
    }

    /// Runs the body of a JavaScript function in the page and returns its value.
    #[must_use]
    pub fn evaluate(&self, script: &str) -> Value {
        self.command("POST", "execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Messages of the browser's console: script errors and violations of the content security policy.
    #[must_use]
    pub fn console_messages(&self) -> Vec<String> {
        let log = self.command("POST", "se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().expect("a log").iter();
        entries.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// A screenshot: a PNG in base64.
    #[must_use]
    pub fn screenshot(&self) -> String {
        self.command("GET", "screenshot", &Value::Null).as_str().expect("a picture").to_owned()
    }

    fn find_element(&self, selector: &str) -> String {
        let locator = json!({ "using": "css selector", "value": selector });
        let element = self.command("POST", "element", &locator);
        element[ELEMENT_KEY].as_str().expect("an element").to_owned()
    }

    fn command(&self, method: &str, command: &str, body: &Value) -> Value {
        self.call(method, &format!("/session/{}/{command}", self.session), body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let value = self.request(method, path, &body).expect("chromedriver answers");
        assert!(value.get("error").is_none(), "{method} {path} {body}: {value}");
        value
    }

    /// Sends one HTTP/1.1 request to the driver and returns the `value` of its response.
    fn request(&self, method: &str, path: &str, body: &str) -> std::io::Result<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(number) = line.strip_prefix("content-length:") {
                length = number.trim().parse().map_err(std::io::Error::other)?;
            }
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer)?;
        let mut answer: Value = serde_json::from_slice(&answer)?;
        Ok(answer["value"].take())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Deleting the session ends the browser, which would otherwise outlive the driver.
        if !self.session.is_empty() {
            let _ = self.request("DELETE", &format!("/session/{}", self.session), "");
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
