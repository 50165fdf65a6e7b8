//! A real Chromium, driven through chromedriver: JSON over HTTP, the W3C standard `WebDriver`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Guarded, wait_for};

/// The options of Chromium: no window, and no connections to other machines.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A browser with one page. It ends with the test.
pub(crate) struct Browser {
    address: SocketAddr,
    session: String,
    /// Declared before the profile: the driver ends before its folder is removed.
    _driver: Guarded,
    profile: TempDir,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let log = profile.path().join("driver.log");
        let mut driver = Command::new("chromedriver");
        driver.arg("--port=0").env("TMPDIR", profile.path()).stdin(Stdio::null());
        driver.stdout(std::fs::File::create(&log).unwrap()).stderr(Stdio::null());
        let driver = driver.spawn().expect("chromedriver: `make test` installs chromium and chromium-driver");
        let driver = Guarded(driver);
        let address = wait_for("chromedriver", || {
            let said = std::fs::read_to_string(&log).unwrap();
            let port = said.split("started successfully on port ").nth(1)?.split_once('.')?.0.parse().ok()?;
            Some(SocketAddr::from(([127, 0, 0, 1], port)))
        });
        let mut flags: Vec<String> = FLAGS.map(str::to_owned).to_vec();
        flags.push(format!("--user-data-dir={}", profile.path().join("profile").display()));
        let options = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": flags}, "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let mut browser = Self { address, session: String::new(), _driver: driver, profile };
        let session = browser.call("POST", "/session", &options);
        browser.session = format!("/session/{}", session["sessionId"].as_str().unwrap());
        browser
    }

    pub(crate) fn open(&self, url: &str) {
        self.command("/url", &json!({"url": url}));
    }

    /// Runs the body of a JavaScript function and returns its value.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.command("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Returns the visible text of the first element that a selector finds.
    pub(crate) fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({}).innerText", json!(selector));
        self.run(&script).as_str().unwrap_or_else(|| panic!("no {selector}")).to_owned()
    }

    /// Sets the width of the window, in pixels, and the preferred colour scheme.
    pub(crate) fn look(&self, width: u32, colors: &str) {
        let size = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        let taste = json!({"features": [{"name": "prefers-color-scheme", "value": colors}]});
        self.devtools("Emulation.setEmulatedMedia", &taste);
    }

    /// Returns the browser's messages about the page since the last call.
    pub(crate) fn complaints(&self) -> Vec<Value> {
        let log = self.command("/se/log", &json!({"type": "browser"}));
        log.as_array().unwrap().clone()
    }

    fn devtools(&self, command: &str, parameters: &Value) {
        self.command("/goog/cdp/execute", &json!({"cmd": command, "params": parameters}));
    }

    fn command(&self, path: &str, body: &Value) -> Value {
        self.call("POST", &format!("{}{path}", self.session), body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.exchange(method, path, body).unwrap_or_else(|error| panic!("{path}: {error}"));
        let value = &answer["value"];
        assert!(value["error"].is_null(), "{path}: {value}");
        value.clone()
    }

    fn exchange(&self, method: &str, path: &str, body: &Value) -> std::io::Result<Value> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let (body, address) = (body.to_string(), self.address);
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )?;
        // chromedriver keeps the connection open, so Content-Length tells the end.
        let (mut reader, mut length, mut line) = (BufReader::new(stream), 0, String::new());
        while reader.read_line(&mut line)? > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            line.clear();
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer)?;
        Ok(serde_json::from_slice(&answer)?)
    }
}

impl Drop for Browser {
    /// Ends the session and the processes of Chromium: chromedriver does not wait for them.
    fn drop(&mut self) {
        let _ = self.exchange("DELETE", &self.session, &json!({}));
        let profile = self.profile.path().as_os_str().as_bytes();
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            let pid = process.file_name().to_str().and_then(|name| name.parse().ok()).map(Pid::from_raw);
            let ours = command.windows(profile.len()).any(|part| part == profile);
            if let Some(pid) = pid.filter(|_| ours) {
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
    }
}
