//! What one partition's link knows: which changes it has told of, and what follows from what it hears.
//!
//! No I/O and no clock: whoever has the connection tells what came over it, in the order of the wire, and does what the
//! [`Action`]s say, in their order.
//!
//! # The law
//! A change is *covered* when its keys have been told, or the partition was told suspect after it took effect. At every
//! moment, each change that was acknowledged before the newest answered question was sent is covered; and
//! [`Action::Trusted`] is said of no later time than that question's, and only while this holds.
//!
//! # How
//! Changes have contiguous numbers. A question asks the server for the number of the newest one, and its answer comes on
//! the connection that the messages come on, so what is missing in between was lost: it is read from the log, which has to
//! have all of it, or else everything is suspect. A number that falls back says that the server has lost its clock, and
//! nothing is known of what it said meanwhile. Every question ends with the server's identity, asked last: if that is as
//! it was, so was the history that the number before it was read from.
//!
//! # Invariants
//! - W1: all changes up to `last` are covered. `last` is what the server said, or a number that was heard.
//! - W2: suspicion is told before anything that is told because of the same event.
//! - W3: while an answer is awaited that has to be taken before what follows it, what follows is held back, in order and
//!   up to a bound. Beyond it everything is suspect, and nothing is held.
//! - W4: until the link is live again nothing is trusted beyond what was said before it was lost.
//!
//! # Not promised
//! A lost clock that comes to stand, unheard, at exactly the number that is known is not noticed. The scripts restart a
//! clock above the server's time in microseconds, which no count of changes catches up with.
//!
//! Checked by `law_tests.rs`: a server with a trimmed log, a channel that loses, lost clocks and other histories, with
//! faults planted here that it must find.

use std::collections::VecDeque;
use std::time::Duration;

#[cfg(test)]
use crate::shared::law::planted;
use crate::shared::message::{Keys, Message, Origin, Refused, Said, What};
use crate::shared::replay::{Entry, MOST_REPLAYED, Missing};
use crate::shared::{Change, Controlled};
#[cfg(not(test))]
use crate::sync::planted;

/// A server and its history: the process alone may have been demoted, given another's data, and promoted again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) run_id: String,
    pub(crate) replication_id: String,
}

/// What is kept in the partition that is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Partition {
    /// Keys and values.
    Data,
    /// The control clock.
    Control,
}

/// For how long an answered question holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// After the link was lost, counted from when the question was sent.
    pub(crate) staleness: Duration,
    /// How long a loss may go unnoticed: while the link is live an answer holds for at least this long.
    pub(crate) notice: Duration,
}

/// What is to be done about an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action<'a> {
    Changed(Keys<'a>, Change),
    Settled(&'a str),
    Bumped(Controlled),
    /// Changes may have been missed. Of a data partition: what is held of it is suspect.
    Suspect,
    /// Of the control partition: what is known of tags, patterns and clears is to be read anew.
    ReadControl,
    /// Another server answers, or the same one with another history.
    Replaced,
    /// What is held may be used until then.
    Trusted(Duration),
    /// These entries of the log are to be read, on the same connection, and handed to [`Follow::replayed`].
    Replay(Missing),
    /// The connection is of no more use.
    Drop(&'static str),
}

/// What has been counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Messages heard, one's own too.
    pub(crate) messages: u64,
    /// Messages and entries that said nothing.
    pub(crate) refused: u64,
    /// Losses that were noticed by a number.
    pub(crate) gaps: u64,
    /// Changes read from the log.
    pub(crate) replayed: u64,
    /// How often everything became suspect.
    pub(crate) suspects: u64,
}

/// The most that is held back.
const MOST_HELD: usize = 4096;
const MOST_HELD_BYTES: usize = 4 << 20;

/// The link of one partition.
#[derive(Debug)]
pub(crate) struct Follow {
    partition: Partition,
    own: Origin,
    bounds: Bounds,
    /// The server that `last` is of.
    known: Option<Identity>,
    /// See W1; `None` where the server has no clock.
    last: Option<u64>,
    /// The greatest number heard since suspicion was told.
    newest: u64,
    state: State,
    held: VecDeque<Held>,
    held_bytes: usize,
    /// When the question was sent whose number has been taken, and whose identity has not come yet.
    asked: Option<Duration>,
    /// When the newest question was sent that has been answered in full.
    answered: Option<Duration>,
    /// What was said of trust.
    until: Duration,
    counts: Counts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Down,
    /// Messages come, and nothing has been asked or answered.
    Subscribed,
    /// The first number has come, and not yet whose it is.
    Numbered(Option<u64>),
    Replaying(Missing),
    Live,
}

#[derive(Debug)]
enum Held {
    Message(Vec<u8>),
    Number(Option<u64>, Duration),
}

impl Follow {
    /// A link that was never up. Changes of `own` origin are not told.
    pub(crate) fn new(partition: Partition, own: Origin, bounds: Bounds) -> Self {
        Self {
            partition,
            own,
            bounds,
            known: None,
            last: None,
            newest: 0,
            state: State::Down,
            held: VecDeque::new(),
            held_bytes: 0,
            asked: None,
            answered: None,
            until: Duration::ZERO,
            counts: Counts::default(),
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether the server has been asked, and all that it said is taken.
    pub(crate) fn is_live(&self) -> bool {
        self.state == State::Live
    }

    /// The number up to which everything is covered.
    pub(crate) fn last(&self) -> Option<u64> {
        self.last
    }

    /// The subscription has begun: whatever comes from now on is heard.
    pub(crate) fn subscribed(&mut self) {
        self.reset();
        self.state = State::Subscribed;
    }

    /// The connection is gone.
    pub(crate) fn lost(&mut self, act: &mut dyn FnMut(Action<'_>)) {
        self.reset();
        if matches!(self.state, State::Replaying(_)) {
            // It may be too much for one answer: it is not asked for again.
            self.last = None;
        }
        self.state = State::Down;
        if let Some(sent) = self.answered {
            let until = sent.saturating_add(self.bounds.staleness);
            if until < self.until {
                self.until = until;
                act(Action::Trusted(until));
            }
        }
    }

    /// Counts on nothing that was told: the connection is gone, and what follows begins with suspicion.
    pub(crate) fn forget(&mut self) {
        self.reset();
        (self.state, self.last) = (State::Down, None);
    }

    /// A message of the channel.
    pub(crate) fn heard(&mut self, bytes: &[u8], act: &mut dyn FnMut(Action<'_>)) {
        self.counts.messages += 1;
        match (Message::read(bytes), self.state) {
            (_, State::Down) => {}
            (Ok(Message::Settled(key)), _) => act(Action::Settled(key)),
            // What it is about has no number, so it need not wait for those that have.
            (Ok(Message::SuspectAll(origin)), _) => {
                if origin != self.own {
                    self.suspect(act);
                }
            }
            (Err(Refused { number: None, .. }), _) => self.counts.refused += 1,
            // The number that is asked for next says whether it was the newest; what it says is in the log.
            (Ok(Message::Numbered(number, _)), State::Subscribed) => self.newest = self.newest.max(number),
            (Err(_), State::Subscribed) => self.counts.refused += 1,
            (_, State::Numbered(_) | State::Replaying(_)) => self.hold(Held::Message(bytes.to_vec()), act),
            (message, State::Live) => self.take(message, act),
        }
    }

    /// The number of the newest change, asked for at `sent`; `None` if the server has no clock.
    pub(crate) fn number(&mut self, number: Option<u64>, sent: Duration, act: &mut dyn FnMut(Action<'_>)) {
        match self.state {
            State::Down => {}
            State::Subscribed => {
                self.asked = Some(sent);
                self.state = State::Numbered(number);
            }
            // A second question before the first one has its identity: its place is behind what was held since.
            State::Numbered(_) | State::Replaying(_) => self.hold(Held::Number(number, sent), act),
            State::Live => {
                self.asked = Some(sent);
                self.compare(number, act);
            }
        }
    }

    /// The identity of the server, asked for behind the number.
    pub(crate) fn identity(&mut self, identity: &Identity, act: &mut dyn FnMut(Action<'_>)) {
        let same = |known: &Identity| known == identity || planted("run_id_alone") && known.run_id == identity.run_id;
        match (self.state, self.known.as_ref().map(same)) {
            (State::Down | State::Subscribed, _) => {}
            (State::Numbered(number), Some(true)) => {
                self.state = State::Live;
                match self.last {
                    Some(_) => self.compare(number, act),
                    // Whatever was said while nobody listened may be forgotten again.
                    None => self.start_at(number, act),
                }
                self.confirm(act);
                self.release(act);
            }
            (State::Numbered(number), known) => {
                if known.is_some() {
                    act(Action::Replaced);
                }
                self.known = Some(identity.clone());
                self.state = State::Live;
                self.start_at(number, act);
                self.confirm(act);
                self.release(act);
            }
            (State::Live | State::Replaying(_), Some(true)) => self.confirm(act),
            // Which of the two the last number was of is not known.
            (State::Live | State::Replaying(_), _) => {
                act(Action::Replaced);
                self.suspect(act);
                self.known = Some(identity.clone());
                self.forget();
                act(Action::Drop("the server has changed its history"));
            }
        }
    }

    /// What the log has of what was missing, or `None` if it could not be read.
    pub(crate) fn replayed(
        &mut self,
        missing: Missing,
        entries: Option<&[Entry<'_>]>,
        act: &mut dyn FnMut(Action<'_>),
    ) {
        if self.state != State::Replaying(missing) {
            return;
        }
        self.state = State::Live;
        match entries.filter(|entries| missing.is_whole(entries)) {
            Some(entries) => {
                for entry in entries {
                    if let Ok(said) = Said::read(entry.field, entry.value) {
                        self.counts.replayed += 1;
                        self.tell(entry.number().unwrap_or(missing.through), said, act);
                    }
                }
                self.last = Some(missing.through);
            }
            None if planted("trimmed_is_whole") => self.last = Some(missing.through),
            None => self.start_at(Some(missing.through), act),
        }
        self.release(act);
    }

    /// Lets go of what is held, but for the numbers: the server cannot have fewer.
    fn reset(&mut self) {
        let held = self.held.iter().filter_map(Held::number).max();
        self.newest = self.newest.max(held.unwrap_or(0));
        self.held.clear();
        (self.held_bytes, self.asked) = (0, None);
    }

    /// Everything up to now is covered from here on, and the server stands at `number`.
    fn start_at(&mut self, number: Option<u64>, act: &mut dyn FnMut(Action<'_>)) {
        self.suspect(act);
        self.last = number;
        self.newest = number.unwrap_or(0);
    }

    fn suspect(&mut self, act: &mut dyn FnMut(Action<'_>)) {
        self.counts.suspects += 1;
        act(match self.partition {
            Partition::Data => Action::Suspect,
            Partition::Control => Action::ReadControl,
        });
    }

    /// Takes a message in its place.
    fn take(&mut self, message: Result<Message<'_>, Refused>, act: &mut dyn FnMut(Action<'_>)) {
        let (number, said) = match message {
            Ok(Message::Numbered(number, said)) => (number, Some(said)),
            Err(Refused { number: Some(number), .. }) => (number, None),
            // Neither has a place.
            Ok(Message::Settled(_) | Message::SuspectAll(_)) | Err(Refused { number: None, .. }) => return,
        };
        let next = self.last.is_some_and(|last| number > last && number - last == 1);
        match said {
            // Whether it was a change, and had that number, is for the next answer to say.
            None => {
                self.counts.refused += 1;
                self.suspect(act);
            }
            Some(said) if next => {
                if said.origin != self.own || !planted("own_do_not_advance") {
                    (self.last, self.newest) = (Some(number), number);
                }
                self.tell(number, said, act);
            }
            Some(said) => match self.last {
                Some(last) if number > last => self.miss(Missing { after: last, through: number }, act),
                Some(_) if planted("old_numbers_ignored") => {}
                // The clock was lost; or it is the first number of a server that had none.
                Some(_) | None => {
                    self.start_at(Some(number), act);
                    self.tell(number, said, act);
                }
            },
        }
    }

    /// Takes the number of the newest change in its place.
    fn compare(&mut self, number: Option<u64>, act: &mut dyn FnMut(Action<'_>)) {
        match (number, self.last) {
            (None, None) => {}
            (Some(number), Some(last)) if number >= self.newest => {
                if number > last {
                    self.miss(Missing { after: last, through: number }, act);
                }
            }
            (Some(_), Some(_)) if planted("old_numbers_ignored") => {}
            // The clock was lost, or is new.
            _ => self.start_at(number, act),
        }
    }

    /// Changes were lost: asks for them.
    fn miss(&mut self, missing: Missing, act: &mut dyn FnMut(Action<'_>)) {
        self.counts.gaps += 1;
        self.newest = missing.through;
        let missing = Missing { after: missing.after + u64::from(planted("replay_begins_late")), ..missing };
        if missing.count() > MOST_REPLAYED {
            return self.start_at(Some(missing.through), act);
        }
        self.state = State::Replaying(missing);
        act(Action::Replay(missing));
    }

    fn tell(&mut self, number: u64, said: Said<'_>, act: &mut dyn FnMut(Action<'_>)) {
        if said.origin == self.own {
            return;
        }
        match said.what {
            What::Changed(how, keys) => act(Action::Changed(keys, how)),
            What::Bump(how, name) => act(Action::Bumped(Controlled { clock: number, what: how.control(name) })),
        }
    }

    /// The question that the number came with is answered in full.
    fn confirm(&mut self, act: &mut dyn FnMut(Action<'_>)) {
        if self.state != State::Live {
            // What is read from the log comes after this, and may be of another history: the next question tells.
            self.asked = None;
            return;
        }
        if let Some(sent) = self.asked.take() {
            self.answered = Some(sent);
            self.until = self.until.max(sent.saturating_add(self.bounds.staleness.max(self.bounds.notice)));
            act(Action::Trusted(self.until));
        }
    }

    fn hold(&mut self, held: Held, act: &mut dyn FnMut(Action<'_>)) {
        if let Held::Message(bytes) = &held {
            self.held_bytes += bytes.len();
        }
        self.held.push_back(held);
        if self.held.len() > MOST_HELD || self.held_bytes > MOST_HELD_BYTES {
            self.give_up(act);
        }
    }

    /// Waits no longer for the log.
    fn give_up(&mut self, act: &mut dyn FnMut(Action<'_>)) {
        let State::Replaying(missing) = self.state else {
            self.reset();
            self.state = State::Down;
            return act(Action::Drop("more came than can be kept before the server said who it is"));
        };
        let newest = self.held.iter().rev().find_map(Held::number).unwrap_or(missing.through);
        self.reset();
        self.state = State::Live;
        self.start_at(Some(newest), act);
    }

    /// Takes what was held back, as far as nothing is missing.
    fn release(&mut self, act: &mut dyn FnMut(Action<'_>)) {
        while self.state == State::Live {
            match self.held.pop_front() {
                None => break,
                Some(Held::Message(bytes)) => {
                    self.held_bytes -= bytes.len();
                    self.take(Message::read(&bytes), act);
                }
                Some(Held::Number(number, sent)) => self.number(number, sent, act),
            }
        }
    }
}

impl Held {
    /// The number of a change.
    fn number(&self) -> Option<u64> {
        match self {
            Self::Message(bytes) => match Message::read(bytes) {
                Ok(Message::Numbered(number, _)) => Some(number),
                _ => None,
            },
            Self::Number(..) => None,
        }
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
