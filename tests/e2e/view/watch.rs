//! `framelane watch`: lines of what a view tells.

use super::support::{Viewed, jpeg, push};
use crate::support::{Place, Process, Signal};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_tells_of_each_source() {
    let place = Place::new();
    let viewed = Viewed::start(&place, &[]);
    let at = viewed.view.to_string();
    place.run(&["watch", &at, "--once"]).expect(0).prints("no source yet");
    let camera = viewed.camera(&place, &["visible"]).await;
    for number in 0..3 {
        push(&camera, "visible", &format!("{number}.jpg"), jpeg(number)).await;
    }
    place
        .run(&["watch", &format!("http://{at}/"), "--once"])
        .expect(0)
        .prints(" visible live: ")
        .prints(" 3 stored, ");
    let json = place.run(&["watch", &at, "--once", "--json"]).expect(0).json();
    assert_eq!(json["sources"][0]["stored"], 3);
    // It goes on, and ends as it is told to.
    let watching = Process::start(place.command(&["watch", &at, "--every", "100ms"]));
    watching.stdout_line(|line| line.contains("3 stored").then_some(()));
    push(&camera, "visible", "3.jpg", jpeg(3)).await;
    watching.stdout_line(|line| line.contains("4 stored").then_some(()));
    camera.finish().await;
    viewed.receiver.interrupt().expect(130);
    watching.stderr_line(|line| line.contains("cannot reach a view").then_some(()));
    watching.signal(Signal::INT);
    watching.finish().expect(130);
}

#[test]
fn watch_ends_where_nobody_reads_it() {
    let place = Place::new();
    let viewed = Viewed::start(&place, &[]);
    let at = viewed.view.to_string();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut watching = place.command(&["watch", &at, "--every", "100ms"]);
    assert_eq!(watching.stdout(writer).status().unwrap().code(), Some(0));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut watching = place.command(&["watch", &at, "--every", "100ms", "--json"]);
    assert_eq!(watching.stdout(full).status().unwrap().code(), Some(1));
}

#[test]
fn watch_says_what_is_wrong_with_a_place() {
    let place = Place::new();
    place.run(&["watch", "127.0.0.1"]).expect(2).says("has no port");
    place.run(&["watch", "127.0.0.1:1", "--once"]).expect(1).says("started with --view");
    std::fs::write(place.path("token"), "a-token-of-this-test").unwrap();
    let guarded = Viewed::start(&place, &["--view-token-file", "token"]);
    let at = guarded.view.to_string();
    place.run(&["watch", &at, "--once"]).expect(1).says("asks for its token");
    place.run(&["watch", &at, "--once", "--token-file", "token"]).expect(0);
}
