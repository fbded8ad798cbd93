//! PNG: a signature and chunks, each with its length and checksum.

use super::step::{Step, Walk, be32, length};
use super::{Kind, Why};

pub(super) const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

#[derive(Debug, Default)]
pub(super) struct Png {
    /// Where the next chunk begins.
    at: usize,
    has_pixels: bool,
    is_animation: bool,
    /// The end of the chunk whose checksum is wrong.
    claimed: usize,
}

impl Walk for Png {
    fn step(&mut self, data: &[u8]) -> Step {
        if data.len() < SIGNATURE.len() {
            return Step::More(SIGNATURE.len());
        }
        self.at = self.at.max(SIGNATURE.len());
        loop {
            let at = self.at;
            let Some(head) = data.get(at..at + 8) else { return Step::More(at + 12) };
            let (Some(stated), Some(name)) = (be32(head, 0), head[4..].first_chunk::<4>()) else {
                return Step::More(at + 12);
            };
            if let Some(what) = self.fault(stated, name) {
                return Step::Bad(Why::Damaged(what), at.max(SIGNATURE.len()));
            }
            let end = at.saturating_add(12).saturating_add(length(u64::from(stated)));
            if data.len() < end {
                return Step::More(end);
            }
            if be32(data, end - 4) != Some(crc32fast::hash(&data[at + 4..end - 4])) {
                self.claimed = end;
                return Step::Bad(Why::Damaged("a PNG chunk's checksum is wrong"), at + 8);
            }
            match name {
                // Without end, as a pipe has it: nothing but the next animation can follow.
                b"acTL" if be32(data, at + 8) == Some(u32::MAX) => {
                    self.claimed = usize::MAX >> 1;
                    return Step::Bad(Why::Animation, end);
                }
                b"acTL" => self.is_animation = be32(data, at + 8) != Some(1),
                b"IDAT" => self.has_pixels = true,
                b"IEND" if !self.has_pixels => {
                    return Step::Bad(Why::Damaged("the PNG has no pixels"), end);
                }
                b"IEND" if self.is_animation => return Step::Bad(Why::Animation, end),
                b"IEND" => return Step::End(end),
                _ => {}
            }
            self.at = end;
        }
    }

    fn kind(&self) -> Kind {
        Kind::Png
    }

    fn torn_at(&self) -> usize {
        (self.at + 8).max(SIGNATURE.len())
    }

    fn claimed(&self) -> usize {
        self.claimed
    }
}

impl Png {
    fn fault(&self, stated: u32, name: &[u8; 4]) -> Option<&'static str> {
        if stated > i32::MAX as u32 || !name.iter().all(u8::is_ascii_alphabetic) {
            return Some("what should be a PNG chunk is none");
        }
        // Apple's tools put a chunk of their own in front.
        let is_head = (name == b"IHDR" && stated == 13) || name == b"CgBI";
        (self.at == SIGNATURE.len() && !is_head).then_some("the PNG does not begin with its header")
    }
}
