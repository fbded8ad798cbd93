//! PNG, without loss, of 8 and 16 bits a sample.

use std::borrow::Cow;
use std::io::Cursor;

use png::{BitDepth, ColorType, Compression, Decoder, Encoder, Limits, Transformations};

use super::{Samples, Shape, swap_ends};

pub(super) fn encode_u8(samples: &[u8], shape: Shape) -> Result<Vec<u8>, String> {
    shape.check(samples.len())?;
    let mut samples = Cow::Borrowed(samples);
    if shape.bgr && shape.channels >= 3 {
        swap_ends(samples.to_mut(), shape.channels);
    }
    encode(&samples, shape, BitDepth::Eight)
}

pub(super) fn encode_u16(samples: &[u16], shape: Shape) -> Result<Vec<u8>, String> {
    shape.check(samples.len())?;
    let mut samples = Cow::Borrowed(samples);
    if shape.bgr && shape.channels >= 3 {
        swap_ends(samples.to_mut(), shape.channels);
    }
    // PNG has the high byte first.
    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_be_bytes()).collect();
    encode(&bytes, shape, BitDepth::Sixteen)
}

fn encode(bytes: &[u8], shape: Shape, depth: BitDepth) -> Result<Vec<u8>, String> {
    let side = |length: usize| {
        u32::try_from(length).map_err(|_| "PNG has at most 2^31 pixels a side".to_owned())
    };
    let (width, height) = (side(shape.width)?, side(shape.height)?);
    let mut out = Vec::with_capacity(bytes.len() / 2);
    let mut encoder = Encoder::new(&mut out, width, height);
    encoder.set_color(match shape.channels {
        1 => ColorType::Grayscale,
        3 => ColorType::Rgb,
        4 => ColorType::Rgba,
        other => return Err(format!("PNG has 1, 3 or 4 channels, not {other}")),
    });
    encoder.set_depth(depth);
    encoder.set_compression(Compression::Fast);
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(bytes)?;
        writer.finish()
    });
    written.map_err(|error| format!("PNG: {error}"))?;
    Ok(out)
}

pub(super) fn decode(bytes: &[u8], most: usize) -> Result<(Samples, Shape), String> {
    let broken = |error: png::DecodingError| format!("the PNG image cannot be decoded: {error}");
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: most });
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(broken)?;
    let length = reader.output_buffer_size().filter(|length| *length <= most);
    let length =
        length.ok_or_else(|| format!("the PNG image would take more than {most} bytes"))?;
    let mut samples = vec![0; length];
    let info = reader.next_frame(&mut samples).map_err(broken)?;
    samples.truncate(info.buffer_size());
    let shape = Shape {
        height: info.height as usize,
        width: info.width as usize,
        channels: info.color_type.samples(),
        bgr: false,
    };
    let samples = match info.bit_depth {
        BitDepth::Sixteen => {
            let words = samples.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            Samples::Words(words.collect())
        }
        _ => Samples::Bytes(samples),
    };
    Ok((samples, shape))
}
