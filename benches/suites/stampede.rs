//! Ten thousand tasks, and two hundred threads where the rival lets threads in, on one cold key whose computation takes
//! 50 ms. What is measured is the time from the computation's end until the last caller is back.

use std::time::Duration;

use benches::stampede::{self, Crowd};
use criterion::{Criterion, criterion_group, criterion_main};

fn stampede(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stampede, the last of 10,000 tasks");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(8));
    let mut measure = |name: &str, crowd: Crowd, run: stampede::Stampede| {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let once = |_| {
                    let outcome = run(crowd);
                    assert_eq!(outcome.computations, 1, "{name}: one computation");
                    outcome.last_waiter
                };
                (0..times).map(once).sum()
            });
        });
    };
    for (name, takes_threads, run) in stampede::rivals() {
        if takes_threads {
            measure(&format!("{name}, and 200 threads"), Crowd { tasks: 10_000, threads: 200 }, run);
        }
        measure(name, Crowd { tasks: 10_000, threads: 0 }, run);
    }
    group.finish();
}

criterion_group!(suite, stampede);
criterion_main!(suite);
