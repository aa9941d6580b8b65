//! Hits in Redis, from a thread that drives no runtime.

use benches::redis_server::RedisServer;
use benches::{remote, workload};
use criterion::{Criterion, criterion_group, criterion_main};

fn l2_hit(criterion: &mut Criterion) {
    let Some(server) = RedisServer::start() else { return };
    let (keys, value) = (workload::keys(64), workload::value(100));
    let mut group = criterion.benchmark_group("l2_hit");
    for remote in remote::remotes(&server) {
        for key in &keys {
            remote.write(key, &value);
        }
        assert_eq!(remote.read(&keys[0]), value.len(), "{}: a hit", remote.name());
        let mut keys = keys.iter().cycle();
        group.bench_function(remote.name(), |bencher| {
            bencher.iter(|| keys.next().map(|key| remote.read(key)));
        });
    }
    group.finish();
}

criterion_group!(suite, l2_hit);
criterion_main!(suite);
