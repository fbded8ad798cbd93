//! What a run sends.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use framelane::compare::{CAMERAS, Camera, Coming, CompareError, Workload};
use framelane::link::LinkSpec;
use framelane::repair::RepairMode;
use framelane::sender::Pace;
use framelane::source::synthetic::Kind;

/// Frames a second from each camera.
pub(crate) const FPS: f64 = 30.0;
/// Payload's share of a packet, as the limit counts it.
pub(crate) const PAYLOAD_SHARE: f64 = framelane::compare::limit::PAYLOAD_SHARE;
/// The frames of bulk: large, so that what is measured is the link and not their number.
const BULK: Camera = Camera { name: "bulk", kind: Kind::Visible, bytes: 200_000 };
/// Fewer say nothing.
const FEWEST_FRAMES: u64 = 10;
/// Generated frames are the same in every measurement; only the links' chance differs.
const FRAME_SEED: u64 = 1;

/// What a run sends, not yet made.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) cameras: Vec<Camera>,
    pace: Pace,
    frames: u64,
    repair: RepairMode,
}

impl Load {
    /// Visible 60 kB and infrared 20 kB, 30 frames/s each.
    pub(crate) fn live(seconds: f64) -> Self {
        Self::of(&CAMERAS, seconds)
    }

    /// These cameras, 30 frames/s each.
    pub(crate) fn of(cameras: &[Camera], seconds: f64) -> Self {
        let frames = ((seconds * FPS).round() as u64).max(FEWEST_FRAMES);
        let (pace, repair) = (Pace::PerSecond(FPS), RepairMode::Auto);
        Self { cameras: cameras.to_vec(), pace, frames, repair }
    }

    /// Frames of 200 kB, all due at once, that take about so long at this payload rate.
    pub(crate) fn bulk(seconds: f64, mbit: f64) -> Self {
        let frames = seconds * mbit * 1e6 / 8.0 / BULK.bytes as f64;
        let frames = (frames.round() as u64).max(FEWEST_FRAMES);
        Self { cameras: vec![BULK], pace: Pace::Bulk, frames, repair: RepairMode::Auto }
    }

    pub(crate) fn without_repair(self) -> Self {
        Self { repair: RepairMode::Off, ..self }
    }

    /// What another build's `compare` is asked for; `None` where it has no words for it.
    pub(crate) fn arguments(&self, coming: Coming, knows_cameras: bool) -> Option<Vec<String>> {
        if self.is_bulk() || self.cameras != CAMERAS {
            return None;
        }
        let mut arguments: Vec<String> =
            ["--frames", &self.frames.to_string(), "--fps", &FPS.to_string()]
                .map(str::to_owned)
                .into();
        if self.repair != RepairMode::Auto {
            arguments.extend(["--repair".to_owned(), self.repair.to_string()]);
        }
        if knows_cameras && coming == Coming::AsFolder {
            arguments.push("--as-folder".to_owned());
        }
        Some(arguments)
    }

    pub(crate) fn is_bulk(&self) -> bool {
        self.pace == Pace::Bulk
    }

    /// What all cameras offer, payload.
    pub(crate) fn mbit(&self) -> f64 {
        let bytes: usize = self.cameras.iter().map(|camera| camera.bytes).sum();
        bytes as f64 * FPS * 8e-6
    }

    /// L0 of each camera in ms: propagation, and sending what is due up to and with its frame, the
    /// smaller first. Each frame must have left before the next is due.
    pub(crate) fn undisturbed_ms(&self, link: &LinkSpec) -> Vec<(Camera, f64)> {
        let bytes_per_ms = link.up.rate().map_or(f64::INFINITY, |rate| rate.0 as f64 / 8e3);
        let up_to = |camera: &Camera| {
            let before = self.cameras.iter().filter(|other| other.bytes <= camera.bytes);
            before.map(|other| other.bytes).sum::<usize>() as f64
        };
        let propagation = link.up.one_way_delay().as_secs_f64() * 1e3;
        let undisturbed =
            |camera: &Camera| propagation + up_to(camera) / (PAYLOAD_SHARE * bytes_per_ms);
        self.cameras.iter().map(|camera| (*camera, undisturbed(camera))).collect()
    }
}

/// Frames that are made once, however many runs send them.
pub(crate) struct Frames {
    coming: Coming,
    made: Mutex<HashMap<Vec<Camera>, Workload>>,
}

impl Frames {
    /// Live ones are there since then.
    pub(crate) fn new(coming: Coming) -> Self {
        Self { coming, made: Mutex::default() }
    }

    pub(crate) fn coming(&self) -> Coming {
        self.coming
    }

    pub(crate) fn workload(&self, load: &Load) -> Result<Workload, CompareError> {
        // As many as differ, which a longer workload repeats.
        const MADE: u64 = 10;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let some = match made.get(&load.cameras) {
            Some(some) => some.clone(),
            None => Workload::of_cameras(load.pace, MADE, &load.cameras, FRAME_SEED)?,
        };
        let workload = some.paced(load.pace, load.frames).with_repair(load.repair);
        let workload = workload.with_coming(self.coming);
        made.entry(load.cameras.clone()).or_insert(some);
        Ok(workload)
    }
}
