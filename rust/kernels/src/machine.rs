//! What the machine can do at best: the measure of how good a kernel is.

use std::sync::Mutex;
use std::time::Instant;

use crate::matmul::{Piece, multiply_adds};
use crate::simd::simd_level;
use crate::{Pool, SimdLevel};

/// Bytes that each thread reads: more than the caches hold.
const BYTES: usize = 96 << 20;
/// Repetitions, of which the best counts.
const ROUNDS: usize = 5;
/// Bytes of one read; the compiler makes vectors of it.
const LINE: usize = 64;

/// Bytes and multiply-adds a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// Threads that were measured together.
    pub threads: usize,
    /// Instructions of the multiply-adds.
    pub level: SimdLevel,
    /// Bytes read from memory.
    pub bytes_per_second: f64,
    /// Products of 8-bit numbers, added up.
    pub multiply_adds_per_second: f64,
}

impl Machine {
    /// Measure what all threads of a pool do together; takes about half a second.
    pub fn measure(pool: &Pool) -> Self {
        let (threads, level) = (pool.threads(), simd_level());
        Self {
            threads,
            level,
            bytes_per_second: reading(pool),
            multiply_adds_per_second: best(pool, &|_| multiply_adds(level)),
        }
    }
}

/// The best rate of `work`, which says how much it did, on all threads.
fn best(pool: &Pool, work: &(dyn Fn(usize) -> u64 + Sync)) -> f64 {
    let rounds = (0..ROUNDS).map(|_| {
        let done = Mutex::new(0);
        let start = Instant::now();
        pool.run(pool.threads(), &|thread| {
            let own = work(thread);
            if let Ok(mut done) = done.lock() {
                *done += own;
            }
        });
        let seconds = start.elapsed().as_secs_f64();
        done.into_inner().unwrap_or(0) as f64 / seconds
    });
    rounds.fold(0.0, f64::max)
}

fn reading(pool: &Pool) -> f64 {
    let pieces = (0..pool.threads()).map_while(|_| Piece::<u8>::zeros(BYTES));
    let pieces: Vec<_> = pieces.collect();
    best(pool, &|thread| {
        let Some(piece) = pieces.get(thread) else {
            return 0;
        };
        std::hint::black_box(sum(piece));
        piece.bytes() as u64
    })
}

/// Reads all bytes.
fn sum(bytes: &[u8]) -> u64 {
    let mut lanes = [0_u64; LINE / 8];
    let (lines, _) = bytes.as_chunks::<LINE>();
    for line in lines {
        let (words, _) = line.as_chunks::<8>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane = lane.wrapping_add(u64::from_le_bytes(*word));
        }
    }
    lanes.iter().fold(0, |sum, lane| sum.wrapping_add(*lane))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_read() {
        let mut bytes = vec![0; 640];
        for place in 0..bytes.len() {
            bytes[place] = 1;
            assert_eq!(sum(&bytes), 1 << (8 * (place % 8)));
            bytes[place] = 0;
        }
    }

    #[test]
    fn a_machine_has_rates() {
        let machine = Machine::measure(&Pool::new(1));
        assert!(machine.bytes_per_second > 1e8);
        assert!(machine.multiply_adds_per_second > 1e8);
        assert_eq!(machine.threads, 1);
    }
}
