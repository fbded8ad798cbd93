//! Firefox, over WebDriver BiDi, which it speaks by itself.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::Browser;

/// Nobody but this machine is asked for anything: not for updates, lists or settings.
const PREFERENCES: &str = r#"
user_pref("network.proxy.type", 1);
user_pref("network.proxy.http", "127.0.0.1");
user_pref("network.proxy.http_port", 9);
user_pref("network.proxy.ssl", "127.0.0.1");
user_pref("network.proxy.ssl_port", 9);
user_pref("network.proxy.no_proxies_on", "localhost, 127.0.0.1");
user_pref("app.update.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("browser.startup.homepage_override.mstone", "ignore");
"#;

pub(super) fn arguments(command: &mut Command, profile: &Path) {
    std::fs::write(profile.join("user.js"), PREFERENCES).unwrap();
    command
        .args(["--headless", "--no-remote", "--remote-debugging-port=0", "--profile"])
        .arg(profile)
        .arg("about:blank");
}

pub(super) fn open(browser: &mut Browser, url: &str, width: u32, height: u32) {
    browser.call("session.new", json!({"capabilities": {}}));
    let events = json!({"events": ["log.entryAdded", "network.beforeRequestSent"]});
    browser.call("session.subscribe", events);
    let tree = browser.call("browsingContext.getTree", json!({}));
    browser.page = tree["contexts"][0]["context"].as_str().unwrap().to_owned();
    let viewport = json!({"context": browser.page, "viewport": {"width": width, "height": height}});
    browser.call("browsingContext.setViewport", viewport);
    let there = json!({"context": browser.page, "url": url, "wait": "complete"});
    browser.call("browsingContext.navigate", there);
}

pub(super) fn note(browser: &mut Browser, event: &Value) {
    let params = &event["params"];
    match event["method"].as_str() {
        Some("log.entryAdded") if params["level"] == "error" => {
            browser.errors.push(params.to_string());
        }
        Some("network.beforeRequestSent") if params["context"] == browser.page => {
            let url = params["request"]["url"].as_str().unwrap_or_default();
            browser.requests.push(url.to_owned());
        }
        _ => {}
    }
}

/// As text of JSON: its own form for values knows more kinds than are wanted.
pub(super) fn eval(browser: &mut Browser, expression: &str) -> Result<Value, Value> {
    let expression = format!("(async () => JSON.stringify(await ({expression})))()");
    let params = json!({
        "expression": expression,
        "target": {"context": browser.page},
        "awaitPromise": true,
        "resultOwnership": "none",
    });
    let result = browser.try_call("script.evaluate", params)?;
    match (result["type"].as_str(), result["result"]["value"].as_str()) {
        (Some("success"), Some(text)) => Ok(serde_json::from_str(text).unwrap()),
        (Some("success"), None) => Ok(Value::Null),
        _ => Err(result),
    }
}

fn perform(browser: &mut Browser, kind: &str, actions: Value) {
    let source = json!({"type": kind, "id": kind, "actions": actions});
    let params = json!({"context": browser.page, "actions": [source]});
    browser.call("input.performActions", params);
}

pub(super) fn key(browser: &mut Browser, key: &str) {
    let value = match key {
        "Escape" => "\u{e00c}",
        "Home" => "\u{e011}",
        "ArrowLeft" => "\u{e012}",
        "ArrowRight" => "\u{e014}",
        key => key,
    };
    let press = json!([{"type": "keyDown", "value": value}, {"type": "keyUp", "value": value}]);
    perform(browser, "key", press);
}

pub(super) fn point(browser: &mut Browser, x: f64, y: f64) {
    let there = json!([{"type": "pointerMove", "x": x as i64, "y": y as i64}]);
    perform(browser, "pointer", there);
}

pub(super) fn click(browser: &mut Browser, x: f64, y: f64) {
    let click = json!([
        {"type": "pointerMove", "x": x as i64, "y": y as i64},
        {"type": "pointerDown", "button": 0},
        {"type": "pointerUp", "button": 0},
    ]);
    perform(browser, "pointer", click);
}
