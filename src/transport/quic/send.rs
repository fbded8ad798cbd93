//! Frames out: a stream for each.

use bytes::Bytes;
use quinn::{Connection, SendStream};
use tokio::sync::mpsc;

use super::varint;
use crate::transport::OutgoingFrame;
use crate::wire::RefusalCode;

/// Gives each frame a stream of its own and writes it, many at once, until the session has no more
/// or the connection is gone.
pub(super) async fn frames(connection: Connection, mut queue: mpsc::Receiver<OutgoingFrame>) {
    while let Some(frame) = queue.recv().await {
        // Waits only where the receiver allows fewer streams than frames; the session's window is
        // set so that this does not happen between two framelanes.
        let Ok(stream) = connection.open_uni().await else { return };
        let _ = stream.set_priority(frame.priority);
        tokio::spawn(write_frame(stream, frame));
    }
}

/// Writes one frame and stays until the receiver's transport has it, or wants no more of it.
async fn write_frame(mut stream: SendStream, frame: OutgoingFrame) {
    let OutgoingFrame { header, body, .. } = frame;
    let Ok(header) = header.encode() else {
        // Only a frame without a hash has no header, and sources always hash.
        let _ = stream.reset(varint(RefusalCode::BadHeader.number()));
        return;
    };
    let stopped = stream.stopped();
    let written = tokio::select! {
        written = write_all(&mut stream, header, body) => written,
        _ = stopped => false,
    };
    if !written {
        let _ = stream.reset(varint(RefusalCode::NotNeeded.number()));
        return;
    }
    // quinn goes on retransmitting a finished stream that the peer has stopped, until it is reset.
    if let Ok(Some(code)) = stream.stopped().await {
        let _ = stream.reset(code);
    }
}

async fn write_all(stream: &mut SendStream, header: Bytes, body: Bytes) -> bool {
    stream.write_all_chunks(&mut [header, body]).await.is_ok() && stream.finish().is_ok()
}
