//! Shapes to pixels.

use super::scene::{Outline, Scene, Shape};

/// A picture of `width` x `height` pixels, row by row from the top.
pub(super) struct Raster<P> {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<P>,
}

impl<P: Copy + Default> Raster<P> {
    /// A blank one.
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self { width, height, pixels: vec![P::default(); width * height] }
    }

    /// The rows with the height of their middle, in picture heights.
    pub(super) fn rows(&mut self) -> impl Iterator<Item = (f32, &mut [P])> {
        let height = self.height as f32;
        let rows = self.pixels.chunks_exact_mut(self.width).enumerate();
        rows.map(move |(row, pixels)| ((row as f32 + 0.5) / height, pixels))
    }

    /// Fills all shapes of a scene. `paint` gets the shape and the place in it, each from -1 to 1.
    pub(super) fn fill(&mut self, scene: &Scene, paint: impl Fn(&Shape, f32, f32) -> P) {
        for shape in &scene.shapes {
            self.fill_one(shape, &paint);
        }
    }

    fn fill_one(&mut self, shape: &Shape, paint: impl Fn(&Shape, f32, f32) -> P) {
        let height = self.height as f32;
        let middle = self.width as f32 / 2.0;
        let (left, right) = (middle + shape.left * height, middle + shape.right * height);
        let (top, bottom) = (shape.top * height, shape.bottom * height);
        let (half_width, half_height) = ((right - left) / 2.0, (bottom - top) / 2.0);
        let (centre_x, centre_y) = ((right + left) / 2.0, (bottom + top) / 2.0);
        // Float to integer saturates, so shapes outside the picture come out empty.
        for row in top.round() as usize..(bottom.round() as usize).min(self.height) {
            let v = ((row as f32 + 0.5 - centre_y) / half_height).clamp(-1.0, 1.0);
            let reach = match shape.outline {
                Outline::Box => half_width,
                Outline::Ellipse => half_width * (1.0 - v * v).sqrt(),
            };
            let start = (centre_x - reach).round() as usize;
            let end = ((centre_x + reach).round() as usize).min(self.width);
            for column in start..end {
                let u = (column as f32 + 0.5 - centre_x) / half_width;
                self.pixels[row * self.width + column] = paint(shape, u, v);
            }
        }
    }
}

/// A quick stream of noise: xorshift32, not for anything but looks.
pub(super) struct Grain(u32);

impl Grain {
    pub(super) fn new(seed: u32) -> Self {
        Self(seed | 1)
    }

    /// 32 bits.
    pub(super) fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }
}
