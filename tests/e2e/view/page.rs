//! The page, in a real browser: what it shows is held against what was sent and stored.

use super::browser::{Browser, Kind};
use super::support::{Viewed, jpeg, push, thermal};
use crate::support::{Place, skipped};

/// What is drawn on the canvas of a card, as text.
fn drawn(place: usize) -> String {
    format!("document.querySelectorAll('.card canvas')[{place}].toDataURL()")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_shows_what_comes_and_what_is_stored() {
    shows_what_comes_and_what_is_stored(Kind::Chromium).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn firefox_shows_what_comes_and_what_is_stored() {
    shows_what_comes_and_what_is_stored(Kind::Firefox).await;
}

async fn shows_what_comes_and_what_is_stored(kind: Kind) {
    let place = Place::new();
    let viewed = Viewed::start(&place, &[]);
    let base = format!("http://{}/", viewed.view);
    let Some(mut page) = Browser::open(kind, &base, 1_280, 800) else {
        return skipped(&format!("no {kind:?} to open the page with"));
    };
    page.until("document.querySelector('#empty').hidden", false);
    let camera = viewed.camera(&place, &["visible", "infrared"]).await;
    for number in 0..3 {
        push(&camera, "visible", &format!("{number}.jpg"), jpeg(number)).await;
        push(&camera, "infrared", &format!("{number}.png"), thermal(number as u16)).await;
    }
    let names = "[...document.querySelectorAll('.card h2')].map((name) => name.textContent).join()";
    page.until(names, "infrared,visible");
    page.until("document.querySelector('#total-stored').textContent", "6");
    page.until("document.querySelector('#link').dataset.is", "live");
    page.until(
        "[...document.querySelectorAll('.card canvas')].every((one) => one.width > 30)",
        true,
    );
    let before = page.eval(&drawn(1));
    push(&camera, "visible", "3.jpg", jpeg(3)).await;
    page.until(&format!("{} !== {before}", drawn(1)), true);
    page.until("document.querySelector('#total-stored').textContent", "7");
    assert_eq!(place.manifest("visible").len() + place.manifest("infrared").len(), 7);

    // The receipts of a card are those of the store.
    let receipts = "document.querySelectorAll('.card .receipts')[1].getAttribute('aria-label')";
    page.until(receipts, "4 stored, 0 pending, 0 dropped, 0 missing");

    // The infrared source, and the value under the pointer: bit for bit what the camera gave.
    page.key("1");
    page.until("document.querySelector('#one-name').textContent", "infrared");
    page.until("document.querySelector('#large').width", 40);
    let spot = page.eval(
        "(() => { const box = document.querySelector('#large').getBoundingClientRect(); \
         const scale = Math.min(box.width / 40, box.height / 30); \
         return [box.left + (box.width - 40 * scale) / 2 + 3.5 * scale, \
                 box.top + (box.height - 30 * scale) / 2 + 2.5 * scale]; })()",
    );
    page.point(spot[0].as_f64().unwrap(), spot[1].as_f64().unwrap());
    page.until("document.querySelector('#probe').textContent.replace(/\\s/g, '')", "7085x3,y2");

    // Another palette is another picture of the same values.
    let iron = page.eval("document.querySelector('#large').toDataURL()");
    page.key("p");
    page.until(&format!("document.querySelector('#large').toDataURL() !== {iron}"), true);
    page.until("document.querySelector('#probe b').textContent.replace(/\\s/g, '')", "7085");

    // Back through what is stored, and forth again.
    let sequence = "[...document.querySelectorAll('#one-frame div')].find((row) => \
         row.firstChild.textContent === 'sequence').lastChild.textContent";
    page.key("Home");
    page.until(sequence, "0");
    page.until("document.querySelector('#probe b').textContent.replace(/\\s/g, '')", "7083");
    page.key("ArrowRight");
    page.until(sequence, "1");
    push(&camera, "infrared", "3.png", thermal(3)).await;
    page.until("document.querySelector('#live').getAttribute('aria-pressed')", "false");
    assert_eq!(page.eval(sequence), "1", "what comes leaves what was asked for");
    page.key("l");
    page.until(sequence, "3");

    // The same by the slider: a click at its left end is the oldest frame, the button goes back to what comes.
    let left = "(() => { const box = document.querySelector('#scrub').getBoundingClientRect(); \
         return [box.left + 4, box.top + box.height / 2]; })()";
    let left = page.eval(left);
    page.click(left[0].as_f64().unwrap(), left[1].as_f64().unwrap());
    page.until(sequence, "0");
    let live = page.eval(
        "(() => { const box = document.querySelector('#live').getBoundingClientRect(); \
         return [box.left + box.width / 2, box.top + box.height / 2]; })()",
    );
    page.click(live[0].as_f64().unwrap(), live[1].as_f64().unwrap());
    page.until(sequence, "3");

    // Paused, the page stays as it is.
    page.key("Escape");
    page.until("document.querySelector('#one').hidden", true);
    page.until(&format!("{}.length > 100", drawn(1)), true);
    page.key("k");
    page.until("document.querySelector('#link').textContent", "paused");
    let still = page.eval(&drawn(1));
    push(&camera, "visible", "4.jpg", jpeg(4)).await;
    page.until("document.querySelector('#total-stored').textContent", "9");
    assert_eq!(page.eval(&drawn(1)), still);
    page.key("k");
    page.until(&format!("{} !== {still}", drawn(1)), true);

    // Of a frame whose file is gone nothing but that is shown, and no picture of another.
    page.key("1");
    page.until(sequence, "3");
    page.key("Home");
    page.until(sequence, "0");
    std::fs::remove_file(place.store().join("infrared/1.png")).unwrap();
    page.key("ArrowRight");
    page.until(sequence, "1");
    page.until("document.querySelector('#one-empty').hidden", false);
    let words = page.eval("document.querySelector('#one-empty').textContent");
    assert!(words.as_str().unwrap().contains("is not in the store any more"), "{words}");
    assert_eq!(page.eval("document.querySelector('#large').width"), 1);
    assert_eq!(page.eval("document.querySelector('#one-file').hidden"), true);
    page.key("ArrowRight");
    page.until(sequence, "2");
    page.until("document.querySelector('#large').width", 40);

    // An empty end of the range stays as it was, and one beyond the other is refused in words.
    let set = |field: &str, value: &str| {
        format!(
            "(() => {{ const field = document.querySelector('#{field}'); field.value = '{value}'; \
             field.dispatchEvent(new Event('change')); return field.value; }})()"
        )
    };
    let low = page.eval("document.querySelector('#one-low').value");
    assert!(low.as_str().unwrap().parse::<u32>().unwrap() > 6_900, "{low}");
    assert_eq!(page.eval(&set("one-low", "")), low);
    assert_eq!(page.eval(&set("one-low", "60000")), low);
    assert_eq!(page.eval("document.querySelector('#one-wrong').hidden"), false);
    assert_eq!(page.eval(&set("one-low", "7001")), "7001");
    page.until("document.querySelector('#one-range').value", "fixed");
    assert_eq!(page.eval("document.querySelector('#one-wrong').hidden"), true);

    // Paused, another source that is opened shows nothing of the former one.
    page.key("Escape");
    page.key("k");
    page.key("2");
    let name = "[...document.querySelectorAll('#one-frame div')].find((row) => \
         row.firstChild.textContent === 'name').lastChild.textContent";
    page.until(name, "4.jpg");
    let file = page.eval("document.querySelector('#one-file').getAttribute('href')");
    assert_eq!(file, "visible/frames/4");
    page.key("Escape");
    page.key("k");

    page.key("?");
    page.until("document.querySelector('#keys').open", true);
    page.key("Escape");

    // Each control has a name, and the page asked nobody else for anything and complained of nothing.
    let nameless = "[...document.querySelectorAll('button, input, select, a, [role=img]')].filter((one) => \
         !(one.getAttribute('aria-label') || one.textContent.trim() || one.closest('label'))).length";
    assert_eq!(page.eval(nameless), 0);
    camera.finish().await;
    page.until("document.querySelector('#link').textContent", "no sender");
    let elsewhere = |url: &&String| {
        let ours = [base.as_str(), &base.replace("http", "ws"), "blob:", "data:"];
        !ours.iter().any(|ours| url.starts_with(ours))
    };
    assert_eq!(page.requests.iter().find(elsewhere), None);
    assert!(page.requests.len() > 4, "{:?}", page.requests);
    assert!(page.errors.is_empty(), "{:#?}", page.errors);
}
