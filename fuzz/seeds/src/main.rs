//! Writes `corpus/` from the golden bytes of docs/wire.md, and lines as they are in files.

use std::fs;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let blocks = blocks(&fs::read_to_string(root.join("../docs/wire.md"))?);
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let folder = root.join("corpus").join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)
    };
    for (name, bytes) in &blocks {
        write("message", name, bytes)?;
        write("header", name, bytes)?;
        // 1 and 2 are the types of records; the third begins with its own.
        write("record", name, bytes)?;
        for kind in 0..=3 {
            write("record", &format!("{name}-{kind}"), &[&[kind], &bytes[..]].concat())?;
        }
    }
    write("assembly", "stream", &stream(&blocks))?;
    write("assembly", "mended", &chunks(0, &block(&blocks, "stream-header")))?;
    for (target, name, text) in TEXTS {
        write(target, name, text.as_bytes())?;
    }
    write("controller", "steady", &[1, 60, 2, 60, 0, 90, 3, 90, 1, 60, 4, 90, 3, 1, 5, 9].repeat(20))?;
    Ok(())
}

const TEXTS: &[(&str, &str, &str)] = &[
    ("stop_and_wait", "opening", "visible|jpg"),
    ("stop_and_wait", "header", "20000|0.jpg"),
    ("stop_and_wait", "continue", "continue"),
    ("stop_and_wait", "over", "over"),
    ("stop_and_wait", "ok", "ok"),
    ("manifest_line", "line", LINE),
    ("manifest_file", "line", LINE),
    ("ledger_line", "opened", r#"{"owner":"sha256:ab","source":"visible","opened":1}"#),
    ("ledger_line", "began", r#"{"run":"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5","began":5,"first":8,"endless":true,"live":true}"#),
    ("ledger_line", "dropped", r#"{"run":"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5","dropped":{"first":3,"last":9},"reason":"late","where":"sender","captured_unix_ns":[3,9]}"#),
    ("ledger_line", "before", r#"{"run":"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5","stored_before":{"first":3,"last":9}}"#),
    ("ledger_line", "ended", r#"{"run":"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5","ended":6,"captured":10}"#),
    ("ledger_line", "resumed", r#"{"run":"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5","resumed_by":"b5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5"}"#),
    ("link_spec", "usual", "rate=50mbit,delay=25ms,loss=2%,queue=50ms"),
    ("link_spec", "named", "mesh-edge,loss=5%"),
    ("link_spec", "full", "rate=30mbit,delay=8ms,jitter=6ms,loss=10%,burst=4,reorder=1%+5ms,queue=64KiB"),
    ("link_spec", "two", "up.rate=1mbit,down.rate=100mbit,up.loss=1%,outage=1s+2s"),
    ("trace", "few", "1\n1\n5\n20\n"),
    ("known_receivers", "two", "# trusted\nhost:4433 sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n[::1]:7 sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"),
    ("allow_file", "two", "# ours\ncam1=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\nsha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde0\n"),
];

const LINE: &str = r#"{"sequence":1,"name":"0.jpg","bytes":3,"blake3":"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262","captured_unix_ns":1,"due_unix_ns":1,"received_unix_ns":2,"stored_unix_ns":3,"media_type":"image/jpeg","modified_unix_ns":4}
"#;

/// Each block of the specification that begins with ```` ```hex NAME ````.
fn blocks(text: &str) -> Vec<(String, Vec<u8>)> {
    let parts = text.split("```hex ").skip(1).filter_map(|part| part.split_once('\n'));
    parts
        .map(|(name, rest)| {
            let lines = rest.split("```").next().unwrap_or_default().lines();
            let codes = lines.map(|line| line.split('#').next().unwrap_or_default());
            let digits: String = codes.flat_map(str::chars).filter(char::is_ascii_hexdigit).collect();
            let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).ok();
            (name.trim().to_owned(), (0..digits.len() / 2 * 2).step_by(2).filter_map(byte).collect())
        })
        .collect()
}

fn block(blocks: &[(String, Vec<u8>)], name: &str) -> Vec<u8> {
    let found = blocks.iter().find(|(other, _)| other == name);
    found.map(|(_, bytes)| bytes.clone()).unwrap_or_default()
}

/// A stream as the assembly target takes it: offset, length, bytes.
fn stream(blocks: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (head, body) = (block(blocks, "stream-header"), block(blocks, "stream-body"));
    chunks(0, &[head, body].concat())
}

fn chunks(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, chunk) in bytes.chunks(40).enumerate() {
        let offset = u16::try_from(at + index * 40).unwrap_or(u16::MAX).to_be_bytes();
        out.extend([offset[0], offset[1], chunk.len() as u8]);
        out.extend(chunk);
    }
    out
}
