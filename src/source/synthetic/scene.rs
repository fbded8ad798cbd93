//! The scene at one moment: a road through meadows, with cars, people and trees on it.
//!
//! World coordinates are metres: `x` to the right of the road's middle, `z` ahead of the camera.
//! Picture coordinates are in units of the picture's height, `x` from its middle, `y` from its
//! top, so that one scene fits pictures of any size.

/// Height of the camera over the road in metres.
const CAMERA_HEIGHT: f32 = 1.7;
/// Focal length in picture heights.
const FOCAL: f32 = 0.95;
/// Metres driven from one frame to the next: 50 km/h at 30 frames/s.
const STEP: f64 = 0.46;
/// As far as anything is drawn, in metres.
const FAR: f32 = 160.0;
/// As near as anything is drawn, in metres.
const NEAR: f32 = 3.5;
/// The road's half width in metres.
pub(super) const ROAD: f32 = 3.7;
/// The outer edge of the gravel beside the road, in metres.
pub(super) const GRAVEL: f32 = 4.6;

/// One moment.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    /// The horizon's place below the picture's top.
    pub(super) horizon: f32,
    /// The vanishing point's place right of the picture's middle.
    pub(super) vanishing: f32,
    /// Metres driven.
    pub(super) travel: f64,
    /// What moves the noise of the sensor and of the ground.
    pub(super) seed: u32,
    /// Changes with every frame, unlike the seed.
    pub(super) grain: u32,
    /// From the farthest to the nearest.
    pub(super) shapes: Vec<Shape>,
}

/// A filled shape in picture coordinates.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) outline: Outline,
    pub(super) left: f32,
    pub(super) top: f32,
    pub(super) right: f32,
    pub(super) bottom: f32,
    pub(super) rgb: [u8; 3],
    pub(super) celsius: f32,
}

/// Rectangle or the ellipse in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Outline {
    Box,
    Ellipse,
}

/// Something upright that stands on the ground.
struct Upright {
    x: f32,
    z: f32,
    sway: f32,
    kind: UprightKind,
    look: u32,
}

enum UprightKind {
    Tree,
    Person,
    Leading,
    Oncoming,
}

impl Scene {
    /// The scene of frame `index`.
    pub(super) fn at(index: u64, seed: u64) -> Self {
        let mixed = mix(seed as u32 ^ mix((seed >> 32) as u32));
        // Long runs repeat after a day at 30 frames/s; positions stay exact until then.
        let index = index % 2_592_000;
        let phase = index as f32 * 0.05;
        let mut scene = Self {
            horizon: 0.43 + 0.004 * (phase * 2.3).sin(),
            vanishing: 0.05 * (phase * 0.31).sin(),
            travel: index as f64 * STEP,
            seed: mixed,
            grain: mix(mixed ^ (index as u32).wrapping_mul(0x9e37_79b9)),
            shapes: Vec::new(),
        };
        let mut uprights = Vec::new();
        scene.plant_trees(&mut uprights);
        scene.place_people(&mut uprights, phase);
        scene.place_cars(&mut uprights, index);
        uprights.sort_by(|a, b| b.z.total_cmp(&a.z));
        for upright in &uprights {
            scene.draw(upright);
        }
        scene
    }

    /// The distance in metres of the ground at height `y` of the picture, below the horizon.
    pub(super) fn distance(&self, y: f32) -> f32 {
        FOCAL * CAMERA_HEIGHT / (y - self.horizon).max(1e-4)
    }

    /// Metres to the right for each picture height at a distance.
    pub(super) fn metres_per_height(distance: f32) -> f32 {
        distance / FOCAL
    }

    fn plant_trees(&self, uprights: &mut Vec<Upright>) {
        self.along(
            9.0,
            self.travel,
            |id, z, uprights: &mut Vec<Upright>| {
                let look = mix(self.seed ^ id);
                for (side, look) in [(-1.0, look), (1.0, mix(look))] {
                    let x = side * (7.0 + (look % 97) as f32 * 0.12);
                    uprights.push(Upright { x, z, sway: 0.0, kind: UprightKind::Tree, look });
                }
            },
            uprights,
        );
    }

    fn place_people(&self, uprights: &mut Vec<Upright>, phase: f32) {
        self.along(
            23.0,
            self.travel * 1.04,
            |id, z, uprights: &mut Vec<Upright>| {
                let look = mix(self.seed ^ id ^ 0x5eed);
                let side = if look & 1 == 0 { -1.0 } else { 1.0 };
                let x = side * (4.9 + (look % 7) as f32 * 0.2);
                let sway = (phase * 4.0 + look as f32 % 6.0).sin();
                uprights.push(Upright { x, z, sway, kind: UprightKind::Person, look });
            },
            uprights,
        );
    }

    fn place_cars(&self, uprights: &mut Vec<Upright>, index: u64) {
        self.along(
            47.0,
            self.travel * 2.1,
            |id, z, uprights: &mut Vec<Upright>| {
                let look = mix(self.seed ^ id ^ 0xca5);
                let kind = UprightKind::Oncoming;
                uprights.push(Upright { x: -1.8, z, sway: 0.0, kind, look });
            },
            uprights,
        );
        for (car, ahead) in [(0u32, 13.0f32), (1, 42.0)] {
            let look = mix(self.seed ^ car ^ 0x1ead);
            let phase = index as f32 * 0.013 + look as f32 % 6.0;
            let z = ahead + 0.3 * ahead * phase.sin();
            let x = 1.8 + 0.25 * (phase * 1.7).sin();
            uprights.push(Upright { x, z, sway: 0.0, kind: UprightKind::Leading, look });
        }
    }

    /// Calls `place` with the identity and distance of everything in view that stands `spacing`
    /// metres apart, `driven` metres after the start.
    fn along<T>(&self, spacing: f64, driven: f64, place: impl Fn(u32, f32, &mut T), into: &mut T) {
        let first = (driven / spacing).floor();
        for step in 0..(f64::from(FAR) / spacing) as u32 {
            let id = first + 1.0 + f64::from(step);
            let z = (id * spacing - driven) as f32;
            if z > NEAR {
                place(mix(id as u32), z, into);
            }
        }
    }

    fn draw(&mut self, upright: &Upright) {
        match upright.kind {
            UprightKind::Tree => self.draw_tree(upright),
            UprightKind::Person => self.draw_person(upright),
            UprightKind::Leading => self.draw_car(upright, true),
            UprightKind::Oncoming => self.draw_car(upright, false),
        }
    }

    fn draw_tree(&mut self, at: &Upright) {
        let height = 4.5 + (at.look >> 8 & 31) as f32 * 0.12;
        let green = [38 + (at.look >> 16 & 31) as u8, 78 + (at.look >> 20 & 31) as u8, 34];
        self.add(at, Outline::Ellipse, [-1.6, 1.6, -0.12, 0.12], [44, 56, 34], 11.0);
        self.add(at, Outline::Box, [-0.18, 0.18, 0.0, height * 0.6], [72, 56, 42], 13.0);
        for (index, [x, y, r]) in
            [[-0.7, 0.52, 1.3], [0.75, 0.56, 1.25], [0.0, 0.78, 1.5]].into_iter().enumerate()
        {
            let bright = green.map(|channel| channel + 9 * index as u8);
            let sides = [x - r, x + r, height * y - r, height * y + r];
            self.add(at, Outline::Ellipse, sides, bright, 10.0 + index as f32);
        }
    }

    fn draw_person(&mut self, at: &Upright) {
        let coat = COATS[at.look as usize >> 4 & 3];
        let step = 0.16 * at.sway;
        self.add(at, Outline::Ellipse, [-0.4, 0.4, -0.04, 0.04], [52, 52, 48], 15.0);
        for x in [step, -step] {
            self.add(at, Outline::Box, [x - 0.09, x + 0.09, 0.0, 0.85], [38, 40, 56], 26.0);
        }
        self.add(at, Outline::Ellipse, [-0.27, 0.27, 0.72, 1.55], coat, 28.0);
        self.add(at, Outline::Ellipse, [-0.13, 0.13, 1.48, 1.78], [206, 164, 138], 34.0);
    }

    fn draw_car(&mut self, at: &Upright, from_behind: bool) {
        let paint = PAINTS[at.look as usize >> 4 & 3];
        let dark = paint.map(|channel| channel / 2);
        self.add(at, Outline::Ellipse, [-1.15, 1.15, -0.16, 0.16], [30, 30, 32], 27.0);
        for x in [-0.72, 0.72] {
            self.add(at, Outline::Box, [x - 0.13, x + 0.13, 0.0, 0.5], [22, 22, 24], 41.0);
        }
        self.add(at, Outline::Ellipse, [-0.78, 0.78, 0.7, 1.72], dark, 19.0);
        self.add(at, Outline::Box, [-0.62, 0.62, 0.98, 1.42], [92, 112, 130], 14.0);
        self.add(at, Outline::Box, [-0.9, 0.9, 0.3, 1.0], paint, 21.0);
        if from_behind {
            self.add(at, Outline::Box, [-0.26, 0.26, 0.52, 0.66], [214, 214, 206], 20.0);
            self.add(at, Outline::Ellipse, [0.4, 0.62, 0.22, 0.4], [60, 60, 62], 68.0);
            self.lamps(at, [206, 32, 28], 30.0);
        } else {
            self.add(at, Outline::Box, [-0.5, 0.5, 0.4, 0.72], [40, 40, 44], 52.0);
            self.lamps(at, [252, 246, 214], 45.0);
        }
    }

    fn lamps(&mut self, at: &Upright, rgb: [u8; 3], celsius: f32) {
        for x in [-0.7, 0.7] {
            self.add(at, Outline::Ellipse, [x - 0.14, x + 0.14, 0.66, 0.86], rgb, celsius);
        }
    }

    /// Adds a shape with its sides (left, right, bottom, top) in metres from the foot of `at`.
    fn add(
        &mut self,
        at: &Upright,
        outline: Outline,
        [left, right, bottom, top]: [f32; 4],
        rgb: [u8; 3],
        celsius: f32,
    ) {
        let scale = FOCAL / at.z;
        let ground = self.horizon + CAMERA_HEIGHT * scale;
        // Far things fade into the haze, and their warmth is lost in the air between.
        let haze = (at.z / FAR).min(1.0) * 0.75;
        let fade = |from: f32, to: f32| from + (to - from) * haze;
        self.shapes.push(Shape {
            outline,
            left: self.vanishing + (at.x + left) * scale,
            right: self.vanishing + (at.x + right) * scale,
            top: ground - top * scale,
            bottom: ground - bottom * scale,
            rgb: [0, 1, 2].map(|c| fade(f32::from(rgb[c]), f32::from(HAZE[c])) as u8),
            celsius: fade(celsius, 12.0),
        });
    }
}

/// The colour of the air far away.
pub(super) const HAZE: [u8; 3] = [176, 190, 202];
const COATS: [[u8; 3]; 4] = [[176, 52, 44], [232, 180, 52], [46, 86, 148], [224, 108, 40]];
const PAINTS: [[u8; 3]; 4] = [[150, 28, 30], [206, 208, 210], [38, 66, 120], [88, 96, 98]];

/// Spreads the bits of a number over all 32: a finaliser after the manner of MurmurHash3.
pub(super) fn mix(value: u32) -> u32 {
    let mut value = value.wrapping_add(0x9e37_79b9);
    value = (value ^ value >> 16).wrapping_mul(0x85eb_ca6b);
    value = (value ^ value >> 13).wrapping_mul(0xc2b2_ae35);
    value ^ value >> 16
}
