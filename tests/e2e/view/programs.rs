//! What programs that people have make of a view: ffprobe, OpenCV, Prometheus' own checker.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::support::{Viewed, jpeg, push};
use crate::support::{Place, skipped};

/// Runs a program that may not be there.
fn run(command: &mut Command) -> Option<Output> {
    command.stdin(Stdio::null()).output().ok()
}

/// A camera that goes on until it is told to stop.
struct Going {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<framelane::Sender>,
}

async fn going(viewed: &Viewed<'_>, place: &Place) -> Going {
    let camera = viewed.camera(place, &["visible"]).await;
    push(&camera, "visible", "0.jpg", jpeg(0)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        let mut number = 1;
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(40));
        while !stopped.load(Ordering::Relaxed) {
            tick.tick().await;
            push(&camera, "visible", &format!("{number}.jpg"), jpeg(number)).await;
            number += 1;
        }
        camera
    });
    Going { stop, task }
}

impl Going {
    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap().finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn ffprobe_and_opencv_read_the_stream() {
    let place = Place::new();
    let viewed = Viewed::start(&place, &[]);
    let going = going(&viewed, &place).await;
    let url = format!("http://{}/visible.mjpeg", viewed.view);
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(["-v", "error", "-f", "mpjpeg", "-read_intervals", "%+#10", "-count_packets"]);
    ffprobe.args([
        "-show_entries",
        "stream=codec_name,width,height,nb_read_packets",
        "-of",
        "csv=p=0",
    ]);
    let probed = tokio::task::block_in_place(|| run(ffprobe.arg(&url)));
    match probed {
        None => skipped("no ffprobe to read a stream with"),
        Some(probed) => {
            let (out, said) =
                (String::from_utf8_lossy(&probed.stdout), String::from_utf8_lossy(&probed.stderr));
            assert!(out.trim().starts_with("mjpeg,64,48,10"), "{out} {said}");
        }
    }
    let script = format!(
        "import cv2\ncapture = cv2.VideoCapture('{url}')\nseen = set()\nfor _ in range(200):\n    ok, image = \
         capture.read()\n    assert ok\n    assert image.shape == (48, 64, 3), image.shape\n    \
         seen.add(int(image[24].mean(axis=1).argmax()) // 8)\n    if len(seen) > 3: break\nprint(len(seen) > 3)"
    );
    match std::env::var_os("FRAMELANE_TEST_PYTHON") {
        None => skipped("no FRAMELANE_TEST_PYTHON with OpenCV to read a stream with"),
        Some(python) => {
            let read =
                tokio::task::block_in_place(|| run(Command::new(python).args(["-c", &script])));
            let read = read.unwrap();
            let said = String::from_utf8_lossy(&read.stderr);
            assert_eq!(String::from_utf8_lossy(&read.stdout).trim(), "True", "{said}");
        }
    }
    going.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn promtool_finds_nothing_wrong_with_the_metrics() {
    let place = Place::new();
    let viewed = Viewed::start(&place, &[]);
    let going = going(&viewed, &place).await;
    let metrics = viewed.get("/metrics").text();
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    match promtool {
        Err(_) => skipped("no promtool to check metrics with"),
        Ok(mut promtool) => {
            promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
            let checked = promtool.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&checked.stderr);
            assert!(checked.status.success() && said.is_empty(), "{said}\n{metrics}");
        }
    }
    going.end().await;
}
