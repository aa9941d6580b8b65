use std::collections::HashSet;

use super::shard::{Name, Shard, Walk};
use super::{Content, L1, Limits};
use crate::clock::Tick;
use crate::entry::{Body, Counted, Kind, Label, Origin, Times};
use crate::hash::KeyHasher;
use crate::sync::Arc;
use crate::trust::{Sweeping, Trust};

fn insert(shard: &Shard, hasher: &KeyHasher, key: &str) {
    let times = Times { written: 0, fresh_until: u64::MAX, dead_at: u64::MAX };
    let label = Label { hash: hasher.hash(key), key, times, ..Label::default() };
    let entry = Counted::new(Kind::Raw, Body::Copied(b"v"), label);
    shard.write(|shard| shard.insert(entry));
}

/// Walks as far as entries are met, `most` under each lock, and inserts `between` two looks what it is told.
fn walked(shard: &Shard, most: usize, mut between: impl FnMut()) -> HashSet<String> {
    let (mut walk, mut met) = (Walk::default(), HashSet::new());
    while shard.write(|shard| {
        let entries = shard.walk(&mut walk, most);
        met.extend(entries.iter().map(|entry| entry.key().to_owned()));
        !entries.is_empty()
    }) {
        between();
    }
    met
}

#[test]
fn a_walk_meets_every_entry() {
    let (shard, hasher) = (Shard::new(), KeyHasher::new());
    let keys: HashSet<String> = (0..1000).map(|i| format!("key:{i}")).collect();
    keys.iter().for_each(|key| insert(&shard, &hasher, key));
    assert_eq!(walked(&shard, 10, || {}), keys);
}

#[test]
fn a_walk_meets_every_entry_though_the_table_grows_meanwhile() {
    let (shard, hasher) = (Shard::new(), KeyHasher::new());
    let keys: HashSet<String> = (0..200).map(|i| format!("key:{i}")).collect();
    keys.iter().for_each(|key| insert(&shard, &hasher, key));
    let mut more = (0..2000).map(|i| format!("more:{i}"));
    let met = walked(&shard, 10, || more.by_ref().take(20).for_each(|key| insert(&shard, &hasher, &key)));
    let lost: Vec<&String> = keys.difference(&met).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

/// In a smaller table, what the walk has not come to yet may lie where it has been.
#[test]
fn a_walk_meets_every_entry_though_the_table_shrinks_meanwhile() {
    let (shard, hasher) = (Shard::new(), KeyHasher::new());
    let stay: HashSet<String> = (0..100).map(|i| format!("stays:{i}")).collect();
    let goes: Vec<String> = (0..4000).map(|i| format!("goes:{i}")).collect();
    stay.iter().chain(&goes).for_each(|key| insert(&shard, &hasher, key));
    let mut looks = 0;
    let met = walked(&shard, 10, || {
        looks += 1;
        if looks == 200 {
            shard.write(|shard| {
                for key in &goes {
                    let gone = shard.get(Name { hash: hasher.hash(key), key }).expect("it is there");
                    assert!(shard.remove(gone));
                }
                shard.fit();
            });
        }
    });
    let lost: Vec<&String> = stay.difference(&met).collect();
    assert!(looks > 200 && lost.is_empty(), "{lost:?} after {looks} looks");
}

/// What has outlived everything is stamped anew, what has not goes, so that no stamp is left that is too old to be told.
#[test]
fn stamping_all_leaves_no_old_stamp() {
    let trust = Arc::new(Trust::alone());
    let limits = Limits { entries: 50_000, weight: 1 << 30, max_entry: 1 << 20 };
    let l1 = L1::new(limits, Arc::new(Tick::default()), trust.clone(), None);
    let tags: Arc<[u64]> = Arc::new([1]);
    for n in 0..1000 {
        let times = Times { written: 0, fresh_until: 1000, dead_at: 1000 };
        let tags = (n % 10 == 0).then_some(&tags);
        let origin = Origin { stamp: trust.basis().stamp, write_id: 0, tags };
        l1.insert(l1.entry(&n.to_string(), Content { value: None, times, weight: None, origin }));
    }
    trust.sweep_alone(Sweeping::Tag(1), 0);
    trust.sweep_alone(Sweeping::Tag(2), 0);
    l1.stamp_all();
    assert_eq!(l1.len(), 900);
    let stamps: Vec<_> = (0..1000).filter_map(|n| l1.hit(&n.to_string(), |entry| entry.until().stamp())).collect();
    assert_eq!(stamps, vec![trust.basis().stamp; 900]);
    l1.validate().expect("it adds up");
}
