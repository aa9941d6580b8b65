//! Writes in process, into a cache that is full: every write of a key that is not there evicts another one.

use std::hint::black_box;

use benches::{local, workload};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const CAPACITY: usize = 16 * 1024;

fn write(criterion: &mut Criterion) {
    let (keys, value) = (workload::keys(4 * CAPACITY), workload::value(100));
    let all: Vec<u32> = (0..keys.len() as u32).collect();
    let cases = [("in turn", all), ("Zipf 0.99", workload::zipf(keys.len(), 0.99, 4 * CAPACITY))];
    for (case, picks) in cases {
        let mut group = criterion.benchmark_group(format!("write, evicting, {case}"));
        group.throughput(Throughput::Elements(picks.len() as u64)).sample_size(20);
        for rival in local::writers(CAPACITY) {
            group.bench_function(rival.name(), |bencher| {
                bencher.iter(|| rival.write(&keys, black_box(&picks), &value));
            });
        }
        group.finish();
    }
}

criterion_group!(suite, write);
criterion_main!(suite);
