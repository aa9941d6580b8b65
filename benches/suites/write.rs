//! Writes in process, into a cache that is full: every write of a key that is not there evicts another one.

use std::hint::black_box;

use benches::local;
use benches::workload::{self, Requests};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const CAPACITY: usize = 16 * 1024;
const KEYS: usize = 4 * CAPACITY;

fn write(criterion: &mut Criterion) {
    let value = workload::value(100);
    let cases = [("in turn", (0..KEYS as u32).collect()), ("Zipf 0.99", workload::zipf(KEYS, 0.99, 4 * CAPACITY))];
    for (case, picks) in cases {
        let requests = Requests::new(picks);
        let keys = requests.keys();
        let mut group = criterion.benchmark_group(format!("write, evicting, {case}"));
        group.throughput(Throughput::Elements(keys.len() as u64)).sample_size(20);
        for rival in local::rivals(&local::WRITERS, CAPACITY) {
            group.bench_function(rival.name(), |bencher| {
                bencher.iter(|| rival.write(black_box(&keys), &value));
            });
        }
        group.finish();
    }
}

criterion_group!(suite, write);
criterion_main!(suite);
