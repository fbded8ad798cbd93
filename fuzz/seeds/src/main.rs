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
        write("parity", name, bytes)?;
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
    for (number, image) in IMAGES.iter().enumerate() {
        // How it is cut, the length of a piece, and the images.
        write("cut", &format!("image-{number}"), &[&[2, 7], *image].concat())?;
        write("captured", &format!("image-{number}"), &[&[4], &b"exif"[..], image].concat())?;
        let length = u32::try_from(image.len()).unwrap_or(u32::MAX).to_be_bytes();
        write("cut", &format!("length-{number}"), &[&[0, 9], &length[..], image].concat())?;
    }
    write("cut", "all", &[&[2, 5], &IMAGES.concat()[..]].concat())?;
    let rule = b"name:%Y%m%d_%H%M%S";
    write("captured", "name", &[&[rule.len() as u8], &rule[..], b"a20260314_150926.jpg"].concat())?;
    write(
        "controller",
        "steady",
        &[1, 60, 2, 60, 0, 90, 3, 90, 1, 60, 4, 90, 3, 1, 5, 9].repeat(20),
    )?;
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
    (
        "ledger_line",
        "began",
        r#"{"run":"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5","began":5,"first":8,"endless":true,"live":true}"#,
    ),
    (
        "ledger_line",
        "dropped",
        r#"{"run":"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5","dropped":{"first":3,"last":9},"reason":"late","where":"sender","captured_unix_ns":[3,9]}"#,
    ),
    (
        "ledger_line",
        "before",
        r#"{"run":"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5","stored_before":{"first":3,"last":9}}"#,
    ),
    (
        "ledger_line",
        "ended",
        r#"{"run":"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5","ended":6,"captured":10}"#,
    ),
    (
        "ledger_line",
        "resumed",
        r#"{"run":"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5","resumed_by":"b5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5"}"#,
    ),
    ("link_spec", "usual", "rate=50mbit,delay=25ms,loss=2%,queue=50ms"),
    ("link_spec", "named", "mesh-edge,loss=5%"),
    (
        "link_spec",
        "full",
        "rate=30mbit,delay=8ms,jitter=6ms,loss=10%,burst=4,reorder=1%+5ms,queue=64KiB",
    ),
    ("link_spec", "two", "up.rate=1mbit,down.rate=100mbit,up.loss=1%,outage=1s+2s"),
    ("trace", "few", "1\n1\n5\n20\n"),
    (
        "known_receivers",
        "two",
        "# trusted\nhost:4433 sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n[::1]:7 sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n",
    ),
    (
        "allow_file",
        "two",
        "# ours\ncam1=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\nsha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde0\n",
    ),
];

/// The smallest images of their kinds: JPEG, PNG, and TIFF with a camera's time in it.
const IMAGES: &[&[u8]] = &[
    b"\xff\xd8\xff\xe0\0\x07JFIF\0\xff\xda\0\x08\x01\x01\0\0\x3f\0\x2a\xff\0\x2a\xff\xd9",
    b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0\x3a\x7e\x9b\x55\0\0\0\x0aIDAT\x78\x9c\x63\x60\x07\0\0\x09\0\x08\x20\x23\xc3\x8c\0\0\0\0IEND\xae\x42\x60\x82",
    b"MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\0\x1a\0\0\0\0\0\x01\x90\x03\0\x02\0\0\0\x14\0\0\0\x2c\0\0\0\x002026:03:14 15:09:26\0",
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
            let digits: String =
                codes.flat_map(str::chars).filter(char::is_ascii_hexdigit).collect();
            let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).ok();
            (
                name.trim().to_owned(),
                (0..digits.len() / 2 * 2).step_by(2).filter_map(byte).collect(),
            )
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
