//! The erasure code's arithmetic for encoding, with small tables.
//!
//! The crate's engines multiply by tables of 8 MiB, a line for each of the 65,536 numbers that there are. That is a third of
//! what a sender on a small board has, and takes 35 ms to fill while the first frame with repair waits. To encode,
//! only the numbers at the places of a code's shards are needed: a hundred or a thousand lines, which are made when
//! they are asked for. The result is the same, byte for byte.

use std::sync::OnceLock;

use reed_solomon_simd::engine::tables::{self, ExpLog, Skew, get_exp_log, get_skew};
use reed_solomon_simd::engine::{Engine, GF_MODULUS, GfElement, ShardsRefMut, utils};

/// Lines that are made at once.
const BLOCK: usize = 64;
/// Blocks of all places that a code can have.
const BLOCKS: usize = 65_536 / BLOCK;

/// The products of one number and each four bits of another: their low bytes, and their high ones.
#[derive(Debug, Clone, Copy)]
struct Line {
    low: [[u8; 16]; 4],
    high: [[u8; 16]; 4],
}

/// Both halves of some elements: 32 low bytes, and 32 high ones.
type Chunk = [u8; 64];

/// Multiplies as the crate's engines do, with tables of its own.
#[derive(Clone, Copy)]
pub(super) struct EncodingEngine {
    logs: &'static ExpLog,
    skew: &'static Skew,
    arithmetic: Arithmetic,
}

/// How elements are multiplied on this processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arithmetic {
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    Neon,
    Plain,
}

impl Default for EncodingEngine {
    fn default() -> Self {
        Self { logs: get_exp_log(), skew: get_skew(), arithmetic: Arithmetic::of_processor() }
    }
}

impl Arithmetic {
    fn of_processor() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") {
            return Self::Avx2;
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            return Self::Neon;
        }
        Self::Plain
    }
}

/// A layer's step: to the end or to the beginning, where the second shard is multiplied by the line or not at all.
type Step = (bool, Option<&'static Line>);

impl EncodingEngine {
    /// The line for the number at a place of the code; `None` where there is nothing to multiply.
    fn line(&self, place: usize) -> Option<&'static Line> {
        static LINES: [OnceLock<Box<[Line]>>; BLOCKS] = [const { OnceLock::new() }; BLOCKS];
        if self.skew[place] == GF_MODULUS {
            return None;
        }
        let (block, at) = (place / BLOCK, place % BLOCK);
        let lines = LINES[block].get_or_init(|| {
            let places = self.skew.iter().skip(block * BLOCK).take(BLOCK);
            places.map(|number| self.make(*number)).collect()
        });
        lines.get(at)
    }

    fn make(&self, number: GfElement) -> Line {
        let mut line = Line { low: [[0; 16]; 4], high: [[0; 16]; 4] };
        for (place, (low, high)) in line.low.iter_mut().zip(&mut line.high).enumerate() {
            for (bits, (low, high)) in (0_u16..).zip(low.iter_mut().zip(high)) {
                let value = bits << (4 * place);
                [*low, *high] = self.product(value, number).to_le_bytes();
            }
        }
        line
    }

    fn product(&self, value: GfElement, number: GfElement) -> GfElement {
        tables::mul(value, number, &self.logs.exp, &self.logs.log)
    }

    /// One step of two shards.
    fn step(&self, first: &mut [Chunk], second: &mut [Chunk], step: Step) {
        match (self.arithmetic, step) {
            (_, (_, None)) => utils::xor(second, first),
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "what a processor has is known when the program runs")]
            (Arithmetic::Avx2, (forward, Some(line))) => {
                // SAFETY: it was looked whether this processor has AVX2.
                unsafe { avx2::step(first, second, forward, line) }
            }
            #[cfg(target_arch = "aarch64")]
            #[expect(unsafe_code, reason = "what a processor has is known when the program runs")]
            (Arithmetic::Neon, (forward, Some(line))) => {
                // SAFETY: it was looked whether this processor has Neon.
                unsafe { neon::step(first, second, forward, line) }
            }
            (Arithmetic::Plain, (forward, Some(line))) => plain(first, second, forward, line),
        }
    }
}

/// A step without anything of the processor's own.
fn plain(first: &mut [Chunk], second: &mut [Chunk], forward: bool, line: &Line) {
    for (first, second) in first.iter_mut().zip(second) {
        if !forward {
            second.iter_mut().zip(&*first).for_each(|(second, first)| *second ^= first);
        }
        for at in 0..32 {
            let (low, high) = (second[at], second[at + 32]);
            let bits = [low & 15, low >> 4, high & 15, high >> 4].map(usize::from);
            let of = |half: &[[u8; 16]; 4]| {
                half[0][bits[0]] ^ half[1][bits[1]] ^ half[2][bits[2]] ^ half[3][bits[3]]
            };
            first[at] ^= of(&line.low);
            first[at + 32] ^= of(&line.high);
        }
        if forward {
            second.iter_mut().zip(&*first).for_each(|(second, first)| *second ^= first);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{Chunk, Line};

    /// Sixteen bytes, twice.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn twice(bytes: &[u8; 16]) -> __m256i {
        let whole = u128::from_le_bytes(*bytes);
        _mm256_broadcastsi128_si256(_mm_set_epi64x((whole >> 64) as i64, whole as i64))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    #[expect(unsafe_code, reason = "there is no safe load of a register")]
    fn load(bytes: &[u8; 32]) -> __m256i {
        // SAFETY: it reads 32 bytes, wherever they lie.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    #[expect(unsafe_code, reason = "there is no safe store of a register")]
    fn store(bytes: &mut [u8; 32], value: __m256i) {
        // SAFETY: it writes 32 bytes, wherever they lie.
        unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), value) }
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn step(first: &mut [Chunk], second: &mut [Chunk], forward: bool, line: &Line) {
        let (low, high) = (&line.low, &line.high);
        let low = [twice(&low[0]), twice(&low[1]), twice(&low[2]), twice(&low[3])];
        let high = [twice(&high[0]), twice(&high[1]), twice(&high[2]), twice(&high[3])];
        let mask = _mm256_set1_epi8(15);
        for (first, second) in first.iter_mut().zip(second) {
            let ([first_low, first_high], []) = first.as_chunks_mut::<32>() else { return };
            let ([second_low, second_high], []) = second.as_chunks_mut::<32>() else { return };
            let (mut a, mut b) = (load(first_low), load(first_high));
            let (mut c, mut d) = (load(second_low), load(second_high));
            if !forward {
                (c, d) = (_mm256_xor_si256(c, a), _mm256_xor_si256(d, b));
            }
            let bits = [
                _mm256_and_si256(c, mask),
                _mm256_and_si256(_mm256_srli_epi64::<4>(c), mask),
                _mm256_and_si256(d, mask),
                _mm256_and_si256(_mm256_srli_epi64::<4>(d), mask),
            ];
            for place in 0..4 {
                a = _mm256_xor_si256(a, _mm256_shuffle_epi8(low[place], bits[place]));
                b = _mm256_xor_si256(b, _mm256_shuffle_epi8(high[place], bits[place]));
            }
            if forward {
                (c, d) = (_mm256_xor_si256(c, a), _mm256_xor_si256(d, b));
            }
            store(first_low, a);
            store(first_high, b);
            store(second_low, c);
            store(second_high, d);
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::*;

    use super::{Chunk, Line};

    #[target_feature(enable = "neon")]
    #[inline]
    #[expect(unsafe_code, reason = "there is no safe load of a register")]
    fn load(bytes: &[u8; 16]) -> uint8x16_t {
        // SAFETY: it reads 16 bytes, wherever they lie.
        unsafe { vld1q_u8(bytes.as_ptr()) }
    }

    #[target_feature(enable = "neon")]
    #[inline]
    #[expect(unsafe_code, reason = "there is no safe store of a register")]
    fn store(bytes: &mut [u8; 16], value: uint8x16_t) {
        // SAFETY: it writes 16 bytes, wherever they lie.
        unsafe { vst1q_u8(bytes.as_mut_ptr(), value) }
    }

    #[target_feature(enable = "neon")]
    pub(super) fn step(first: &mut [Chunk], second: &mut [Chunk], forward: bool, line: &Line) {
        let (low, high) = (&line.low, &line.high);
        let low = [load(&low[0]), load(&low[1]), load(&low[2]), load(&low[3])];
        let high = [load(&high[0]), load(&high[1]), load(&high[2]), load(&high[3])];
        let mask = vdupq_n_u8(15);
        for (first, second) in first.iter_mut().zip(second) {
            let (first, []) = first.as_chunks_mut::<16>() else { return };
            let (second, []) = second.as_chunks_mut::<16>() else { return };
            // The low halves are in the first two, the high ones in the others.
            for at in 0..2 {
                let (mut a, mut b) = (load(&first[at]), load(&first[at + 2]));
                let (mut c, mut d) = (load(&second[at]), load(&second[at + 2]));
                if !forward {
                    (c, d) = (veorq_u8(c, a), veorq_u8(d, b));
                }
                let bits =
                    [vandq_u8(c, mask), vshrq_n_u8::<4>(c), vandq_u8(d, mask), vshrq_n_u8::<4>(d)];
                for place in 0..4 {
                    a = veorq_u8(a, vqtbl1q_u8(low[place], bits[place]));
                    b = veorq_u8(b, vqtbl1q_u8(high[place], bits[place]));
                }
                if forward {
                    (c, d) = (veorq_u8(c, a), veorq_u8(d, b));
                }
                store(&mut first[at], a);
                store(&mut first[at + 2], b);
                store(&mut second[at], c);
                store(&mut second[at + 2], d);
            }
        }
    }
}

impl Engine for EncodingEngine {
    fn fft(
        &self,
        data: &mut ShardsRefMut,
        pos: usize,
        size: usize,
        truncated_size: usize,
        skew_delta: usize,
    ) {
        let mut dist = size / 2;
        while dist > 0 {
            for start in (0..truncated_size).step_by(2 * dist) {
                let line = self.line(start + dist + skew_delta - 1);
                for place in start..start + dist {
                    let (first, second) = data.dist2_mut(pos + place, dist);
                    self.step(first, second, (true, line));
                }
            }
            dist /= 2;
        }
    }

    fn ifft(
        &self,
        data: &mut ShardsRefMut,
        pos: usize,
        size: usize,
        truncated_size: usize,
        skew_delta: usize,
    ) {
        let mut dist = 1;
        while dist < size {
            for start in (0..truncated_size).step_by(2 * dist) {
                let line = self.line(start + dist + skew_delta - 1);
                for place in start..start + dist {
                    let (first, second) = data.dist2_mut(pos + place, dist);
                    self.step(first, second, (false, line));
                }
            }
            dist *= 2;
        }
    }

    /// Only decoding needs it.
    fn mul(&self, x: &mut [Chunk], log_m: GfElement) {
        for chunk in x {
            for at in 0..32 {
                let value = u16::from_le_bytes([chunk[at], chunk[at + 32]]);
                [chunk[at], chunk[at + 32]] = self.product(value, log_m).to_le_bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use reed_solomon_simd::engine::DefaultEngine;
    use reed_solomon_simd::rate::{DefaultRateEncoder, RateEncoder};

    use super::*;

    fn encoded<E: Engine>(engine: E, data: usize, repair: usize, shard: usize) -> Vec<u8> {
        let mut encoder = DefaultRateEncoder::new(data, repair, shard, engine, None).unwrap();
        for index in 0..data {
            let mut bytes = vec![0; shard];
            let number = (index as u64).to_be_bytes();
            blake3::Hasher::new().update(&number).finalize_xof().fill(&mut bytes);
            encoder.add_original_shard(bytes).unwrap();
        }
        encoder.encode().unwrap().recovery_iter().flatten().copied().collect()
    }

    #[test]
    fn encodes_what_the_crate_encodes() {
        let codes = [
            (1, 1, 2),
            (2, 3, 64),
            (3, 2, 66),
            (60, 7, 1_200),
            (7, 60, 128),
            (938, 94, 64),
            (94, 938, 64),
            (1_000, 1_000, 30),
            (3_000, 17, 64),
        ];
        for (data, repair, shard) in codes {
            let wanted = encoded(DefaultEngine::new(), data, repair, shard);
            for arithmetic in [Arithmetic::of_processor(), Arithmetic::Plain] {
                let engine = EncodingEngine { arithmetic, ..EncodingEngine::default() };
                let same = encoded(engine, data, repair, shard) == wanted;
                assert!(same, "{data} and {repair} shards of {shard} bytes, {arithmetic:?}");
            }
        }
    }
}
