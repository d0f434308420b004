//! Loading and unloading again and again leaves no memory and no thread behind; alone in its process.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::client::load;
use common::own_model;
use cortex_engine::SamplingParams;

fn status(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn cycle() {
    let mut client = load(&own_model().join("model-q4_1.gguf"), |_| {});
    let prompt: Vec<u32> = (10..60).collect();
    let answer = client.ask(&prompt, &SamplingParams::greedy(8));
    assert!(answer.ending.is_some());
    client.engine.close();
}

#[test]
fn a_thousand_cycles_leave_nothing_behind() {
    for _ in 0..5 {
        cycle();
    }
    let (memory, threads) = (status("VmRSS:"), status("Threads:"));
    for _ in 0..1000 {
        cycle();
    }
    let grown = status("VmRSS:").saturating_sub(memory);
    assert!(grown < 2048, "{grown} KiB more after 1,000 cycles");
    assert_eq!(status("Threads:"), threads);
}
