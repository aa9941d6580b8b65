//! What an instance hears, and the faults of the line on which it does.

use std::collections::BTreeMap;

use futures::future::FutureExt;

use super::*;
use crate::shared::contract::{A, B, MINUTE, frame, run};
use crate::shared::{CONTROL, Change, Control, Watching};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    Changed(String, Change),
    Settled(String),
    Suspect(u16),
    Bumped(Controlled),
    ReadControl,
    Replaced(u16),
}

/// Writes down what it is told.
#[derive(Default)]
struct Notes {
    notes: Mutex<Vec<Note>>,
    trusted: Mutex<BTreeMap<u16, Duration>>,
}

impl Hear for Notes {
    fn changed(&self, keys: &[&str], how: Change) {
        self.notes.lock().extend(keys.iter().map(|key| Note::Changed((*key).to_owned(), how)));
        assert!(!keys.contains(&"clumsy"), "planted");
    }

    fn settled(&self, key: &str) {
        self.notes.lock().push(Note::Settled(key.to_owned()));
    }

    fn suspect(&self, partition: u16) {
        self.notes.lock().push(Note::Suspect(partition));
    }

    fn bumped(&self, bump: &Controlled) {
        self.notes.lock().push(Note::Bumped(bump.clone()));
    }

    fn read_control(&self) {
        self.notes.lock().push(Note::ReadControl);
    }

    fn replaced(&self, partition: u16) {
        self.notes.lock().push(Note::Replaced(partition));
    }

    fn trusted(&self, partition: u16, until: Duration) {
        self.trusted.lock().insert(partition, until);
    }
}

/// An instance that listens.
struct Listener {
    shared: MemoryShared,
    watch: MemoryWatch,
    notes: Arc<Notes>,
}

impl Listener {
    /// One that has heard what is said at the first connection.
    fn start(bed: &Bed) -> Self {
        Self::start_at(bed, Pace::default())
    }

    fn start_at(bed: &Bed, pace: Pace) -> Self {
        let shared = bed.server.instance();
        let notes = Arc::new(Notes::default());
        let weak: Weak<Notes> = Arc::downgrade(&notes);
        let watch = shared.watch(pace, &*bed.stage, weak);
        assert!(!watch.is_live());
        bed.stage.run();
        assert!(
            watch.is_live()
                && watch.deaf().is_none()
                && watch.ready().now_or_never().is_some_and(|ready| ready.is_ok())
        );
        let listener = Self { shared, watch, notes };
        assert_eq!(listener.take(), [Note::Suspect(0), Note::ReadControl]);
        listener
    }

    fn take(&self) -> Vec<Note> {
        std::mem::take(&mut self.notes.notes.lock())
    }

    fn trusted(&self) -> Duration {
        let trusted = self.notes.trusted.lock();
        trusted[&0].min(trusted[&CONTROL])
    }
}

/// A server that has given numbers.
fn begun() -> Bed {
    let bed = Bed::new();
    let shared = bed.server.instance();
    remove(&shared, "first");
    run(shared.bump(&Bump::Clear, 0));
    bed
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn remove(shared: &MemoryShared, key: &str) {
    run(shared.invalidate(&[key], Duration::ZERO));
}

fn removed(key: &str) -> Note {
    Note::Changed(key.into(), Change::Removed)
}

#[test]
fn what_others_change_is_told_and_what_one_changes_oneself_is_not() {
    let bed = begun();
    let (one, two) = (Listener::start(&bed), Listener::start(&bed));
    remove(&one.shared, "a");
    run(two.shared.put("b", frame("b", 1, b"v"), MINUTE, false));
    let stored = run(two.shared.get("b")).unwrap();
    assert_eq!(crate::frame::Head::decode(&stored.frame).unwrap().created, one.watch.server_time());
    assert_eq!(one.take(), [], "the task has not run");
    bed.stage.run();
    assert_eq!(one.take(), [Note::Changed("b".into(), Change::Updated)]);
    assert_eq!(two.take(), [removed("a")]);
    let bump = run(one.shared.bump(&Bump::Tag("t".into()), 0));
    assert_eq!(run(one.shared.lease("k", A, MINUTE, None)), Leased::Granted);
    assert!(matches!(run(two.shared.lease("k", B, MINUTE, None)), Leased::Waits(_)));
    assert!(run(one.shared.commit("k", A, frame("k", 1, b"v"), MINUTE)));
    bed.stage.run();
    assert_eq!(one.take(), [Note::Settled("k".into())]);
    assert_eq!(two.take(), [Note::Bumped(bump), Note::Settled("k".into())]);
    let counts = two.watch.heard();
    assert_eq!((counts.gaps, counts.replayed, counts.refused, counts.messages), (0, 0, 0, 4));
}

#[test]
fn trust_is_renewed_by_questions_and_runs_out_when_the_server_is_frozen() {
    let bed = begun();
    let one = Listener::start(&bed);
    assert_eq!(one.trusted(), seconds(2));
    bed.pass(seconds(5));
    assert_eq!(one.trusted(), seconds(7));
    bed.server.freeze(true);
    bed.pass(seconds(10));
    assert!(!one.watch.is_live());
    assert_eq!(one.trusted(), seconds(7), "as of the last question that was answered");
    bed.server.freeze(false);
    bed.pass(seconds(4));
    assert!(one.watch.is_live() && one.trusted() > seconds(19));
    assert_eq!(one.take(), [], "nothing was lost, and that is proven");
}

#[test]
fn trust_ends_with_the_line_where_nothing_is_to_be_stale() {
    let bed = begun();
    let one = Listener::start_at(&bed, Pace { staleness: Duration::ZERO, ..Pace::default() });
    bed.pass(seconds(5));
    assert_eq!(one.trusted(), seconds(6), "a question, and how long its answer may take");
    one.shared.cut_off(true);
    bed.stage.run();
    assert_eq!(one.trusted(), seconds(5));
}

#[test]
fn a_message_that_was_lost_is_read_from_the_log() {
    let bed = begun();
    let (one, two) = (Listener::start(&bed), Listener::start(&bed));
    one.shared.lose_messages(2);
    ["a", "b", "c"].iter().for_each(|key| remove(&two.shared, key));
    bed.stage.run();
    assert_eq!(one.take(), ["a", "b", "c"].map(removed));
    // The last one is missed at the next question.
    one.shared.lose_messages(1);
    remove(&two.shared, "d");
    bed.stage.run();
    assert_eq!(one.take(), []);
    bed.pass(Duration::from_millis(500));
    assert_eq!(one.take(), [removed("d")]);
    one.shared.lose_messages(1);
    let bump = run(two.shared.bump(&Bump::Clear, 0));
    bed.pass(Duration::from_millis(500));
    assert_eq!(one.take(), [Note::Bumped(bump)]);
    let counts = one.watch.heard();
    assert_eq!((counts.gaps, counts.replayed), (3, 5));
}

#[test]
fn what_was_said_to_a_line_that_was_cut_is_read_from_the_log_or_is_suspect() {
    let bed = begun();
    let (one, two) = (Listener::start(&bed), Listener::start(&bed));
    one.shared.cut();
    remove(&two.shared, "a");
    bed.pass(Duration::from_millis(20));
    assert!(one.watch.is_live());
    assert_eq!(one.take(), [removed("a")]);
    for keep in [1, 0] {
        one.shared.cut_off(true);
        remove(&two.shared, "b");
        bed.pass(seconds(5));
        assert!(!one.watch.is_live());
        assert_eq!((one.take(), one.trusted() <= bed.clock.now()), (vec![], true));
        bed.server.trim_log(0, keep);
        one.shared.cut_off(false);
        bed.pass(seconds(2));
        assert!(one.watch.is_live() && one.trusted() > bed.clock.now());
        assert_eq!(one.take(), [if keep == 1 { removed("b") } else { Note::Suspect(0) }]);
    }
    assert_eq!(two.take(), [], "its own, and it was there");
}

#[test]
fn what_is_held_back_comes_later_in_its_order() {
    let bed = begun();
    let (one, two) = (Listener::start(&bed), Listener::start(&bed));
    one.shared.hold_back(true);
    remove(&two.shared, "a");
    remove(&two.shared, "b");
    bed.pass(Duration::from_millis(400));
    assert_eq!((one.take(), one.shared.on_the_wire(), one.watch.is_live()), (vec![], 2, true));
    one.shared.hold_back(false);
    bed.stage.run();
    assert_eq!((one.take(), one.shared.on_the_wire()), (["a", "b"].map(removed).to_vec(), 0));
    // For too long: the line is given up, and the next ones too.
    one.shared.hold_back(true);
    remove(&two.shared, "c");
    bed.pass(seconds(4));
    assert_eq!((one.take(), one.watch.is_live()), (vec![], false));
    assert!(one.trusted() <= bed.clock.now());
    one.shared.hold_back(false);
    bed.pass(seconds(3));
    assert_eq!((one.take(), one.watch.is_live()), (vec![removed("c")], true));
}

#[test]
fn a_clock_that_was_lost_makes_everything_suspect() {
    let bed = begun();
    let (one, two) = (Listener::start(&bed), Listener::start(&bed));
    bed.server.lose_sequence(0);
    bed.pass(Duration::from_millis(500));
    assert_eq!(one.take(), [Note::Suspect(0)]);
    remove(&two.shared, "a");
    bed.stage.run();
    assert_eq!(one.take(), [Note::Suspect(0), removed("a")], "its first number");
    bed.server.lose_sequence(CONTROL);
    bed.pass(Duration::from_millis(500));
    assert_eq!(one.take(), [Note::ReadControl]);
    run(two.shared.bump(&Bump::Clear, 0));
    bed.stage.run();
    one.take();
    bed.server.flush();
    bed.pass(Duration::from_millis(500));
    assert_eq!(one.take(), [Note::Suspect(0), Note::ReadControl]);
    run(two.shared.bump(&Bump::Tag("t".into()), 0));
    bed.stage.run();
    assert!(
        matches!(&one.take()[..], [Note::ReadControl, Note::Bumped(bump)] if bump.what == Control::Tag("t".into()))
    );
}

#[test]
fn what_is_removed_without_a_number_is_suspect_whether_or_not_that_is_heard() {
    let bed = begun();
    let (one, two) = (Listener::start(&bed), Listener::start(&bed));
    bed.server.starve(true);
    remove(&two.shared, "a");
    bed.stage.run();
    assert_eq!((one.take(), two.take()), (vec![Note::Suspect(0)], vec![]));
    bed.server.starve(false);
    remove(&two.shared, "b");
    bed.pass(seconds(1));
    one.take();
    one.shared.cut_off(true);
    bed.server.starve(true);
    remove(&two.shared, "c");
    bed.server.starve(false);
    one.shared.cut_off(false);
    bed.pass(seconds(1));
    assert_eq!(one.take(), [Note::Suspect(0)]);
}

#[test]
fn another_history_is_noticed_whether_or_not_the_connection_stays() {
    let bed = begun();
    let (one, two) = (Listener::start(&bed), Listener::start(&bed));
    let changes: [&dyn Fn(&Snapshot); 3] =
        [&|to| bed.server.fail_over(to), &|to| bed.server.resync(to), &|_| bed.server.restart()];
    for (at, change) in changes.iter().enumerate() {
        let before = bed.server.snapshot();
        remove(&two.shared, "undone");
        bed.stage.run();
        one.take();
        change(&before);
        bed.stage.run();
        assert_eq!(one.watch.is_live(), at == 1, "only then the line stays");
        bed.pass(seconds(1));
        let notes = one.take();
        for partition in [0, CONTROL] {
            assert_eq!(notes.iter().filter(|note| **note == Note::Replaced(partition)).count(), 1, "{notes:?}");
        }
        assert!(notes.contains(&Note::Suspect(0)) && notes.contains(&Note::ReadControl), "{notes:?}");
        assert!(one.watch.is_live() && one.trusted() > bed.clock.now());
        remove(&two.shared, "after");
        bed.pass(seconds(1));
        assert_eq!(one.take().last(), Some(&removed("after")));
    }
}

#[test]
fn what_a_listener_was_told_when_it_panicked_does_not_count() {
    let bed = begun();
    let (one, two) = (Listener::start(&bed), Listener::start(&bed));
    remove(&two.shared, "clumsy");
    remove(&two.shared, "a");
    bed.stage.run();
    assert_eq!((one.take(), one.watch.is_live()), (vec![removed("clumsy")], false));
    bed.pass(seconds(1));
    assert_eq!((one.take(), one.watch.is_live()), (vec![Note::Suspect(0), Note::ReadControl], true));
}

#[test]
fn a_watch_ends_with_its_owner_and_with_its_listener() {
    let bed = begun();
    let (one, two) = (Listener::start(&bed), Listener::start(&bed));
    assert_eq!((bed.stage.tasks.lock().len(), bed.clock.sleepers()), (2, 2));
    let Listener { shared, watch, notes } = one;
    drop(watch);
    bed.stage.run();
    assert_eq!((bed.stage.tasks.lock().len(), bed.clock.sleepers(), shared.on_the_wire()), (1, 1, 0));
    remove(&two.shared, "a");
    bed.stage.run();
    assert_eq!(notes.notes.lock().len(), 0);
    drop(two.notes);
    remove(&shared, "a");
    bed.stage.run();
    assert_eq!((bed.stage.tasks.lock().len(), bed.clock.sleepers()), (0, 0));
    assert!(two.watch.deaf().is_some() && two.watch.ready().now_or_never().is_some_and(|ready| ready.is_err()));
}
