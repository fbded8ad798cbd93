//! The erasure code: a body's repair shards, and a body from enough shards.

use reed_solomon_simd::Error;
use reed_solomon_simd::rate::{DefaultRateDecoder, DefaultRateEncoder, RateDecoder, RateEncoder};

use super::encoding::EncodingEngine;
use super::engine::ShortEngine;
use super::{Plan, RepairError};

/// The repair shards of `body`, one after another: `plan.repair_len()` bytes.
///
/// Working memory is about twice the body.
///
/// # Errors
/// [`RepairError::OtherBody`] if the plan is not this body's.
pub fn encode(body: &[u8], plan: &Plan) -> Result<Vec<u8>, RepairError> {
    if body.len() != plan.body_len() {
        return Err(RepairError::OtherBody { given: body.len(), planned: plan.body_len() });
    }
    let (data, repair) = (plan.data_shards(), plan.repair_shards());
    let engine = EncodingEngine::default();
    let mut encoder = DefaultRateEncoder::new(data, repair, plan.shard_len(), engine, None)
        .map_err(code_failed)?;
    let whole = body.chunks_exact(plan.shard_len());
    let rest = whole.remainder();
    for shard in whole {
        encoder.add_original_shard(shard).map_err(code_failed)?;
    }
    if !rest.is_empty() {
        let mut padded = vec![0; plan.shard_len()];
        padded[..rest.len()].copy_from_slice(rest);
        encoder.add_original_shard(&padded).map_err(code_failed)?;
    }
    let encoded = encoder.encode().map_err(code_failed)?;
    let mut repair = Vec::with_capacity(plan.repair_len());
    for shard in encoded.recovery_iter() {
        repair.extend_from_slice(shard);
    }
    Ok(repair)
}

/// Builds the code's tables (some 35 ms, once a process), so that no frame waits for them.
pub fn warm_up() {
    let body = [1; 8];
    let outcome = Plan::new(8, 2, 2).and_then(|plan| {
        let repair = encode(&body, &plan)?;
        let mut mending = Mending::new(&plan)?;
        for index in 2..4 {
            mending.data(index, &body[2 * index..2 * index + 2])?;
        }
        for index in 0..2 {
            mending.repair(index, &repair[2 * index..2 * index + 2])?;
        }
        mending.finish()
    });
    debug_assert!(outcome.is_ok_and(|mended| mended == body));
}

/// A body being put together from whole shards.
pub(super) struct Mending {
    decoder: DefaultRateDecoder<ShortEngine>,
    plan: Plan,
    /// The data shards, room for the padding included.
    shards: Vec<u8>,
}

impl Mending {
    pub(super) fn new(plan: &Plan) -> Result<Self, RepairError> {
        let (data, repair) = (plan.data_shards(), plan.repair_shards());
        let engine = ShortEngine::default();
        let decoder = DefaultRateDecoder::new(data, repair, plan.shard_len(), engine, None)
            .map_err(code_failed)?;
        let shards = vec![0; plan.data_shards() * plan.shard_len()];
        Ok(Self { decoder, plan: *plan, shards })
    }

    /// Adds data shard `index`; the last one may come without its padding.
    pub(super) fn data(&mut self, index: usize, shard: &[u8]) -> Result<(), RepairError> {
        let start = index * self.plan.shard_len();
        let whole = &mut self.shards[start..start + self.plan.shard_len()];
        whole[..shard.len()].copy_from_slice(shard);
        self.decoder.add_original_shard(index, whole).map_err(code_failed)
    }

    /// Adds repair shard `index`.
    pub(super) fn repair(&mut self, index: usize, shard: &[u8]) -> Result<(), RepairError> {
        self.decoder.add_recovery_shard(index, shard).map_err(code_failed)
    }

    /// The body.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, RepairError> {
        let decoded = self.decoder.decode().map_err(code_failed)?;
        for (index, shard) in decoded.restored_original_iter() {
            let start = index * self.plan.shard_len();
            self.shards[start..start + shard.len()].copy_from_slice(shard);
        }
        self.shards.truncate(self.plan.body_len());
        Ok(self.shards)
    }
}

fn code_failed(error: Error) -> RepairError {
    RepairError::Code(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body of the golden bytes: 0, 7, 14, ... modulo 251.
    fn golden_body(len: usize) -> Vec<u8> {
        (0..len).map(|index| (index * 7 % 251) as u8).collect()
    }

    #[test]
    fn golden_bytes() {
        let plan = Plan::new(21, 4, 3).unwrap();
        let repair = encode(&golden_body(21), &plan).unwrap();
        assert_eq!(hex(&repair), "b9bca00cbf316fd22da848ba");
    }

    #[test]
    fn golden_hash_of_a_frame() {
        let plan = Plan::new(60_000, 176, 64).unwrap();
        let repair = encode(&golden_body(60_000), &plan).unwrap();
        assert_eq!(repair.len(), 64 * 176);
        assert_eq!(
            blake3::hash(&repair).to_hex().as_str(),
            "3ac5b867257622df8e7af191ee6bec0c30b9e4e22dbd9feef33439533ffd4cfa"
        );
    }

    #[test]
    fn another_body_is_refused() {
        let plan = Plan::new(21, 4, 3).unwrap();
        assert_eq!(encode(&[0; 20], &plan), Err(RepairError::OtherBody { given: 20, planned: 21 }));
    }

    #[test]
    fn any_k_of_the_shards_do() {
        let plan = Plan::new(21, 4, 3).unwrap();
        let body = golden_body(21);
        let repair = encode(&body, &plan).unwrap();
        let shards: Vec<&[u8]> = body.chunks(4).chain(repair.chunks(4)).collect();
        for present in 0u32..1 << 9 {
            if present.count_ones() != 6 {
                continue;
            }
            let mut mending = Mending::new(&plan).unwrap();
            for (index, shard) in shards.iter().enumerate() {
                match index {
                    _ if present & 1 << index == 0 => {}
                    0..6 => mending.data(index, shard).unwrap(),
                    _ => mending.repair(index - 6, shard).unwrap(),
                }
            }
            assert_eq!(mending.finish().unwrap(), body, "shards {present:b}");
        }
    }

    #[test]
    fn warming_up_works() {
        warm_up();
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
