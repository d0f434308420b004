//! Decode and prefill speed of a model: tokens a second, and tokens a CPU-second beside it.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)]

use std::time::Instant;

use cortex_engine::{Engine, LoadOptions, Loader, SamplingParams};

/// CPU time of the whole process in seconds.
fn cpu_seconds() -> f64 {
    // SAFETY: a zeroed timespec is valid, and clock_gettime fills it.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: as above; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Runs all prompts at once to their end; gives the slowest prefill and decode seconds.
fn run(engine: &Engine, prompts: &[Vec<u32>], tokens: usize) -> (f64, f64) {
    let params = SamplingParams {
        ignore_eos: true,
        ..SamplingParams::greedy(tokens)
    };
    for prompt in prompts {
        engine.submit(prompt.clone(), params.clone()).unwrap();
    }
    let mut left = prompts.len();
    let (mut prefill, mut decode) = (0.0_f64, 0.0_f64);
    while left > 0 {
        let mut poll = libc::pollfd {
            fd: engine.fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid pollfd.
        unsafe { libc::poll(&raw mut poll, 1, 60_000) };
        for ending in engine.drain().into_iter().filter_map(|event| event.ending) {
            left -= 1;
            prefill = prefill.max(ending.prefill_seconds);
            decode = decode.max(ending.decode_seconds);
        }
    }
    (prefill, decode)
}

fn prompt(salt: u32, length: u32) -> Vec<u32> {
    (0..length)
        .map(|i| 100 + (i * 7919 + salt * 104_729) % 40_000)
        .collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .expect("usage: speed MODEL [THREADS] [BATCH] [ROUNDS]");
    let mut number = |default: usize| {
        arguments
            .next()
            .map_or(default, |text| text.parse().expect("a number"))
    };
    let (threads, batch, rounds) = (number(1), number(1), number(5));
    let mut options = LoadOptions::new(path);
    options.threads = Some(threads);
    options.max_sequences = batch.max(1);
    let start = Instant::now();
    let engine = Loader::new(options).run().expect("the model loads");
    println!(
        "{} {} on {} threads, {}",
        engine.info().name,
        engine.info().quantisation,
        threads,
        engine.info().simd
    );
    println!("load      {:8.2} s", start.elapsed().as_secs_f64());
    let (mut prefill, mut prefill_cpu, mut decode, mut decode_cpu) =
        (vec![], vec![], vec![], vec![]);
    let new_tokens = 128;
    for round in 0..rounds as u32 {
        let cpu = cpu_seconds();
        let (seconds, _) = run(&engine, &[prompt(round * 1000 + 1, 512)], 1);
        prefill.push(512.0 / seconds);
        prefill_cpu.push(512.0 / (cpu_seconds() - cpu));
        let prompts: Vec<_> = (0..batch as u32)
            .map(|n| prompt(round * 1000 + 2 + n, 8))
            .collect();
        let cpu = cpu_seconds();
        let start = Instant::now();
        run(&engine, &prompts, new_tokens);
        let made = (batch * new_tokens) as f64;
        decode.push(made / start.elapsed().as_secs_f64());
        decode_cpu.push(made / (cpu_seconds() - cpu));
    }
    println!(
        "prefill   {:8.1} tok/s {:8.1} tok/CPU-s (512 tokens)",
        median(prefill),
        median(prefill_cpu)
    );
    println!(
        "decode    {:8.1} tok/s {:8.1} tok/CPU-s (batch {batch})",
        median(decode),
        median(decode_cpu)
    );
}
