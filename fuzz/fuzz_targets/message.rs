//! Arbitrary bytes as messages of the channel and entries of the log: no panic, and what is understood is written as it was
//! read. Then an arbitrary story as a link lives through it: it says nothing twice, nothing while it is down, asks for the
//! log only where something is missing, and holds back no more than it may.
#![no_main]
#![allow(dead_code, reason = "the crate's own files, of which only a part is used here")]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;

use crate::follow::{Action, Bounds, Follow, Identity, Partition};
use crate::message::{Keys, Message, Origin, Said};
use crate::replay::{Entry, MOST_REPLAYED, Missing};

#[path = "../../src/shared/change.rs"]
mod change;
#[path = "../../src/shared/follow.rs"]
mod follow;
#[path = "../../src/shared/message.rs"]
mod message;
#[path = "../../src/shared/replay.rs"]
mod replay;

/// What the files have beside them in the crate.
mod shared {
    pub(crate) use crate::change::{Change, Control, Controlled};
    pub(crate) use crate::{message, replay};
}

mod sync {
    pub(crate) const fn planted(_: &str) -> bool {
        false
    }
}

const OWN: Origin = [1; 8];
const BOUNDS: Bounds = Bounds { staleness: Duration::from_secs(2), notice: Duration::from_secs(1) };

fn bytes(data: &[u8]) {
    if let Ok(message) = Message::read(data) {
        assert_eq!(message.write(), data);
    }
    for field in ["i", "p", "c"] {
        if let Ok(said) = Said::read(field.as_bytes(), data) {
            assert_eq!((said.field(), &said.write()[..]), (field, data));
        }
    }
    if let Ok(keys) = Keys::read(data) {
        let told: Vec<&str> = keys.collect();
        assert_eq!(Keys::pack(&told).as_deref(), Some(data));
        let mut again = Vec::new();
        keys.each(|some| again.extend_from_slice(some));
        assert_eq!(again, told);
    }
}

/// What the link has said so far.
#[derive(Default)]
struct Told {
    down: bool,
    until: Duration,
    missing: Option<Missing>,
    asked: u64,
    live: bool,
}

impl Told {
    fn take(&mut self, action: Action<'_>) {
        match action {
            Action::Replay(missing) => {
                assert!((1..=MOST_REPLAYED).contains(&missing.count()), "{missing:?}");
                self.missing = Some(missing);
                self.asked += 1;
            }
            Action::Trusted(until) => {
                assert!(until >= self.until || self.down, "trust is taken back on a live link");
                self.until = until;
            }
            Action::Drop(_) => self.live = false,
            Action::Changed(..)
            | Action::Settled(_)
            | Action::Bumped(_)
            | Action::Suspect
            | Action::ReadControl
            | Action::Replaced => assert!(!self.down, "said while the link is down: {action:?}"),
        }
    }
}

/// One byte says what happens, the next ones with what.
fn story(mut data: &[u8]) {
    let mut byte = || data.split_off_first().map_or(0, |byte| *byte);
    let partition = if byte() & 1 == 0 { Partition::Data } else { Partition::Control };
    let mut follow = Follow::new(partition, OWN, BOUNDS);
    let mut told = Told { down: true, ..Told::default() };
    // Numbers that meet each other.
    let number = |byte: u8| match byte {
        0..=239 => u64::from(byte % 16) + 1,
        240..=247 => u64::MAX - u64::from(byte - 240),
        _ => u64::from(byte) << 40,
    };
    for at in 0..200 {
        let now = Duration::from_millis(at);
        let kind = byte();
        let (one, two) = (byte(), byte());
        told.down = !told.live && kind % 8 != 0;
        let act = &mut |action: Action<'_>| told.take(action);
        match kind % 8 {
            0 => {
                follow.subscribed();
                (told.live, told.missing) = (true, None);
            }
            1 => {
                told.down = true;
                follow.lost(&mut |action| told.take(action));
                (told.live, told.missing) = (false, None);
            }
            2 => follow.number((one != 255).then(|| number(one)), now, act),
            3 => {
                let named = |byte: u8| (byte % 4).to_string();
                follow.identity(&Identity { run_id: named(one), replication_id: named(two) }, act);
            }
            4 => {
                let missing = told.missing.take().unwrap_or(Missing { after: 0, through: u64::from(one) });
                let ids: Vec<String> =
                    (1..=missing.count().min(40)).map(|n| format!("{}-1", missing.after + n)).collect();
                let value = [&[two; 8][..], b"\x01\0\0\0k"].concat();
                let field: &[u8] = if two & 1 == 0 { b"i" } else { b"c" };
                let entries: Vec<_> = ids.iter().map(|id| Entry { id: id.as_bytes(), field, value: &value }).collect();
                let some = entries.len().saturating_sub(usize::from(one % 2));
                follow.replayed(missing, (one != 255).then_some(&entries[..some]), &mut |action| told.take(action));
            }
            _ => {
                let kind = [b'I', b'P', b'C', b'F', b'S', b'I', b'I', one][usize::from(one % 8)];
                let numbered = if kind == b'F' || kind == b'S' { 0 } else { number(two) };
                let origin = if kind == b'F' { [0; 8] } else { [two % 3; 8] };
                let body: &[u8] = match kind {
                    b'C' => b"t\x01\0\0\0k",
                    b'S' => b"",
                    _ => b"\x01\0\0\0k",
                };
                follow.heard(&[&[kind][..], &numbered.to_le_bytes(), &origin, body].concat(), act);
            }
        }
        if !told.live {
            assert!(!follow.is_live(), "it is live on a connection that is gone");
        }
        let counts = follow.counts();
        assert!(counts.gaps >= told.asked, "the log is asked for only where a number is missing");
        // A drop ends the connection.
        if !told.live && !told.down {
            told.down = true;
            follow.lost(&mut |action| told.take(action));
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&how, data)) = data.split_first() else { return };
    if how % 2 == 0 { bytes(data) } else { story(data) }
});
