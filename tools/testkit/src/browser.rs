//! Debian's Chromium, driven over a pipe by its DevTools protocol: no driver and no library beside it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{PATIENCE, poll};

/// The pipe of the protocol is on the descriptors 3 and 4, so the shell moves stdin and stdout there.
const START: &str = "exec chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
     --disable-background-networking --disable-component-update --disable-sync --remote-debugging-pipe \
     --user-data-dir=\"$0\" \"$@\" about:blank 3<&0 4>&1 0</dev/null 1>/dev/null 2>&1";
/// Ends each message on the pipe.
const END: u8 = 0;
/// What the browser answers if the page was replaced before the script had ended.
const NAVIGATED: &str = "Inspected target navigated or closed";

/// The bit of the shift key in the protocol.
const SHIFT: u32 = 8;

/// The keys by which a page is used without a mouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Tab,
    /// With the shift key.
    BackTab,
    Enter,
    Escape,
}

/// A browser with one page.
pub struct Browser {
    child: Child,
    pipe: ChildStdin,
    messages: Receiver<Value>,
    sent: u64,
    session: String,
    /// What the page complained of: exceptions, errors of the console, violations of its policy.
    complaints: Vec<String>,
    requests: Vec<PageRequest>,
    _profile: TempDir,
}

/// What a page asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageRequest {
    pub method: String,
    /// Path and query.
    pub target: String,
}

impl Browser {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// One that takes the certificate of any authority.
    pub fn start_trusting_all() -> Self {
        Self::start_with(&["--ignore-certificate-errors"])
    }

    fn start_with(arguments: &[&str]) -> Self {
        let profile = tempfile::tempdir().expect("a directory for the profile");
        let mut child = Command::new("sh")
            .args(["-c", START])
            .arg(profile.path())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let pipe = child.stdin.take().expect("stdin is a pipe");
        let mut answers = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let (sender, messages) = channel();
        thread::spawn(move || {
            let mut message = Vec::new();
            while answers.read_until(END, &mut message).is_ok_and(|length| length > 0) {
                let text = message.strip_suffix(&[END]).unwrap_or(&message);
                let sent = serde_json::from_slice(text).is_ok_and(|message| sender.send(message).is_ok());
                if !sent {
                    return;
                }
                message.clear();
            }
        });
        let mut browser = Self {
            child,
            pipe,
            messages,
            sent: 0,
            session: String::new(),
            complaints: Vec::new(),
            requests: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attached = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", attached);
        browser.session = session["sessionId"].as_str().expect("a session has an id").to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.call(domain, json!({}));
        }
        browser
    }

    /// Asks the browser for something and waits for its answer.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.ask(method, parameters).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn ask(&mut self, method: &str, parameters: Value) -> Result<Value, Value> {
        self.sent += 1;
        let mut message = json!({"id": self.sent, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(END);
        self.pipe.write_all(&bytes).expect("the browser reads");
        loop {
            let message = self.messages.recv_timeout(PATIENCE);
            let message = message.unwrap_or_else(|_| panic!("no answer to {method}"));
            if message["id"] == self.sent {
                let error = &message["error"];
                return if error.is_null() { Ok(message["result"].clone()) } else { Err(error.clone()) };
            }
            self.note(&message);
        }
    }

    fn note(&mut self, message: &Value) {
        let parameters = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => {
                self.complaints.push(parameters["exceptionDetails"].to_string())
            }
            Some("Log.entryAdded") if parameters["entry"]["level"] == "error" => {
                self.complaints.push(parameters["entry"].to_string());
            }
            Some("Network.requestWillBeSent") => self.requests.extend(request(parameters)),
            _ => {}
        }
    }

    /// The processes that show pages and run their workers.
    pub fn renderers(&mut self) -> Vec<u32> {
        // Only the browser itself knows them, not a page of it.
        let session = std::mem::take(&mut self.session);
        let info = self.call("SystemInfo.getProcessInfo", json!({}));
        self.session = session;
        let processes = info["processInfo"].as_array().cloned().unwrap_or_default();
        let renderers = processes.iter().filter(|process| process["type"] == "renderer");
        renderers.filter_map(|process| process["id"].as_u64()?.try_into().ok()).collect()
    }

    /// What the page has complained of since this was last asked.
    pub fn complaints(&mut self) -> Vec<String> {
        std::mem::take(&mut self.complaints)
    }

    /// Notes from now on what the page asks for; not what a worker does that tabs share.
    pub fn note_requests(&mut self) {
        self.call("Network.enable", json!({}));
    }

    /// What the page has asked for since this was last asked, without itself and its files.
    pub fn requests(&mut self) -> Vec<PageRequest> {
        std::mem::take(&mut self.requests)
    }

    pub fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url}));
    }

    /// What a script gives; a promise is waited for.
    pub fn evaluate(&mut self, script: &str) -> Value {
        self.evaluated(script).unwrap_or_else(|error| panic!("{error}\nof {script}"))
    }

    fn evaluated(&mut self, script: &str) -> Result<Value, Value> {
        let asked = json!({"expression": script, "awaitPromise": true, "returnByValue": true});
        let answer = self.ask("Runtime.evaluate", asked)?;
        assert!(answer["exceptionDetails"].is_null(), "{answer}\nof {script}");
        Ok(answer["result"]["value"].clone())
    }

    /// Waits until a script gives `true`.
    pub fn wait_until(&mut self, what: &str, condition: &str) {
        let held = poll(PATIENCE, || match self.evaluated(condition) {
            Ok(value) => (value == true).then_some(()),
            // Another page takes its place just now, which is asked next.
            Err(error) if error["message"] == NAVIGATED => None,
            Err(error) => panic!("{error}\nof {condition}"),
        });
        if held.is_none() {
            panic!("waited {PATIENCE:?} in vain until {what}; the page:\n{}", self.text());
        }
    }

    /// The text of the page as it is shown.
    pub fn text(&mut self) -> String {
        self.evaluate("document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    /// Presses a key as a person does, and lets it go.
    pub fn press(&mut self, key: Key) {
        let (name, code, modifiers, text) = match key {
            Key::Tab => ("Tab", 9, 0, None),
            Key::BackTab => ("Tab", 9, SHIFT, None),
            Key::Enter => ("Enter", 13, 0, Some("\r")),
            Key::Escape => ("Escape", 27, 0, None),
        };
        let mut event = json!({"type": "keyDown", "key": name, "code": name, "windowsVirtualKeyCode": code, "modifiers": modifiers});
        if let Some(text) = text {
            event["text"] = text.into();
        }
        self.call("Input.dispatchKeyEvent", event.clone());
        event["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", event);
    }

    /// How the page is looked at: `light` or `dark`, and how wide the window is.
    pub fn look(&mut self, scheme: &str, width: u32) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
        let metrics = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        // As on a phone; a picture of the whole page would be too narrow by the bar.
        self.call("Emulation.setScrollbarsHidden", json!({"hidden": true}));
    }

    /// Writes the whole page as PNG.
    pub fn screenshot(&mut self, path: &Path) {
        self.capture(path, json!({"captureBeyondViewport": true}));
    }

    /// Writes as much of the page as the window shows as PNG.
    pub fn screenshot_of_window(&mut self, path: &Path) {
        self.capture(path, json!({"captureBeyondViewport": false}));
    }

    fn capture(&mut self, path: &Path, options: Value) {
        let taken = self.call("Page.captureScreenshot", options);
        let data = taken["data"].as_str().expect("a picture");
        std::fs::write(path, BASE64_STANDARD.decode(data).expect("base64"))
            .expect("the picture can be written");
    }
}

fn request(parameters: &Value) -> Option<PageRequest> {
    let request = &parameters["request"];
    let (_, rest) = request["url"].as_str()?.split_once("://")?;
    let target = &rest[rest.find('/')?..];
    let is_file = parameters["type"] == "Document" || target.starts_with("/assets/");
    let method = request["method"].as_str()?.to_owned();
    (!is_file).then(|| PageRequest { method, target: target.to_owned() })
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends its own processes when the pipe closes; what is left of it after a while is killed.
        let _ = self.pipe.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let ended = poll(PATIENCE / 6, || self.child.try_wait().ok().flatten());
        if ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
