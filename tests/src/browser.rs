// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A real browser without a screen, driven through WebDriver (W3C recommendation of that name).

use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{installed, say};

/// The programs, which Debian has in the packages `chromium` and `chromium-driver`.
const DRIVER: &str = "chromedriver";

/// The key under which an answer names an element (WebDriver, section "Elements").
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one with a window of this size, in pixels. Installs it as root where it is missing;
    /// `None`, loudly, where it cannot be had.
    ///
    /// # Panics
    /// If it is there and does not work.
    #[must_use]
    pub fn start(width: u32, height: u32, dark: bool) -> Option<Browser> {
        if !installed(&[DRIVER, "chromium"], &["chromium", "chromium-driver"]) {
            say("NOT RUN: the page in a browser: chromium and chromium-driver are not installed");
            return None;
        }
        let mut driver = Command::new(DRIVER)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        // It says: `ChromeDriver was started successfully on port N.`
        let said = BufReader::new(driver.stdout.take().expect("piped"));
        let port = said.lines().map_while(Result::ok).find_map(|line| {
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
            // Its sandbox does not work for root; what it shows is our own page.
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--hide-scrollbars".to_owned(),
            format!("--user-data-dir={}", browser._profile.path().display()),
        ];
        if dark {
            arguments.push("--blink-settings=preferredColorScheme=0".to_owned());
        }
        // The window is no narrower than 500 pixels: what is a phone is the page's own size.
        let device =
            json!({ "deviceMetrics": { "width": width, "height": height, "pixelRatio": 1 } });
        let options = json!({ "args": arguments, "mobileEmulation": device });
        let wishes = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let session = browser.call("POST", "/session", &wishes);
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        Some(browser)
    }

    /// Opens a file.
    pub fn open(&self, file: &Path) {
        let _ =
            self.command("POST", "url", &json!({ "url": format!("file://{}", file.display()) }));
    }

    /// Clicks, as a person does, on the first element that the CSS selector names.
    pub fn click(&self, selector: &str) {
        let element = self.find(selector);
        let _ = self.command("POST", &format!("element/{element}/click"), &json!({}));
    }

    /// The text of it that a person sees.
    #[must_use]
    pub fn text(&self, selector: &str) -> String {
        let element = self.find(selector);
        let text = self.command("GET", &format!("element/{element}/text"), &Value::Null);
        text.as_str().expect("text").to_owned()
    }

    /// Whether a person sees it.
    #[must_use]
    pub fn is_shown(&self, selector: &str) -> bool {
        let element = self.find(selector);
        self.command("GET", &format!("element/{element}/displayed"), &Value::Null) == json!(true)
    }

    /// What a function body in JavaScript returns.
    #[must_use]
    pub fn evaluate(&self, script: &str) -> Value {
        self.command("POST", "execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// What the browser complained of: errors of scripts, and what a policy forbade.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let log = self.command("POST", "se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().expect("a log").iter();
        entries.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// A picture of what is shown, as base64 of a PNG.
    #[must_use]
    pub fn picture(&self) -> String {
        self.command("GET", "screenshot", &Value::Null).as_str().expect("a picture").to_owned()
    }

    fn find(&self, selector: &str) -> String {
        let how = json!({ "using": "css selector", "value": selector });
        let element = self.command("POST", "element", &how);
        element[ELEMENT].as_str().expect("an element").to_owned()
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

    /// One request in HTTP/1.1, and the value of its answer.
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
        // Ends the browser, which would outlive its driver; without a session there is none.
        if !self.session.is_empty() {
            let _ = self.request("DELETE", &format!("/session/{}", self.session), "");
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
