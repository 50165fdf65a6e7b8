//! How long the core takes for a request: `cargo bench -p pyzord-bench`. For the eye; what guards against a slower core
//! is the number of its instructions, which no noise disturbs.

use divan::counter::ItemsCount;
use pyzord_bench::cases::{Case, REQUESTS};

fn main() {
    divan::main();
}

/// A batch of 64 requests, from the datagrams to the replies.
#[divan::bench(args = Case::names())]
fn batch(bencher: divan::Bencher<'_, '_>, name: &str) {
    let Some(mut case) = Case::named(name) else { return };
    bencher.counter(ItemsCount::new(REQUESTS)).bench_local(move || case.run());
}
