//! Nine reads and a write in turn, into a cache that is full, with far more keys than it has room for.

use std::hint::black_box;

use benches::local;
use benches::workload::{self, Requests};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const CAPACITY: usize = 20_000;
const KEYS: usize = 1_000_000;

fn mix(criterion: &mut Criterion) {
    let value = workload::value(100);
    let requests = Requests::new(workload::zipf(KEYS, 0.99, 8 * CAPACITY));
    let keys = requests.keys();
    let mut group = criterion.benchmark_group("mix, nine reads and an evicting write, Zipf 0.99 of 1,000,000 keys");
    group.throughput(Throughput::Elements(keys.len() as u64)).sample_size(20);
    for rival in local::rivals(&local::WRITERS, CAPACITY) {
        rival.write(&keys, &value);
        rival.settle();
        group.bench_function(rival.name(), |bencher| bencher.iter(|| rival.mix(black_box(&keys), &value)));
    }
    group.finish();
}

criterion_group!(suite, mix);
criterion_main!(suite);
