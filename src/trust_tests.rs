use std::time::Duration;

use proptest::prelude::*;

use super::*;

const KEY: &str = "user:7";
const SECOND: Duration = Duration::from_secs(1);

fn verdict(trust: &Trust, stamp: u64, tags: &[u64]) -> Verdict {
    trust.check(stamp, KEY, tags, 0)
}

#[test]
fn nothing_has_happened_at_first() {
    let trust = Trust::alone();
    assert_eq!(trust.word(), trust.basis().stamp);
    assert_eq!(verdict(&trust, trust.basis().stamp, &[1]), Verdict::Valid(trust.word()));
}

#[test]
fn what_began_before_an_event_is_gone_and_what_began_after_it_is_not() {
    let cases = [
        (Sweeping::Clear, Some(Cause::Clear), Some(Cause::Clear)),
        (Sweeping::Tag(1), None, Some(Cause::Tag)),
        (Sweeping::Tag(3), None, None),
        (Sweeping::Tags, None, Some(Cause::Tag)),
        (Sweeping::Pattern("user:*"), Some(Cause::Pattern), Some(Cause::Pattern)),
        (Sweeping::Pattern("team:*"), None, None),
    ];
    for (what, untagged, tagged) in cases {
        let trust = Trust::alone();
        let before = trust.basis();
        trust.sweep_alone(what, 0);
        let after = trust.basis();
        assert_ne!(trust.word(), before.stamp, "{what:?}");
        assert_eq!(trust.word(), after.stamp, "{what:?}");
        for (tags, expected) in [(&[][..], untagged), (&[1, 2][..], tagged)] {
            let said = expected.map_or(Verdict::Valid(after.stamp), Verdict::Gone);
            assert_eq!(verdict(&trust, before.stamp, tags), said, "{what:?} {tags:?}");
            assert_eq!(trust.is_outdated(before.clock, KEY, tags), expected, "{what:?} {tags:?}");
            assert_eq!(verdict(&trust, after.stamp, tags), Verdict::Valid(after.stamp), "{what:?} {tags:?}");
            assert_eq!(trust.is_outdated(after.clock, KEY, tags), None, "{what:?} {tags:?}");
        }
    }
}

#[test]
fn a_loss_makes_the_entries_of_its_partition_suspect_until_they_are_stamped_anew() {
    let trust = Trust::shared(2, 1);
    trust.extend(0, SECOND, Duration::ZERO);
    let before = trust.basis();
    trust.lose(1);
    let after = trust.basis();
    assert_eq!(trust.check(before.stamp, KEY, &[], 0), Verdict::Valid(after.stamp));
    assert_eq!(trust.check(before.stamp, KEY, &[], 1), Verdict::Suspect);
    assert_eq!(trust.check(after.stamp, KEY, &[], 1), Verdict::Valid(after.stamp));
    assert_eq!(trust.check(after.stamp, KEY, &[], 2), Verdict::Suspect, "a partition that is not known");
}

#[test]
fn without_a_link_that_is_trusted_no_stamp_is_the_word_and_every_entry_is_suspect() {
    let trust = Trust::shared(1, 2);
    let stamp = trust.basis().stamp;
    let is_used = |trust: &Trust| trust.word() == stamp && verdict(trust, stamp, &[]) == Verdict::Valid(stamp);
    assert!(!is_used(&trust));
    trust.extend(0, SECOND, Duration::ZERO);
    assert!(!is_used(&trust), "the other link is not there yet");
    trust.extend(1, 2 * SECOND, Duration::ZERO);
    assert!(is_used(&trust));
    trust.expire(SECOND - Duration::from_millis(1));
    assert!(is_used(&trust));
    trust.expire(SECOND);
    assert!(!is_used(&trust));
    assert_eq!(verdict(&trust, stamp, &[]), Verdict::Suspect);
    trust.extend(0, 3 * SECOND, SECOND);
    assert!(is_used(&trust));
    trust.extend(0, Duration::ZERO, SECOND);
    assert!(!is_used(&trust), "it was lost");
    trust.sweep(Sweeping::Clear, 5);
    assert_eq!(verdict(&trust, stamp, &[]), Verdict::Gone(Cause::Clear), "what is gone is not asked for");
}

#[test]
fn too_many_tags_and_too_many_patterns_raise_a_floor_and_forget_nothing() {
    let trust = Trust::alone();
    let before = trust.basis();
    for tag in 0..=MOST_TAGS as u64 {
        trust.sweep_alone(Sweeping::Tag(tag), 0);
    }
    assert!(trust.tags.len() <= MOST_TAGS);
    for tag in [0, 1, MOST_TAGS as u64 - 1, MOST_TAGS as u64] {
        assert_eq!(verdict(&trust, before.stamp, &[tag]), Verdict::Gone(Cause::Tag), "{tag}");
    }
    let after = trust.basis();
    assert_eq!(verdict(&trust, after.stamp, &[0]), Verdict::Valid(after.stamp));

    trust.sweep_alone(Sweeping::Pattern("user:*"), 0);
    for n in 0..MOST_RULES {
        trust.sweep_alone(Sweeping::Pattern(&format!("team:{n}")), 0);
    }
    assert_eq!(trust.rules.lock().len(), MOST_RULES);
    assert_eq!(verdict(&trust, after.stamp, &[]), Verdict::Gone(Cause::Clear));
    assert_eq!(trust.is_outdated(after.clock, KEY, &[]), Some(Cause::Clear));
}

/// The same in few words: every event that was, and no floors.
#[derive(Default)]
struct Model(Vec<(u64, u64, Event)>);

#[derive(Debug, Clone)]
enum Event {
    Tag(u64),
    Pattern(&'static str),
    Clear,
    Tags,
    Lose,
}

impl Event {
    fn sweeping(&self) -> Option<Sweeping<'_>> {
        match self {
            Event::Tag(tag) => Some(Sweeping::Tag(*tag)),
            Event::Pattern(pattern) => Some(Sweeping::Pattern(pattern)),
            Event::Clear => Some(Sweeping::Clear),
            Event::Tags => Some(Sweeping::Tags),
            Event::Lose => None,
        }
    }

    fn is_as(&self, other: &Event) -> bool {
        match (self, other) {
            (Event::Tag(one), Event::Tag(other)) => one == other,
            (Event::Pattern(one), Event::Pattern(other)) => one == other,
            (Event::Clear, Event::Clear) | (Event::Tags, Event::Tags) => true,
            _ => false,
        }
    }

    fn is_of(&self, key: &str, tags: &[u64]) -> bool {
        match self {
            Event::Tag(tag) => tags.contains(tag),
            Event::Pattern(pattern) => glob::matches(pattern.as_bytes(), key.as_bytes()),
            Event::Clear => true,
            Event::Tags => !tags.is_empty(),
            Event::Lose => false,
        }
    }
}

fn events() -> impl Strategy<Value = Vec<(Event, u64)>> {
    let event = prop_oneof![
        4 => (0u64..6).prop_map(Event::Tag),
        3 => prop::sample::select(vec!["user:*", "user:?", "team:*", "*7"]).prop_map(Event::Pattern),
        1 => Just(Event::Clear),
        1 => Just(Event::Tags),
        2 => Just(Event::Lose),
    ];
    prop::collection::vec((event, 0u64..40), 0..40)
}

proptest! {
    /// Whatever happens, also where the clock's numbers come in another order than they were given.
    #[test]
    fn it_says_what_the_events_say(events in events(), tags in prop::collection::vec(0u64..8, 0..3), at in 0usize..40) {
        let trust = Trust::shared(1, 0);
        let mut model = Model::default();
        let mut stamps = vec![trust.basis().stamp];
        for (event, clock) in events {
            let before = trust.basis().stamp;
            match event.sweeping() {
                Some(what) => trust.sweep(what, clock),
                None => trust.lose(0),
            }
            let stamp = trust.basis().stamp;
            if stamp == before {
                let known = |(_, then, earlier): &(u64, u64, Event)| *then >= clock && earlier.is_as(&event);
                prop_assert!(clock == 0 || model.0.iter().any(known), "{:?} was no event", event);
                continue;
            }
            stamps.push(stamp);
            model.0.push((stamp, clock, event));
        }
        let stamp = stamps[at % stamps.len()];
        let gone = model.0.iter().any(|(then, _, event)| *then > stamp && event.is_of(KEY, &tags));
        let lost = model.0.iter().any(|(then, _, event)| *then > stamp && matches!(event, Event::Lose));
        match verdict(&trust, stamp, &tags) {
            Verdict::Gone(_) => prop_assert!(gone),
            Verdict::Suspect => prop_assert!(!gone && lost),
            Verdict::Valid(now) => prop_assert!(!gone && !lost && now == trust.word()),
        }
        let clock = at as u64;
        let outdated = model.0.iter().any(|(_, then, event)| *then > clock && event.is_of(KEY, &tags));
        prop_assert_eq!(trust.is_outdated(clock, KEY, &tags).is_some(), outdated);
    }
}

#[test]
fn what_is_told_twice_happens_once_and_what_was_not_taken_happens_here() {
    let trust = Trust::shared(1, 0);
    for what in [Sweeping::Clear, Sweeping::Tag(1), Sweeping::Tags, Sweeping::Pattern("user:*")] {
        trust.sweep(what, 7);
        let after = trust.basis();
        trust.sweep(what, 7);
        trust.sweep(what, 5);
        assert_eq!(trust.basis(), after, "{what:?}");
        trust.sweep_here(what);
        assert!(matches!(verdict(&trust, after.stamp, &[1]), Verdict::Gone(_)), "{what:?}");
        assert_eq!(trust.basis().clock, 7);
    }
}

/// As if so many events had happened.
fn aged(last: u64) -> Trust {
    let trust = Trust::alone();
    let mut turn = trust.turn.lock();
    turn.last = last;
    trust.show(&turn);
    drop(turn);
    trust
}

#[test]
fn the_low_bits_of_a_stamp_tell_the_event_as_long_as_none_is_too_old() {
    for last in [1, 2, STAMP - 2, STAMP - 1, STAMP + 1, 5 * STAMP, 7 << 40] {
        let trust = aged(last);
        for age in [0, 1, 2, 1000, STAMP / 2, STAMP - 1] {
            let Some(stamp) = last.checked_sub(age) else { continue };
            assert_eq!(trust.unfolded(stamp & STAMP), stamp, "{last} {age}");
            assert_eq!(trust.unfolded(stamp), stamp, "{last} {age}");
            assert_eq!(trust.is_word(stamp & STAMP), age == 0, "{last} {age}");
        }
    }
}

#[test]
fn no_event_has_the_low_bits_of_none() {
    let trust = aged(STAMP - 2);
    for _ in 0..4 {
        trust.sweep_alone(Sweeping::Tag(1), 0);
        assert_ne!(trust.basis().stamp & STAMP, STAMP);
        assert!(trust.is_word(trust.basis().stamp & STAMP));
    }
    let untrusted = Trust::shared(1, 1);
    assert!(!untrusted.is_word(untrusted.basis().stamp));
}

#[test]
fn it_is_crowded_half_way_and_no_more_once_all_are_stamped_anew() {
    let trust = aged(STAMP / 2 + 1);
    assert!(!trust.is_crowded());
    trust.sweep_alone(Sweeping::Tag(1), 0);
    assert!(trust.is_crowded());
    trust.stamped(trust.basis().stamp);
    assert!(!trust.is_crowded());
}
