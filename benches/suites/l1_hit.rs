//! Hits in process: through `tercel`'s handles, the bare L1, and the rivals.

use std::hint::black_box;

use benches::local;
use benches::workload::{self, Requests};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const KEYS: usize = 100_000;
const PICKS: usize = 4096;

fn l1_hit(criterion: &mut Criterion) {
    let (all, value) = (Requests::new(0..KEYS as u32), workload::value(100));
    let rivals = local::rivals(&local::READERS, KEYS + KEYS / 4);
    for rival in &rivals {
        rival.write(&all.keys(), &value);
        rival.settle();
    }
    let cases = [("one key", vec![0; PICKS]), ("Zipf 0.99 of 100,000 keys", workload::zipf(KEYS, 0.99, 16 * PICKS))];
    for (case, picks) in cases {
        let requests = Requests::new(picks);
        let keys = requests.keys();
        let mut group = criterion.benchmark_group(format!("l1_hit, {case}"));
        group.throughput(Throughput::Elements(keys.len() as u64));
        for rival in &rivals {
            assert_eq!(rival.read(&keys), keys.len() * value.len(), "{}: every read is a hit", rival.name());
            group.bench_function(rival.name(), |bencher| bencher.iter(|| rival.read(black_box(&keys))));
        }
        group.finish();
    }
}

criterion_group!(suite, l1_hit);
criterion_main!(suite);
