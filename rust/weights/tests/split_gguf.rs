//! Split GGUF models: joined when complete, refused clearly when not.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::*;
use cortex_weights::{Gguf, ModelFile};

fn part(number: u16, count: u16, total: i32) -> Draft {
    let mut draft = Draft::valid();
    draft
        .metadata
        .push(entry("split.no", U16, &number.to_le_bytes()));
    draft
        .metadata
        .push(entry("split.count", U16, &count.to_le_bytes()));
    draft
        .metadata
        .push(entry("split.tensors.count", I32, &total.to_le_bytes()));
    for tensor in &mut draft.tensors {
        let name = String::from_utf8(tensor.name[8..].to_vec()).unwrap();
        tensor.name = text(&format!("{name}.{number}"));
    }
    draft
}

fn name(number: usize, count: usize) -> String {
    format!("model-{number:05}-of-{count:05}.gguf")
}

fn two_parts() -> Folder {
    let folder = Folder::new();
    folder.write(&name(1, 2), part(0, 2, 6).bytes());
    folder.write(&name(2, 2), part(1, 2, 6).bytes());
    folder
}

fn refused(folder: &Folder, file: &str, expected: &str) {
    let message = Gguf::open(folder.path().join(file))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains(expected),
        "{message:?} does not say {expected:?}"
    );
}

#[test]
fn any_part_opens_the_whole_model() {
    let folder = two_parts();
    let paths = [
        folder.path().join(name(1, 2)),
        folder.path().join(name(2, 2)),
        folder.path().to_path_buf(),
    ];
    for path in paths {
        let model = ModelFile::open(path).unwrap();
        assert_eq!(model.tensors().len(), 6);
        let second = model.tensor("second.1").unwrap();
        assert_eq!(model.data(second), (32..44).collect::<Vec<u8>>());
    }
}

#[test]
fn incomplete_or_mixed_splits_are_refused() {
    let folder = two_parts();
    std::fs::remove_file(folder.path().join(name(2, 2))).unwrap();
    refused(&folder, &name(1, 2), &name(2, 2));

    let folder = two_parts();
    folder.write(&name(2, 2), part(0, 2, 6).bytes());
    refused(&folder, &name(1, 2), "header says part 1 of 2");

    let folder = two_parts();
    folder.write(&name(2, 2), part(1, 3, 6).bytes());
    refused(&folder, &name(1, 2), "header says part 2 of 3");

    let folder = two_parts();
    folder.write(&name(2, 2), Draft::valid().bytes());
    refused(&folder, &name(1, 2), "does not say that it is split");

    let folder = two_parts();
    folder.write(&name(1, 2), part(0, 2, 7).bytes());
    refused(&folder, &name(1, 2), "should have 7 tensors");

    let mut again = part(1, 2, 6);
    again.tensors[0].name = text("first.0");
    let folder = two_parts();
    folder.write(&name(2, 2), again.bytes());
    refused(&folder, &name(1, 2), "occurs twice");

    let folder = two_parts();
    folder.write("renamed.gguf", part(0, 2, 6).bytes());
    refused(&folder, "renamed.gguf", "keep the names");
    assert!(Gguf::parse(part(0, 2, 6).bytes()).is_err());

    let mut lying = part(0, 2, 6);
    lying.metadata[8] = entry("split.no", U64, &u64::MAX.to_le_bytes());
    let folder = two_parts();
    folder.write(&name(1, 2), lying.bytes());
    refused(&folder, &name(1, 2), "header says part");
}

#[test]
fn a_folder_with_several_models_asks_for_one() {
    let folder = two_parts();
    folder.write("mmproj-model.gguf", Draft::valid().bytes());
    assert!(ModelFile::open(folder.path()).is_ok());
    folder.write("other.gguf", Draft::valid().bytes());
    let message = ModelFile::open(folder.path()).unwrap_err().to_string();
    assert!(
        message.contains("other.gguf") && message.contains("name one"),
        "{message}"
    );
}
