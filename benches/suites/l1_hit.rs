//! Hits in process: through `tercel`'s handles, the bare L1, and the rivals.

use std::hint::black_box;

use benches::{local, workload};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const KEYS: usize = 100_000;
const PICKS: usize = 4096;

fn l1_hit(criterion: &mut Criterion) {
    let (keys, value) = (workload::keys(KEYS), workload::value(100));
    let all: Vec<u32> = (0..KEYS as u32).collect();
    let rivals = local::rivals(2 * KEYS);
    for rival in &rivals {
        rival.write(&keys, &all, &value);
    }
    let cases = [("one key", vec![0; PICKS]), ("Zipf 0.99 of 100,000 keys", workload::zipf(KEYS, 0.99, 16 * PICKS))];
    for (case, picks) in cases {
        let mut group = criterion.benchmark_group(format!("l1_hit, {case}"));
        group.throughput(Throughput::Elements(picks.len() as u64));
        for rival in &rivals {
            assert_eq!(rival.read(&keys, &picks), picks.len() * value.len(), "{}: every read is a hit", rival.name());
            group.bench_function(rival.name(), |bencher| bencher.iter(|| rival.read(&keys, black_box(&picks))));
        }
        group.finish();
    }
}

criterion_group!(suite, l1_hit);
criterion_main!(suite);
