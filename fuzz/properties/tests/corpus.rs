//! Runs every target on its corpus and on mutations of it, and compares the lists of targets.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

use pyzord_properties::TARGETS;

/// Mutations per target. Targets with files have fewer: each takes some milliseconds.
const MUTATIONS: u64 = 4000;
const MUTATIONS_OF_FILES: u64 = 300;
/// The longest mutated input, in bytes.
const LONGEST: usize = 4096;

type Body = fn(&[u8]);

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&fuzz().join("corpus")), known);
    assert_eq!(names(&fuzz().join("fuzz_targets")), known);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let binaries = manifest.split("[[bin]]").skip(1).filter_map(|binary| binary.split('"').nth(1));
    assert_eq!(binaries.map(str::to_owned).collect::<BTreeSet<_>>(), known);
    for name in &known {
        assert!(!corpus(name).is_empty(), "the target {name} has no corpus");
    }
}

#[test]
fn every_target_holds_on_its_corpus() {
    for (name, body) in TARGETS {
        for (file, input) in corpus(name) {
            holds(*body, &input, &format!("{name} on {}", file.display()));
        }
    }
}

#[test]
fn every_target_holds_on_mutations_of_its_corpus() {
    for (name, body) in TARGETS {
        let corpus: Vec<Vec<u8>> = corpus(name).into_iter().map(|(_, input)| input).collect();
        let mutations = if name.ends_with("_file") { MUTATIONS_OF_FILES } else { MUTATIONS };
        for seed in 0..mutations {
            let input = mutated(&corpus, &mut Random(seed));
            holds(*body, &input, &format!("{name} on mutation {seed}, {}", input.escape_ascii()));
        }
    }
}

fn holds(body: Body, input: &[u8], what: &str) {
    assert!(panic::catch_unwind(|| body(input)).is_ok(), "{what}");
}

/// The folder of the fuzz targets.
fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    fs::read_dir(folder).unwrap().map(|entry| stem(entry.unwrap().path())).collect()
}

/// Returns the corpus of a target, ordered by file names.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(fuzz().join("corpus").join(target)).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort_unstable();
    files.into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

/// `SplitMix64`: a seed determines the numbers.
struct Random(u64);

impl Random {
    /// Returns a number below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ mixed >> 31) % end.max(1) as u64).unwrap()
    }

    fn choose<'a>(&mut self, inputs: &'a [Vec<u8>]) -> &'a [u8] {
        inputs.get(self.below(inputs.len())).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    /// Returns a part of a text.
    fn part<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
        let start = self.below(text.len() + 1);
        let end = start + self.below(text.len() - start + 1);
        text.get(start..end).unwrap()
    }
}

/// Returns an input of the corpus with a few changes: bytes changed, inserted or removed, and parts of other inputs
/// inserted.
fn mutated(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = random.choose(corpus).to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let (change, byte) = (random.below(5), random.byte());
        match (change, input.get_mut(at)) {
            (0, Some(there)) => *there = byte,
            (1, Some(there)) => *there ^= 1 << (byte % 8),
            (2, Some(_)) => drop(input.remove(at)),
            (3, _) => input.insert(at, byte),
            _ => {
                let other = random.choose(corpus);
                input.splice(at..at, random.part(other).iter().copied());
            }
        }
    }
    input.truncate(LONGEST);
    input
}
