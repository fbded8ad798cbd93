//! Sends what a camera makes: `cargo run --example send_camera HOST:PORT PIN`.

use std::{path::Path, time::Duration};

use framelane::source::synthetic::{Kind, of_size};
use framelane::{Frame, Sender, sender::SendReport};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [receiver, pin] = args.as_slice() else { return Err("write HOST:PORT PIN".into()) };
    println!("{:#?}", send(receiver, pin, Path::new("certs")).await?);
    Ok(())
}

pub(crate) async fn send(receiver: &str, pin: &str, certs: &Path) -> Result<SendReport> {
    let sender = Sender::to(receiver).pin(pin).certs(certs).source("visible").start().await?;
    for image in (0..30).map(|index| of_size(20_000, index, 1, Kind::Visible)) {
        drop(sender.push("visible", Frame::jpeg(image).captured_now()).await?);
        tokio::time::sleep(Duration::from_millis(33)).await;
    }
    Ok(sender.finish().await)
}
