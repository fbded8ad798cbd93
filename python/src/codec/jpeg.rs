//! JPEG of 8-bit samples.

use jpeg_encoder::{ColorType, Encoder};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::{Samples, Shape};

pub(super) fn encode(samples: &[u8], shape: Shape, quality: u8) -> Result<Vec<u8>, String> {
    shape.check(samples.len())?;
    let side = |length: usize| {
        u16::try_from(length).map_err(|_| "JPEG has at most 65,535 pixels a side".to_owned())
    };
    let (width, height) = (side(shape.width)?, side(shape.height)?);
    let color = match (shape.channels, shape.bgr) {
        (1, _) => ColorType::Luma,
        (3, true) => ColorType::Bgr,
        (3, false) => ColorType::Rgb,
        (other, _) => return Err(format!("JPEG has 1 or 3 channels, not {other}")),
    };
    let mut out = Vec::with_capacity(samples.len() / 8);
    let encoder = Encoder::new(&mut out, quality);
    encoder.encode(samples, width, height, color).map_err(|error| format!("JPEG: {error}"))?;
    Ok(out)
}

pub(super) fn decode(bytes: &[u8], most: usize) -> Result<(Samples, Shape), String> {
    const LONGEST: usize = u16::MAX as usize;
    let broken = |error: zune_jpeg::errors::DecodeErrors| {
        format!("the JPEG image cannot be decoded: {error:?}")
    };
    let options = DecoderOptions::default().set_max_width(LONGEST).set_max_height(LONGEST);
    let mut headers = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    headers.decode_headers().map_err(broken)?;
    let (width, height) = headers.dimensions().ok_or("the JPEG image has no size")?;
    let grey = headers.input_colorspace() == Some(ColorSpace::Luma);
    let (channels, wanted) = if grey { (1, ColorSpace::Luma) } else { (3, ColorSpace::RGB) };
    let shape = Shape { height, width, channels, bgr: false };
    if shape.samples().is_none_or(|samples| samples > most) {
        return Err(format!("the JPEG image would take more than {most} bytes"));
    }
    let options = options.jpeg_set_out_colorspace(wanted);
    let samples =
        JpegDecoder::new_with_options(ZCursor::new(bytes), options).decode().map_err(broken)?;
    if Some(samples.len()) != shape.samples() {
        return Err("the JPEG image has another size than it says".to_owned());
    }
    Ok((Samples::Bytes(samples), shape))
}
