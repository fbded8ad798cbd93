//! What programs that are installed write. Those that are not are named and passed over.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

/// What a command writes; `None`, and said so, where it is not installed or cannot do this.
fn output(command: &str, args: &[&str]) -> Option<Vec<u8>> {
    let run = Command::new(command).args(args).stdin(Stdio::null()).stderr(Stdio::null()).output();
    match run {
        Ok(run) if run.status.success() => Some(run.stdout),
        _ => {
            eprintln!("skipped: {command} {} does not work here", args.join(" "));
            None
        }
    }
}

/// Ten frames by ffmpeg, noise, so that they are not small.
fn ffmpeg(pixels: &str, encoder: &[&str]) -> Option<Vec<u8>> {
    let scene = "nullsrc=s=320x256:r=10,geq=random(1)*255:128:128";
    let mut args = vec!["-loglevel", "error", "-f", "lavfi", "-i", scene, "-frames:v", "10"];
    args.extend(["-pix_fmt", pixels]);
    args.extend(encoder);
    args.push("-");
    output("ffmpeg", &args)
}

#[test]
fn what_ffmpeg_writes_is_cut_exactly() {
    let mjpeg = ["-f", "image2pipe", "-c:v", "mjpeg", "-q:v", "2"];
    let png = ["-f", "image2pipe", "-c:v", "png"];
    let tiff = ["-f", "image2pipe", "-c:v", "tiff"];
    let jxl = ["-f", "image2pipe", "-c:v", "libjxl"];
    let raw = ["-f", "rawvideo"];
    for (pixels, encoder, kind) in [
        ("yuvj420p", &mjpeg[..], Kind::Jpeg),
        ("gray16be", &png, Kind::Png),
        ("rgb24", &png, Kind::Png),
        ("gray16le", &tiff, Kind::Tiff),
        ("rgb24", &jxl, Kind::JpegXl),
        ("gray16le", &raw, Kind::Raw),
    ] {
        let Some(stream) = ffmpeg(pixels, encoder) else { continue };
        let framing = match kind {
            Kind::Raw => Framing::Raw(320 * 256 * 2),
            _ => Framing::Structure,
        };
        for piece in [4_096, 65_536] {
            let cuts = cut_in(&stream, piece, framing, MOST);
            let mut length = 0;
            for cut in &cuts {
                let Cut::Image { bytes, kind: is } = cut else { panic!("{encoder:?}: {cut:?}") };
                assert_eq!(*is, kind);
                length += bytes.len();
            }
            assert_eq!((cuts.len(), length), (10, stream.len()), "{encoder:?}");
        }
    }
}

#[test]
fn ffmpegs_streams_that_are_no_images_are_named() {
    for (encoder, says) in [
        (&["-f", "image2pipe", "-c:v", "apng"][..], "-c:v png"),
        (&["-f", "apng"], "animation"),
        (&["-f", "avi", "-c:v", "mjpeg"], "AVI"),
        (&["-f", "yuv4mpegpipe", "-pix_fmt", "yuv420p"], "yuv4mpeg"),
    ] {
        let Some(stream) = ffmpeg("rgb24", encoder).or_else(|| ffmpeg("yuvj420p", encoder)) else {
            continue;
        };
        let cuts = cut_in(&stream, 4_096, Framing::Structure, MOST);
        let Some(Cut::Skipped { why, .. }) = cuts.first() else { panic!("{encoder:?}") };
        assert!(why.to_string().contains(says), "{encoder:?}: {why}");
    }
}

#[test]
fn an_http_cameras_stream_is_cut() {
    let Some(stream) = ffmpeg("yuvj420p", &["-f", "mpjpeg", "-q:v", "2"]) else { return };
    let cuts = cut_in(&stream, 4_096, Framing::Structure, MOST);
    let images = images(cuts.clone());
    assert_eq!(images.len(), 10);
    for image in images {
        assert!(image.ends_with(&[0xff, 0xd9]));
    }
    let others =
        cuts.iter().filter(|cut| matches!(cut, Cut::Skipped { why, .. } if *why != Why::Multipart));
    assert_eq!(others.count(), 0);
}

/// All files that a script of a tool leaves in a folder, in the order of their names.
fn files(command: &str, args: &[&str], folder: &Path) -> Vec<Vec<u8>> {
    let run = Command::new(command)
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !run.is_ok_and(|status| status.success()) {
        eprintln!("skipped: {command} {} does not work here", args.join(" "));
        return Vec::new();
    }
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

const PYTHON: &str = r#"
import numpy as np
grey = (np.arange(200 * 300) % 60000).astype(np.uint16).reshape(200, 300)
rgb = np.dstack([grey % 256] * 3).astype(np.uint8)
def attempt(f):
    try: f()
    except ImportError: pass
def pillow():
    from PIL import Image
    Image.fromarray(rgb).save("pil.jpg", quality=95)
    Image.fromarray(rgb).save("pil_progressive.jpg", progressive=True, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")
    Image.fromarray(rgb).save("pil.png")
    Image.fromarray(grey).save("pil16.png")
    Image.fromarray(rgb).save("pil.tif")
    Image.fromarray(rgb).save("pil_lzw.tif", compression="tiff_lzw")
    Image.fromarray(rgb).save("pil_jpeg.tif", compression="jpeg")
    Image.fromarray(rgb).save("pil_pages.tif", save_all=True, append_images=[Image.fromarray(rgb)] * 3)
def opencv():
    import cv2
    for end in ("jpg", "png", "tif"): cv2.imwrite("cv." + end, rgb)
    cv2.imwrite("cv16.png", grey); cv2.imwrite("cv16.tiff", grey)
def tifffiles():
    import tifffile
    tifffile.imwrite("tf.tif", grey)
    tifffile.imwrite("tf_big.tif", grey, bigtiff=True)
    tifffile.imwrite("tf_be.tif", grey, byteorder=">")
    tifffile.imwrite("tf_tiled.tif", grey, tile=(64, 64))
    tifffile.imwrite("tf_pages.tif", np.stack([grey] * 5))
    with tifffile.TiffWriter("tf_sub.tif") as tif:
        tif.write(grey, subifds=2)
        tif.write(grey[::2, ::2], subfiletype=1)
        tif.write(grey[::4, ::4], subfiletype=1)
for writer in (pillow, opencv, tifffiles): attempt(writer)
"#;

#[test]
fn what_other_tools_write_is_cut_exactly() {
    let python = std::env::var("FRAMELANE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let scratch = || tempfile::tempdir().unwrap();
    let mut all = files(&python, &["-c", PYTHON], scratch().path());
    for tool in [&["convert"][..], &["gm", "convert"]] {
        for name in ["a.jpg", "b.png", "c.tif", "d.tiff"] {
            let args = [&tool[1..], &["-size", "320x240", "plasma:fractal", name]].concat();
            all.extend(files(tool[0], &args, scratch().path()));
        }
    }
    let folder = scratch();
    if let Some(png) = ffmpeg("rgb24", &["-f", "image2pipe", "-c:v", "png", "-frames:v", "1"]) {
        std::fs::File::create(folder.path().join("a.png")).unwrap().write_all(&png).unwrap();
        for container in ["0", "1"] {
            let args = [
                "a.png",
                &format!("{container}.jxl"),
                &format!("--container={container}"),
                "-e",
                "3",
            ];
            files("cjxl", &args, folder.path());
        }
        all.extend(files("true", &[], folder.path()));
    }
    for image in &all {
        let cuts = cut(&[&image[..], image].concat());
        assert_images(cuts, &[image.clone(), image.clone()]);
    }
    assert_images(cut_in(&all.concat(), 4_096, Framing::Structure, MOST), &all);
    eprintln!("{} files of installed tools", all.len());
}
