//! The tokenizer keys of a GGUF file, read with no more care than a test needs.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use cortex_text::GgufVocab;

enum Entry {
    Integer(u64),
    Float(f32),
    Text(String),
    List(Vec<Entry>),
}

struct Reader(BufReader<File>);

impl Reader {
    fn little(&mut self, size: usize) -> u64 {
        let mut bytes = [0; 8];
        self.0.read_exact(&mut bytes[..size]).unwrap();
        u64::from_le_bytes(bytes)
    }

    fn text(&mut self) -> String {
        let mut bytes = vec![0; self.little(8) as usize];
        self.0.read_exact(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn entry(&mut self, kind: u64) -> Entry {
        match kind {
            0 | 1 | 7 => Entry::Integer(self.little(1)),
            2 | 3 => Entry::Integer(self.little(2)),
            4 | 5 => Entry::Integer(self.little(4)),
            6 => Entry::Float(f32::from_bits(self.little(4) as u32)),
            8 => Entry::Text(self.text()),
            9 => {
                let (kind, count) = (self.little(4), self.little(8));
                Entry::List((0..count).map(|_| self.entry(kind)).collect())
            }
            10..=12 => Entry::Integer(self.little(8)),
            _ => panic!("value of kind {kind}"),
        }
    }
}

/// The tokenizer's entries, without what all their keys begin with.
fn entries(path: &Path) -> HashMap<String, Entry> {
    let mut reader = Reader(BufReader::new(File::open(path).unwrap()));
    assert_eq!(reader.little(4), u64::from(u32::from_le_bytes(*b"GGUF")));
    let (_version, _tensors, count) = (reader.little(4), reader.little(8), reader.little(8));
    let mut keys = HashMap::new();
    for _ in 0..count {
        let name = reader.text();
        let kind = reader.little(4);
        let entry = reader.entry(kind);
        if let Some(name) = name.strip_prefix("tokenizer.ggml.") {
            keys.insert(name.to_owned(), entry);
        }
    }
    keys
}

fn number(entry: &Entry) -> f32 {
    match entry {
        Entry::Float(number) => *number,
        Entry::Integer(number) => *number as f32,
        _ => panic!("no number"),
    }
}

/// The vocabulary of a file.
pub fn vocabulary(path: &Path) -> GgufVocab {
    let keys = entries(path);
    let text = |name: &str| match keys.get(name) {
        Some(Entry::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let integer = |name: &str| match keys.get(name) {
        Some(&Entry::Integer(value)) => Some(value as u32),
        _ => None,
    };
    let list = |name: &str| match keys.get(name) {
        Some(Entry::List(list)) => Some(list.iter()),
        _ => None,
    };
    let texts = |name: &str| {
        let texts = list(name).into_iter().flatten().map(|entry| match entry {
            Entry::Text(text) => text.clone(),
            _ => panic!("{name} holds no texts"),
        });
        texts.collect::<Vec<String>>()
    };
    GgufVocab {
        model: text("model").unwrap(),
        pre: text("pre"),
        tokens: texts("tokens"),
        merges: texts("merges"),
        scores: list("scores").map(|list| list.map(number).collect()),
        token_types: list("token_type").map(|list| list.map(|kind| number(kind) as i32).collect()),
        bos: integer("bos_token_id"),
        eos: integer("eos_token_id"),
        unk: integer("unknown_token_id"),
        eot: integer("eot_token_id"),
        eom: integer("eom_token_id"),
        cls: integer("cls_token_id"),
        sep: integer("seperator_token_id"),
        lowercase: integer("normalizer.lowercase").map(|flag| flag == 1),
        add_bos: integer("add_bos_token").map(|flag| flag == 1),
        add_eos: integer("add_eos_token").map(|flag| flag == 1),
        add_space_prefix: integer("add_space_prefix").map(|flag| flag == 1),
    }
}
