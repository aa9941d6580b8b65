//! Invalidates many keys at once: by tag, by pattern, or all.

use std::sync::Arc;
use std::time::Duration;

use super::{Stage, rest};
use crate::coherence::history::What;
use crate::coherence::instance::done;
use crate::coherence::source::GROUPS;

const PAUSE: Duration = Duration::from_millis(400);

pub(super) async fn run(stage: Arc<Stage>, offered: Vec<What>) {
    let mut random = stage.random("groups");
    while !stage.stopped() {
        rest(&mut random, PAUSE).await;
        let what = offered[random.usize(..offered.len())];
        let (instance, tag) = (random.usize(..stage.instances.len()), random.usize(..GROUPS));
        let keys = &stage.source.keys;
        let (members, name): (Vec<usize>, String) = match what {
            What::Tag => (keys.group(tag).collect(), keys.tag_name(tag)),
            What::Pattern => (keys.group(tag).collect(), keys.pattern(tag)),
            _ => (keys.all().collect(), String::new()),
        };
        // The keys that have one writer, and those of the rounds, go too, but nothing new is promised of them.
        let commit = |key| if keys.shared().contains(&key) { stage.source.commit(key) } else { 0 };
        let members: Vec<_> = members.into_iter().map(|key| (key, commit(key))).collect();
        let begin = stage.history.now();
        let cache = stage.instances[instance].clone();
        // On the instance's own runtime, as all its calls are.
        let call = stage.runtimes[instance].spawn(async move { cache.invalidate_group(what, &name).await });
        let Ok(outcome) = call.await else { continue };
        stage.changed(instance, &members, begin, what, done(&outcome));
    }
}
