//! `receive --view`: what programs and browsers get to see, held against the store.

mod browser;
mod cost;
mod link;
mod page;
mod programs;
mod support;
mod tls;
mod watch;

use std::fs::OpenOptions;
use std::io::{BufRead, Read, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use framelane::Frame;
use support::{PATIENCE, Viewed, ask, begin, head, jpeg, push, thermal};

use crate::support::{Place, Process, Relay};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_and_frames_are_those_of_the_store() {
    let place = Place::new();
    let viewed = Viewed::start(&place, &[]);
    assert_eq!(viewed.state()["sources"], serde_json::json!([]));
    let camera = viewed.camera(&place, &["visible", "infrared"]).await;
    for number in 0..20 {
        push(&camera, "visible", &format!("day 1/{number}.jpg"), jpeg(number)).await;
        push(&camera, "infrared", &format!("{number}.png"), thermal(number as u16)).await;
    }
    let state = viewed.until("what the sender tells", |state| {
        state["sources"][0]["pending"].is_u64() && state["sources"][0]["newest"]["sequence"] == 19
    });
    let manifest = place.manifest("visible");
    let visible = &state["sources"][1];
    let bytes: u64 = manifest.iter().map(|line| line["bytes"].as_u64().unwrap()).sum();
    assert_eq!(visible["id"], "visible");
    assert_eq!((&visible["sent"], &visible["held"]), (&20.into(), &20.into()), "{visible:#}");
    assert_eq!((&visible["stored"], &visible["bytes"]), (&20.into(), &bytes.into()));
    assert_eq!((&visible["dropped"], &visible["missing"]), (&0.into(), &0.into()));
    assert_eq!(visible["state"], "live");
    assert_eq!(visible["latency"]["count"], 20);
    let frames: u64 = visible["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|at| at["frames"].as_u64().unwrap())
        .sum();
    assert_eq!(frames, 20);
    let last = &manifest[19];
    for field in ["sequence", "name", "bytes", "captured_unix_ns"] {
        assert_eq!(visible["newest"][field], last[field], "{field}");
    }
    assert_eq!(visible["senders"][0]["pin"], place.pin("sender"));

    // The newest frame, and each stored one, byte for byte.
    let latest = viewed.get("/visible/latest");
    assert_eq!(latest.body, jpeg(19));
    assert_eq!(latest.header("content-type"), Some("image/jpeg"));
    assert_eq!(latest.header("x-sequence"), Some("19"));
    assert_eq!(latest.header("x-name"), Some("day%201/19.jpg"));
    let tag = format!("\"{}\"", last["blake3"].as_str().unwrap());
    assert_eq!(latest.header("etag"), Some(tag.as_str()));
    let captured = last["captured_unix_ns"].as_u64().unwrap();
    let seconds = format!("{}.{:09}", captured / 1_000_000_000, captured % 1_000_000_000);
    assert_eq!(latest.header("x-timestamp"), Some(seconds.as_str()));
    let again = ask(viewed.view, "GET", "/visible/latest", &[("if-none-match", &tag)]);
    assert_eq!((again.status, again.body.len()), (304, 0));
    for (number, line) in manifest.iter().enumerate() {
        let frame = viewed.get(&format!("/visible/frames/{}", line["sequence"]));
        assert_eq!((frame.status, frame.body), (200, jpeg(number as u32)));
    }
    assert_eq!(viewed.get("/visible/frames/20").status, 404);
    assert_eq!(viewed.get("/nothing/latest").status, 404);
    // 16 bits are stored as they came.
    assert_eq!(viewed.get("/infrared/latest").body, thermal(19));

    // Page by page, forth and back.
    for slip in ["limit=x", "at=x", "before=-1", "share=nan", "sequence=-1"] {
        let answer = viewed.get(&format!("/visible/frames?{slip}"));
        assert!(answer.status == 400 && answer.text().contains("the value of"), "{slip}");
    }
    let page = viewed.get("/visible/frames?share=0&limit=8").json();
    let second =
        viewed.get(&format!("/visible/frames?limit=8&at={}", page["next"].as_str().unwrap()));
    let third = second.json()["next"].as_str().unwrap().to_owned();
    let third = viewed.get(&format!("/visible/frames?limit=8&at={third}")).json();
    let listed: Vec<_> = [&page, &second.json(), &third]
        .iter()
        .flat_map(|page| page["frames"].as_array().unwrap().clone())
        .collect();
    assert_eq!(listed.len(), 20);
    for (listed, line) in listed.iter().zip(&manifest) {
        for field in ["sequence", "name", "bytes", "blake3", "stored_unix_ns"] {
            assert_eq!(listed[field], line[field], "{field}");
        }
    }
    assert!(third["next"].is_null() && page["before"].is_null());
    let back = viewed
        .get(&format!("/visible/frames?limit=3&before={}", third["before"].as_str().unwrap()));
    assert_eq!(back.json()["frames"][2]["sequence"], 15);
    camera.finish().await;
    viewed.until("the end of the session", |state| state["sources"][0]["state"] == "away");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raw_frames_are_shown_in_the_shape_that_was_told() {
    let place = Place::new();
    let raw = ["--view-raw", "infrared=4x3x2", "--view-raw", "blue=2x1x3,bgr"];
    let viewed = Viewed::start(&place, &[&raw[..], &["--view-raw", "opencv=bgr"]].concat());
    let camera = viewed.camera(&place, &["infrared", "other", "blue", "opencv"]).await;
    let values: Vec<u8> = (0..24).collect();
    for source in ["infrared", "other"] {
        push(&camera, source, "0.raw", values.clone()).await;
    }
    let shown = |source: &str| {
        let page = viewed.get(&format!("/{source}/frames/0?as=page")).body;
        let length = usize::from(u16::from_le_bytes([page[0], page[1]]));
        let head: serde_json::Value = serde_json::from_slice(&page[2..2 + length]).unwrap();
        (head, page[2 + length..].to_vec())
    };
    let (head, content) = shown("infrared");
    assert_eq!((&head["form"], content), (&"values".into(), values.clone()), "{head}");
    assert_eq!((&head["width"], &head["height"]), (&4.into(), &3.into()));
    assert_eq!(shown("other").0["form"], "none");
    assert_eq!(viewed.get("/infrared/latest").body, values, "as it was sent");
    // OpenCV's red is the last of three.
    let red = vec![0, 0, 255, 0, 0, 255];
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 3), }\n";
    let npy =
        [&b"\x93NUMPY\x01\x00"[..], &[header.len() as u8, 0], header.as_bytes(), &red].concat();
    for (source, content) in [("blue", &red), ("opencv", &npy)] {
        push(&camera, source, "0.raw", content.clone()).await;
        let (head, png) = shown(source);
        assert_eq!(head["image_type"], "image/png", "{head}");
        let image = image::load_from_memory(&png).unwrap();
        assert_eq!(image.into_rgb8().into_raw(), [255, 0, 0, 255, 0, 0], "{source}");
        assert_eq!(&viewed.get(&format!("/{source}/latest")).body, content, "as it was sent");
    }
    drop(camera);
    for wrong in [
        "infrared",
        "infrared=",
        "infrared=4x3",
        "infrared=4x3bgr",
        "infrared=rgb",
        "infrared=4x3x8",
        "=4x3x2",
    ] {
        let args = ["receive", "--view", "127.0.0.1:0", "--view-raw", wrong];
        place.run(&args).expect(2).says("--view-raw");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_say_what_the_state_says() {
    let place = Place::new();
    let viewed = Viewed::start(&place, &[]);
    let camera = viewed.camera(&place, &["visible"]).await;
    for number in 0..7 {
        push(&camera, "visible", &format!("{number}.jpg"), jpeg(number)).await;
    }
    // Latencies count when it is known how far the clocks are apart.
    let ask_open =
        || ask(viewed.view, "GET", "/metrics", &[("accept", "application/openmetrics-text")]);
    let deadline = Instant::now() + PATIENCE;
    let timed = "framelane_latency_seconds_count{source=\"visible\"} 7\n";
    while !ask_open().text().contains(timed) {
        assert!(Instant::now() < deadline, "{}", ask_open().text());
        std::thread::yield_now();
    }
    let open = ask_open();
    let text = open.text();
    assert!(open.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(text.ends_with("# EOF\n"), "{text}");
    for line in [
        "framelane_frames_stored_total{source=\"visible\"} 7",
        "framelane_frames_held{source=\"visible\"} 7.0",
        "framelane_latency_seconds_count{source=\"visible\"} 7",
        "framelane_frames_dropped_total{source=\"visible\"} 0",
        "framelane_ready 1.0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let plain = viewed.get("/metrics");
    assert!(plain.header("content-type").unwrap().starts_with("text/plain"));
    assert!(plain.text().contains("framelane_frames_stored_total{source=\"visible\"} 7\n"));
    // Who reads them computes with the last bucket, and takes none without it: everything is in it.
    for text in [&text, &plain.text()] {
        let buckets = text.lines().filter(|line| line.contains("_bucket{"));
        let is_last = |line: &&str| line.contains("+Inf") || line.contains("e308");
        let last: Vec<_> = buckets.filter(is_last).collect();
        let [last] = last[..] else { panic!("{last:?} in {text}") };
        assert!(last.contains("le=\"+Inf\"") && last.ends_with("} 7"), "{last}");
    }
    assert_eq!(viewed.get("/healthz").status, 200);
    assert_eq!(viewed.get("/readyz").text(), "ready\n");
    camera.finish().await;

    // A flight that is taken away is not in the store any more; brought back it is.
    let (there, away) = (place.store().join("visible"), place.path("away"));
    std::fs::rename(&there, &away).unwrap();
    viewed.until("nothing is in the store", |state| state["sources"][0]["held"] == 0);
    let list = viewed.get("/visible/frames");
    assert_eq!((list.status, &list.json()["frames"]), (200, &serde_json::json!([])));
    std::fs::rename(&away, &there).unwrap();
    viewed.until("it is there again", |state| state["sources"][0]["held"] == 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_shows_each_new_image_and_16_bits_as_jpeg() {
    let place = Place::new();
    let viewed = Viewed::start(&place, &[]);
    let camera = viewed.camera(&place, &["visible", "infrared"]).await;
    push(&camera, "visible", "0.jpg", jpeg(0)).await;
    let (status, headers, mut stream) = begin(viewed.view, "GET", "/visible.mjpeg", &[]);
    assert_eq!(status, 200);
    let media = headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value);
    assert_eq!(media.unwrap(), "multipart/x-mixed-replace; boundary=framelane");
    let mut boundary = String::new();
    stream.read_line(&mut boundary).unwrap();
    assert_eq!(boundary, "--framelane\r\n");
    let mut next = || {
        let headers = head(&mut stream);
        let of = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).unwrap().1.clone();
        let mut body = vec![0; of("content-length").parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        let mut end = [0; 15];
        stream.read_exact(&mut end).unwrap();
        assert_eq!(&end, b"\r\n--framelane\r\n", "the part is known to be whole");
        assert_eq!(of("content-type"), "image/jpeg");
        assert!(of("x-timestamp").parse::<f64>().unwrap() > 1.7e9);
        (of("x-sequence").parse::<u32>().unwrap(), body)
    };
    assert_eq!(next(), (0, jpeg(0)));
    // Again without a new one, so that a browser shows it.
    assert_eq!(next(), (0, jpeg(0)));
    for number in 1..6 {
        push(&camera, "visible", &format!("{number}.jpg"), jpeg(number)).await;
        let shown = loop {
            let (sequence, body) = next();
            if sequence == number {
                break body;
            }
            assert_eq!(sequence, number - 1);
        };
        assert_eq!(shown, jpeg(number));
    }
    push(&camera, "infrared", "0.png", thermal(0)).await;
    let (_, _, mut stream) = begin(viewed.view, "GET", "/infrared.mjpeg", &[]);
    stream.read_line(&mut String::new()).unwrap();
    let length =
        head(&mut stream).iter().find(|(name, _)| name == "content-length").unwrap().1.parse();
    let mut body = vec![0; length.unwrap()];
    stream.read_exact(&mut body).unwrap();
    let shown = image::load_from_memory(&body).unwrap().into_luma8();
    assert_eq!(shown.dimensions(), (40, 30));
    assert!(shown.iter().max().unwrap() - shown.iter().min().unwrap() > 200, "it is not flat");
    camera.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_senders_folder_is_part_of_the_address() {
    let place = Place::new();
    let allow = format!("cam1={}", place.pin("sender"));
    let viewed = Viewed::start(&place, &["--out", "store/{sender}", "--allow", &allow]);
    let camera = viewed.camera(&place, &["Süd 1"]).await;
    push(&camera, "Süd 1", "0.jpg", jpeg(3)).await;
    let state = viewed.state();
    assert_eq!(state["sources"][0]["id"], "cam1/Süd 1");
    assert_eq!(state["sources"][0]["senders"][0]["name"], "cam1");
    for path in ["/cam1/S%C3%BCd%201/latest", "/cam1/S%C3%BCd%201/frames/0"] {
        assert_eq!(viewed.get(path).body, jpeg(3), "{path}");
    }
    for path in ["/../cam1/S%C3%BCd%201/latest", "/cam1/..%2f..%2freceiver/latest", "/%00/latest"] {
        assert_eq!(viewed.get(path).status, 404, "{path}");
    }
    camera.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_was_altered_or_is_gone_is_not_shown_as_the_stored_one() {
    let place = Place::new();
    let viewed = Viewed::start(&place, &[]);
    let camera = viewed.camera(&place, &["visible"]).await;
    for number in 0..2 {
        push(&camera, "visible", &format!("{number}.jpg"), jpeg(number)).await;
    }
    std::fs::write(place.store().join("visible/0.jpg"), jpeg(5)).unwrap();
    // Of the same length, so that nothing but its hash tells.
    let newest = place.store().join("visible/1.jpg");
    let mut altered = std::fs::read(&newest).unwrap();
    altered.iter_mut().skip(300).for_each(|byte| *byte ^= 1);
    std::fs::write(&newest, altered).unwrap();
    let latest = viewed.get("/visible/latest");
    assert_eq!(latest.status, 500);
    assert!(latest.text().contains("framelane verify"), "{}", latest.text());
    std::fs::remove_file(newest).unwrap();
    let altered = viewed.get("/visible/frames/0");
    assert_eq!(altered.status, 500);
    assert!(altered.text().contains("framelane verify"), "{}", altered.text());
    assert_eq!(viewed.get("/visible/frames/1").status, 410);
    assert_eq!(viewed.get("/visible/latest").status, 410);
    camera.finish().await;
    // A pipe in the place of a manifest is no empty store.
    let manifest = place.store().join("visible/manifest.jsonl");
    std::fs::remove_file(&manifest).unwrap();
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mkfifoat(rustix::fs::CWD, &manifest, mode).unwrap();
    let listed = viewed.get("/visible/frames");
    assert_eq!(listed.status, 500);
    assert!(listed.text().contains("is no file"), "{}", listed.text());
}

/// Frames that were removed because they were old enough are stored no more, wherever that is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_have_expired_are_shown_nowhere() {
    for layout in ["day", "flat"] {
        let place = Place::new();
        let viewed = Viewed::start(&place, &["--layout", layout]);
        let camera = viewed.camera(&place, &["visible"]).await;
        for number in 0..6u64 {
            let seconds = 1_700_000_000 + number / 2 * 86_400;
            let captured = UNIX_EPOCH + Duration::from_secs(seconds);
            let frame =
                Frame::named(&format!("{number}.jpg"), jpeg(number as u32)).captured_at(captured);
            camera.push("visible", frame).await.unwrap().stored().await.unwrap();
        }
        camera.finish().await;
        viewed.until("the end of the session", |state| state["sources"][0]["state"] == "away");
        // As the receiver itself says and does it, of the first two days.
        let mut ledger = OpenOptions::new()
            .append(true)
            .open(place.store().join("visible/ledger.jsonl"))
            .unwrap();
        for (number, day) in ["2023-11-14", "2023-11-15"].into_iter().enumerate() {
            let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
            let line = format!(
                "{{\"day\":\"{day}\",\"expired_unix_ns\":{at},\"frames\":2,\"bytes\":9}}\n"
            );
            ledger.write_all(line.as_bytes()).unwrap();
            for file in [2 * number, 2 * number + 1] {
                let below = if layout == "day" { format!("{day}/") } else { String::new() };
                std::fs::remove_file(place.store().join(format!("visible/{below}{file}.jpg")))
                    .unwrap();
            }
        }
        let held = |state: &serde_json::Value| state["sources"][0]["held"] == 2;
        viewed.until("the count of what is left", held);
        let metrics = viewed.get("/metrics").text();
        assert!(metrics.contains("framelane_frames_held{source=\"visible\"} 2.0\n"), "{metrics}");
        for at in ["share=0", "", "limit=9"] {
            let page = viewed.get(&format!("/visible/frames?{at}")).json();
            let frames = page["frames"].as_array().unwrap();
            let sequences: Vec<_> =
                frames.iter().map(|frame| frame["sequence"].as_u64().unwrap()).collect();
            assert_eq!(sequences, [4, 5], "{layout} {at}");
            assert!(page["before"].is_null() && page["next"].is_null());
        }
        let gone = viewed.get("/visible/frames/1");
        assert_eq!(gone.status, 410);
        assert!(gone.text().contains("old enough to be removed"), "{}", gone.text());
        assert_eq!(viewed.get("/visible/frames/4").body, jpeg(4));
        assert_eq!(viewed.get("/visible/latest").body, jpeg(5));
        let printed = place.run(&["tail", "store"]).expect(0);
        assert_eq!(printed.stdout.lines().count(), 2, "{}", printed.stdout);
        viewed.receiver.interrupt();
        // The next receiver knows it as well, before anybody sends.
        let viewed = Viewed::start(&place, &["--layout", layout]);
        viewed.until("the count of what is left", held);
        assert_eq!(viewed.state()["sources"][0]["sent"], 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_before_is_there_at_once() {
    let place = Place::new();
    let allow = format!("cam1={}", place.pin("sender"));
    for args in [&[][..], &["--out", "store/{sender}", "--allow", &allow]] {
        let viewed = Viewed::start(&place, args);
        let camera = viewed.camera(&place, &["visible"]).await;
        for number in 0..3 {
            push(&camera, "visible", &format!("{number}.jpg"), jpeg(number)).await;
        }
        camera.finish().await;
        let id = viewed.state()["sources"][0]["id"].as_str().unwrap().to_owned();
        viewed.receiver.interrupt();
        let viewed = Viewed::start(&place, args);
        let source = viewed.state()["sources"][0].clone();
        assert_eq!((&source["id"], &source["state"]), (&id.as_str().into(), &"away".into()));
        assert_eq!(source["sent"], 0);
        viewed.until("what was stored before", |state| state["sources"][0]["held"] == 3);
        assert_eq!(viewed.get(&format!("/{id}/latest")).body, jpeg(2));
        assert_eq!(viewed.get(&format!("/{id}/frames/0")).body, jpeg(0));
        // Its sender comes back to the same place.
        let camera = viewed.camera(&place, &["visible"]).await;
        push(&camera, "visible", "3.jpg", jpeg(3)).await;
        let source = viewed.state()["sources"][0].clone();
        assert_eq!(
            (&source["id"], &source["sent"], &source["held"]),
            (&id.as_str().into(), &1.into(), &4.into())
        );
        camera.finish().await;
        viewed.receiver.interrupt();
        std::fs::remove_dir_all(place.store()).unwrap();
    }
}

/// Frames are found by whichever layout, and its pages go over days.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_of_days_and_hours_are_looked_into() {
    let place = Place::new();
    let mut number = 0;
    for layout in ["flat", "day", "hour"] {
        let viewed = Viewed::start(&place, &["--layout", layout]);
        let camera = viewed.camera(&place, &["visible"]).await;
        for _ in 0..4 {
            push(&camera, "visible", &format!("{number}.jpg"), jpeg(number)).await;
            number += 1;
        }
        assert_eq!(viewed.get("/visible/latest").body, jpeg(number - 1));
        for stored in 0..number {
            let frame = viewed.get(&format!("/visible/frames/{stored}"));
            assert_eq!((frame.status, frame.body), (200, jpeg(stored)), "{layout} {stored}");
        }
        camera.finish().await;
        viewed.receiver.interrupt();
    }
    let viewed = Viewed::start(&place, &["--layout", "hour"]);
    let (mut from, mut listed) = ("share=0".to_owned(), Vec::new());
    loop {
        let page = viewed.get(&format!("/visible/frames?limit=3&{from}")).json();
        let frames = page["frames"].as_array().unwrap();
        listed.extend(frames.iter().map(|frame| frame["sequence"].as_u64().unwrap()));
        let Some(next) = page["next"].as_str() else { break };
        from = format!("at={next}");
    }
    assert_eq!(listed, (0..12).collect::<Vec<_>>());
    let (mut from, mut back) = (String::new(), Vec::new());
    loop {
        let page = viewed.get(&format!("/visible/frames?limit=5&{from}")).json();
        let frames = page["frames"].as_array().unwrap();
        back.extend(frames.iter().rev().map(|frame| frame["sequence"].as_u64().unwrap()));
        let Some(before) = page["before"].as_str() else { break };
        from = format!("before={before}");
    }
    assert_eq!(back, (0..12).rev().collect::<Vec<_>>());
    assert_eq!(viewed.get("/visible/latest").body, jpeg(11));
}

/// What is left at the sender, its link and its clock are told by it.
#[test]
fn a_backlog_at_the_sender_is_seen() {
    let place = Place::new();
    let viewed = Viewed::start(&place, &[]);
    place.frames("visible", 60, 20_000);
    let relay = Relay::start(viewed.receiver.address(), 150_000.0);
    let sending = viewed.receiver.sending_over(&relay, &["visible"], &["--transport", "quic"]);
    let state =
        viewed.until("a backlog", |state| state["sources"][0]["pending"].as_u64() > Some(0));
    let source = &state["sources"][0];
    assert!(source["pending"].as_u64() <= Some(60), "{source}");
    let state = viewed.until("what the link is like", |state| {
        let source = &state["sources"][0];
        source["loss"].is_f64()
            && source["repair"].is_f64()
            && source["rtt_ms"].as_f64() > Some(0.0)
    });
    assert!((0.0..=1.0).contains(&state["sources"][0]["loss"].as_f64().unwrap()), "{state}");
    sending.finish().expect(0);
    let state = viewed.until("the end", |state| state["sources"][0]["state"] == "away");
    assert_eq!(state["sources"][0]["sent"], 60);
    assert!(state["sources"][0]["pending"].is_null(), "nobody is there to tell");
}

/// Fifty who look and take nothing: everything is stored, one who takes what comes sees the newest, and the
/// receiver's memory is what it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_that_take_nothing_hold_nothing_up() {
    let place = Place::new();
    let viewed = Viewed::start(&place, &[]);
    let camera = viewed.camera(&place, &["visible"]).await;
    let frame = |number: u32| [jpeg(number), vec![0; 200_000]].concat();
    push(&camera, "visible", "0.jpg", frame(0)).await;
    let slow: Vec<_> = (0..50).map(|_| begin(viewed.view, "GET", "/visible.mjpeg", &[])).collect();
    assert!(slow.iter().all(|(status, ..)| *status == 200));
    viewed.until("fifty viewers", |state| state["viewers"] == 50);
    for number in 1..150 {
        push(&camera, "visible", &format!("{number}.jpg"), frame(number)).await;
    }
    assert_eq!(place.manifest("visible").len(), 150);
    assert_eq!(viewed.get("/visible/latest").body, frame(149));
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", viewed.receiver.process().pid()));
    if let Ok(status) = status {
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let most: u64 = most.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(most < 150_000, "{most} kB");
    }
    drop(slow);
    viewed.until("the end of the viewers", |state| state["viewers"] == 0);
    // More than there may be are turned away, and nobody else.
    let many: Vec<_> = (0..129).map(|_| begin(viewed.view, "GET", "/visible.mjpeg", &[])).collect();
    assert_eq!(many.iter().filter(|(status, ..)| *status == 503).count(), 1);
    assert_eq!(viewed.get("/healthz").status, 200);
    camera.finish().await;
}

#[test]
fn only_who_may_look_does() {
    let place = Place::new();
    let viewed = Viewed::start(&place, &[]);
    let page = viewed.get("/");
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("cross-origin-resource-policy"), Some("same-origin"));
    let rebound = ask(viewed.view, "GET", "/state", &[("host", "evil.example")]);
    assert_eq!(rebound.status, 421);
    let other = ask(viewed.view, "GET", "/state", &[("origin", "http://evil.example")]);
    assert_eq!(other.status, 421);
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        assert_eq!(ask(viewed.view, method, "/state", &[]).status, 405, "{method}");
    }
    // A head without end is cut off.
    let long = "x".repeat(40_000);
    assert_eq!(ask(viewed.view, "GET", "/state", &[("x-long", &long)]).status, 431);

    let secret = "a-token-of-this-test";
    std::fs::write(place.path("token"), format!("{secret}\n")).unwrap();
    let guarded = Viewed::start(&place, &["--out", "guarded", "--view-token-file", "token"]);
    assert_eq!(guarded.get("/state").status, 401);
    assert_eq!(guarded.get("/healthz").status, 401);
    // Who is turned away holds no connection, although he could by HTTP 1.1.
    let mut stream = std::net::TcpStream::connect(guarded.view).unwrap();
    let request = format!("GET /state HTTP/1.1\r\nhost: {}\r\n\r\n", guarded.view);
    stream.write_all(request.as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the end of the connection");
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let bearer = format!("Bearer {secret}");
    let with = ask(guarded.view, "GET", "/state", &[("authorization", &bearer)]);
    assert_eq!(with.status, 200);
    let first = guarded.get(&format!("/?token={secret}"));
    assert_eq!((first.status, first.header("location")), (303, Some("/")));
    let cookie = first.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly; SameSite=Lax"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(ask(guarded.view, "GET", "/", &[("cookie", cookie)]).status, 200);
}

#[test]
fn what_others_could_reach_needs_a_token() {
    let place = Place::new();
    let args = ["receive", "--certs", "receiver", "--listen", "127.0.0.1:0", "--out", "store"];
    let run = |more: &[&str]| Process::start(place.command(&[&args[..], more].concat())).finish();
    run(&["--view", "0.0.0.0:0"]).expect(2).says("--view-token-file").says("--view-allow");
    // Secret, and open to all the same.
    run(&["--view", "0.0.0.0:0", "--view-tls"]).expect(2).says("--view-allow");
    run(&["--view", "127.0.0.1:0", "--view-allow", "any"]).expect(2).says("keeps nobody out");
    run(&["--view", "127.0.0.1:0", "--view-token", "short"]).expect(2).says("16 to 256");
    run(&["--view", "127.0.0.1:0", "--view-token-file", "none"]).expect(2).says("none");
}
