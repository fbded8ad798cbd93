//! Receives what one sender has into a callback: `cargo run --example receive_callback ADDR:PORT PIN`.

use framelane::{Received, Receiver, receiver::ReceiveReport as Report};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [address, pin] = args.as_slice() else { return Err("write ADDR:PORT PIN".into()) };
    let receiver = Receiver::listen(address).allow(pin).once().start().await?;
    println!("listening on {}, my pin is {}", receiver.local_addr(), receiver.pin());
    let tell = |frame: Received| println!("{} {}: {}", frame.source, frame.name, frame.bytes.len());
    println!("{:#?}", receive(receiver, tell).await?);
    Ok(())
}

pub(crate) async fn receive(mut from: Receiver, each: impl FnMut(Received)) -> Result<Report> {
    from.for_each(each).await;
    Ok(from.shutdown().await?)
}
