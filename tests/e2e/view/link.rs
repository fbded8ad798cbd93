//! The page's connection, in a real browser: what it says when nobody answers, when it is not let in, and when a source goes
//! and comes.

use rustix::process::Signal;

use super::browser::{Browser, Kind};
use super::support::{Viewed, begin, jpeg, push};
use crate::support::{Place, skipped};

/// What the pill says, and what stands in the large picture.
const PILL: &str = "document.querySelector('#link-is').textContent";
const OLD: &str = "document.querySelector('#one-old').textContent";
const SEQUENCE: &str = "[...document.querySelectorAll('#one-frame div')].find((row) => \
     row.firstChild.textContent === 'sequence').lastChild.textContent";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_says_when_what_it_shows_is_old() {
    let place = Place::new();
    let viewed = Viewed::start(&place, &[]);
    let base = format!("http://{}/#visible", viewed.view);
    let Some(mut page) = Browser::open(Kind::Chromium, &base, 1_280, 800) else {
        return skipped("no Chromium to open the page with");
    };
    let camera = viewed.camera(&place, &["visible"]).await;
    for number in 0..3 {
        push(&camera, "visible", &format!("{number}.jpg"), jpeg(number)).await;
    }
    // The address names the source, which was not there yet.
    page.until("document.querySelector('#one').hidden", false);
    page.until(SEQUENCE, "2");

    // A slider that was moved by hand leaves the keys as they are.
    let middle = "(() => { const box = document.querySelector('#scrub').getBoundingClientRect(); \
         return [box.left + box.width / 2, box.top + box.height / 2]; })()";
    let middle = page.eval(middle);
    page.click(middle[0].as_f64().unwrap(), middle[1].as_f64().unwrap());
    page.until("document.querySelector('#live').getAttribute('aria-pressed')", "false");
    page.key("ArrowLeft");
    page.until(SEQUENCE, "1");
    page.key("ArrowLeft");
    page.until(SEQUENCE, "0");
    page.key("l");
    page.until(SEQUENCE, "2");

    // However many sources are in sight, the page says no more of them than the receiver takes.
    let many = "Promise.all(['state', 'link'].map((name) => import(`/${name}.js`))).then(([state, link]) => { \
         const ids = Array.from({ length: 600 }, (_, n) => 'ü'.repeat(140) + n); \
         ids.forEach((id) => state.sources.set(id, { id, inSight: true })); \
         const { open } = state.page; state.page.open = null; window.before = link.current(); \
         link.watch(true); state.page.open = open; link.watch(true); \
         ids.forEach((id) => state.sources.delete(id)); })";
    page.eval(many);

    // The camera is silent: the picture itself says so, where it may be all that is in sight.
    page.until(&format!("/^\\d+ s ago$/.test({OLD})"), true);

    let is_same = "import('/link.js').then((link) => link.current() === window.before)";
    assert_eq!(page.eval(is_same), true, "the connection from before");

    // The receiver answers nobody, and no connection ends.
    viewed.receiver.process().signal(Signal::STOP);
    page.until(PILL, "no answer");
    page.until(&format!("/ago · no answer for \\d+ s$/.test({OLD})"), true);
    page.key("k");
    page.key("k");
    assert_eq!(page.eval(PILL), "no answer", "whatever is pressed");
    viewed.receiver.process().signal(Signal::CONT);
    page.until("document.body.classList.contains('lost')", false);
    page.until(&format!("{PILL} !== 'no answer'"), true);

    // Another receiver in its place, whose store has no such source, and then has it.
    let address = viewed.view.to_string();
    drop(camera);
    drop(viewed);
    page.until(PILL, "connection lost");
    let viewed = Viewed::at(&place, &address, &["--out", "other"]);
    page.until(&format!("{OLD}.includes('not at this receiver now')"), true);
    let camera = viewed.camera(&place, &["visible"]).await;
    push(&camera, "visible", "new.jpg", jpeg(7)).await;
    page.until(SEQUENCE, "0");
    page.until(&format!("{PILL} + {OLD}"), "live");
    assert!(page.eval("import('/words.js').then((words) => words.time(119600))") == "2 min 0 s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_says_why_it_is_not_let_in() {
    let place = Place::new();
    let viewed = Viewed::start(&place, &[]);
    let camera = viewed.camera(&place, &["visible"]).await;
    push(&camera, "visible", "0.jpg", jpeg(0)).await;
    // Every place that there is.
    let mut streams = Vec::new();
    loop {
        let (status, _, stream) = begin(viewed.view, "GET", "/visible.mjpeg", &[]);
        if status == 503 {
            break;
        }
        streams.push(stream);
    }
    assert_eq!(streams.len(), 128);
    let refused = viewed.get("/ws");
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("as many look as can"), "{}", refused.text());

    std::fs::write(place.path("token"), "a-token-of-this-test").unwrap();
    let guarded = Viewed::start(&place, &["--out", "guarded", "--view-token-file", "token"]);
    let base = format!("http://{}/", viewed.view);
    let Some(mut page) = Browser::open(Kind::Chromium, &base, 1_280, 800) else {
        return skipped("no Chromium to open the page with");
    };
    page.until(PILL, "no place free");
    let words = page.eval("document.querySelector('#trouble').textContent");
    assert!(words.as_str().unwrap().contains("s many look as can at once"), "{words}");
    drop(streams);
    page.until("document.querySelectorAll('.card').length", 1);
    page.until("document.querySelector('#trouble').hidden", true);

    // A link with the token in a page of another site lets in, and does so when the page is loaded again.
    let elsewhere = format!("http://localhost:{}/", viewed.view.port());
    page.eval(&format!("void (location.href = '{elsewhere}')"));
    page.until("location.hostname + document.querySelectorAll('.card').length", "localhost1");
    let link = format!("http://{}/?token=a-token-of-this-test", guarded.view);
    page.eval(&format!("void (location.href = '{link}')"));
    page.until(&format!("location.href + {PILL}"), format!("http://{}/no sender", guarded.view));
    page.eval("void location.reload()");
    page.until(&format!("location.search + {PILL}"), "no sender");
}
