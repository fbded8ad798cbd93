//! Chromium, over the protocol of its developer tools.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::Browser;

pub(super) fn arguments(command: &mut Command, profile: &Path) {
    command
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"])
        .args(["--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg("about:blank");
}

pub(super) fn open(browser: &mut Browser, url: &str, width: u32, height: u32) {
    let page = browser.call("Target.createTarget", json!({"url": "about:blank"}));
    let attach = json!({"targetId": page["targetId"], "flatten": true});
    let session = browser.call("Target.attachToTarget", attach)["sessionId"].clone();
    browser.page = session.as_str().unwrap().to_owned();
    for domain in ["Page", "Runtime", "Log", "Network"] {
        browser.call(&format!("{domain}.enable"), json!({}));
    }
    let metrics =
        json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
    browser.call("Emulation.setDeviceMetricsOverride", metrics);
    browser.call("Page.navigate", json!({"url": url}));
}

pub(super) fn note(browser: &mut Browser, event: &Value) {
    let params = &event["params"];
    match event["method"].as_str() {
        Some("Runtime.exceptionThrown") => browser.errors.push(params.to_string()),
        Some("Runtime.consoleAPICalled") if params["type"] == "error" => {
            browser.errors.push(params.to_string());
        }
        Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
            browser.errors.push(params.to_string());
        }
        Some("Network.requestWillBeSent") => {
            let url = params["request"]["url"].as_str().unwrap_or_default();
            browser.requests.push(url.to_owned());
        }
        Some("Network.webSocketCreated") => {
            browser.requests.push(params["url"].as_str().unwrap_or_default().to_owned());
        }
        _ => {}
    }
}

pub(super) fn eval(browser: &mut Browser, expression: &str) -> Result<Value, Value> {
    let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
    let mut result = browser.try_call("Runtime.evaluate", params)?;
    match result["exceptionDetails"].is_null() {
        true => Ok(result["result"]["value"].take()),
        false => Err(result),
    }
}

pub(super) fn key(browser: &mut Browser, key: &str) {
    let text = if key.chars().count() == 1 { json!(key) } else { Value::Null };
    let mut down = json!({"type": "keyDown", "key": key});
    if text.is_string() {
        down["text"] = text;
    }
    browser.call("Input.dispatchKeyEvent", down);
    browser.call("Input.dispatchKeyEvent", json!({"type": "keyUp", "key": key}));
}

pub(super) fn point(browser: &mut Browser, x: f64, y: f64) {
    browser.call("Input.dispatchMouseEvent", json!({"type": "mouseMoved", "x": x, "y": y}));
}

pub(super) fn click(browser: &mut Browser, x: f64, y: f64) {
    for kind in ["mousePressed", "mouseReleased"] {
        let params = json!({"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1});
        browser.call("Input.dispatchMouseEvent", params);
    }
}
