//! What the server has beside its data: requests that wait, and the lines on which it is heard.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::control::Control;
use super::faults::{Operation, Orders};
use super::history::{Entry, History, Partition, Sequence, Step};
use crate::shared::CONTROL;
use crate::shared::follow::Identity;
use crate::shared::replay::Missing;

/// The server and all who talk with it. One lock is around it, so each step is whole.
pub(super) struct State {
    pub(super) history: History,
    pub(super) instances: Vec<Instance>,
    /// Nothing is done, and nothing is answered.
    pub(super) frozen: bool,
    /// There is no memory left.
    pub(super) starved: bool,
    /// What the server's own time is ahead of the clock's.
    pub(super) ahead: Duration,
    /// How many tags and rules are kept.
    pub(super) most: (usize, usize),
    pending: VecDeque<Pending>,
    answers: Vec<HeldAnswer>,
    lines: u64,
}

/// An instance as the server knows it.
#[derive(Default)]
pub(super) struct Instance {
    pub(super) orders: Orders,
    /// Where it hears, if it does.
    line: Option<Line>,
    /// Its lines are refused.
    pub(super) cut_off: bool,
    /// What is on its line does not arrive.
    held_back: bool,
    /// So many messages do not even get on the line.
    pub(super) deaf: usize,
}

/// The time at which a step is taken: the clock's, and the server's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) clock: Duration,
    pub(super) wall: Duration,
}

type Effect = Box<dyn FnOnce(&mut State, Now) + Send>;
type Answer = Box<dyn FnOnce() + Send>;

/// A request that has been sent and has not taken effect.
pub(super) struct Pending {
    pub(super) instance: usize,
    pub(super) operation: Operation,
    /// The key that it writes.
    pub(super) writes: Option<String>,
    pub(super) effect: Effect,
}

struct HeldAnswer {
    instance: usize,
    send: Answer,
}

/// A connection on which an instance hears. Everything on it comes in order.
struct Line {
    id: u64,
    subscribed: bool,
    asks: VecDeque<Ask>,
    wire: VecDeque<Delivery>,
    end: UnboundedSender<Delivery>,
}

/// What an instance asks on its line.
pub(super) enum Ask {
    Subscribe,
    /// The newest numbers, and last whose they are; when it was sent.
    Numbers(Duration),
    Replay(u16, Missing),
}

/// What comes over a line. Partitions are told by their number, or as [`CONTROL`].
pub(super) enum Delivery {
    Message(u16, Vec<u8>),
    Number(u16, Option<u64>, Duration),
    Identity(Identity),
    Entries(u16, Missing, Vec<Entry>),
}

impl State {
    pub(super) fn new(history: History, most: (usize, usize)) -> Self {
        Self {
            history,
            instances: Vec::new(),
            frozen: false,
            starved: false,
            ahead: Duration::ZERO,
            most,
            pending: VecDeque::new(),
            answers: Vec::new(),
            lines: 0,
        }
    }

    /// Takes a step in a partition of data, and tells everybody.
    pub(super) fn step<T>(&mut self, index: u16, now: Now, take: impl FnOnce(&mut Partition, &mut Step) -> T) -> T {
        let mut step = Step { now: now.clock, time: now.wall + self.ahead, told: Vec::new() };
        let answer = take(&mut self.history.partitions[usize::from(index)], &mut step);
        self.publish(index, step.told);
        answer
    }

    /// The same in the control partition.
    pub(super) fn control_step<T>(&mut self, now: Now, take: impl FnOnce(&mut Control, &mut Step) -> T) -> T {
        let mut step = Step { now: now.clock, time: now.wall + self.ahead, told: Vec::new() };
        let answer = take(&mut self.history.control, &mut step);
        self.publish(CONTROL, step.told);
        answer
    }

    pub(super) fn sequence(&mut self, index: u16) -> &mut Sequence {
        match index {
            CONTROL => &mut self.history.control.sequence,
            index => &mut self.history.partitions[usize::from(index)].sequence,
        }
    }

    // Requests

    /// Takes a request, and does what can be done.
    pub(super) fn submit(&mut self, request: Pending, now: Now) {
        self.pending.push_back(request);
        self.run(now);
    }

    /// Does what waits, in the order in which it came, but for what is held.
    pub(super) fn run(&mut self, now: Now) {
        while !self.frozen {
            let free = |request: &Pending| !self.instances[request.instance].orders.holds(request.operation);
            let Some(request) = self.pending.iter().position(free).and_then(|at| self.pending.remove(at)) else {
                break;
            };
            (request.effect)(self, now);
        }
    }

    /// Does the first request of this kind that waits, though it is held.
    pub(super) fn let_through(&mut self, instance: usize, operation: Operation, now: Now) -> bool {
        let is_it = |request: &Pending| request.instance == instance && request.operation == operation;
        let request = self.pending.iter().position(is_it).and_then(|at| self.pending.remove(at));
        request.map(|request| (request.effect)(self, now)).is_some()
    }

    /// Sends an answer, or keeps it for later.
    pub(super) fn answer(&mut self, instance: usize, operation: Operation, send: Answer) {
        if self.instances[instance].orders.holds_answer(operation) {
            self.answers.push(HeldAnswer { instance, send });
        } else {
            send();
        }
    }

    /// Sends the answers that were kept.
    pub(super) fn send_answers(&mut self, instance: usize) {
        for held in std::mem::take(&mut self.answers) {
            if held.instance == instance {
                (held.send)();
            } else {
                self.answers.push(held);
            }
        }
    }

    pub(super) fn waiting(&self, instance: usize) -> usize {
        self.pending.iter().filter(|request| request.instance == instance).count()
    }

    /// Sees to it that no write of `key` that this instance has sent takes effect any more.
    pub(super) fn forget_writes(&mut self, instance: usize, key: &str) {
        self.pending.retain(|request| request.instance != instance || request.writes.as_deref() != Some(key));
    }

    /// The connection is gone, and what was on it.
    pub(super) fn hang_up(&mut self, instance: usize) {
        self.pending.retain(|request| request.instance != instance);
        self.answers.retain(|answer| answer.instance != instance);
    }

    /// The same for all, and their lines too.
    pub(super) fn hang_up_all(&mut self) {
        self.pending.clear();
        self.answers.clear();
        self.instances.iter_mut().for_each(|instance| instance.line = None);
    }

    // Lines

    /// Opens a line, in place of the one that there was. Its id, unless it is refused.
    pub(super) fn connect(&mut self, instance: usize, end: UnboundedSender<Delivery>) -> Option<u64> {
        self.lines += 1;
        let id = self.lines;
        let instance = &mut self.instances[instance];
        let line = Line { id, subscribed: false, asks: VecDeque::new(), wire: VecDeque::new(), end };
        instance.line = (!instance.cut_off).then_some(line);
        instance.line.is_some().then_some(id)
    }

    pub(super) fn close(&mut self, instance: usize, id: u64) {
        let line = &mut self.instances[instance].line;
        line.take_if(|line| line.id == id);
    }

    pub(super) fn ask(&mut self, instance: usize, id: u64, ask: Ask) {
        if let Some(line) = self.instances[instance].line.as_mut().filter(|line| line.id == id) {
            line.asks.push_back(ask);
            self.serve(instance);
        }
    }

    /// Answers what was asked on a line.
    fn serve(&mut self, instance: usize) {
        let Self { history, instances, frozen: false, .. } = self else { return };
        let instance = &mut instances[instance];
        let Some(line) = &mut instance.line else { return };
        for ask in line.asks.drain(..) {
            match ask {
                Ask::Subscribe => line.subscribed = true,
                Ask::Numbers(sent) => {
                    let data = (0..).zip(&history.partitions).map(|(index, data)| (index, &data.sequence));
                    for (index, sequence) in data.chain([(CONTROL, &history.control.sequence)]) {
                        line.wire.push_back(Delivery::Number(index, sequence.number, sent));
                    }
                    line.wire.push_back(Delivery::Identity(history.identity.clone()));
                }
                Ask::Replay(index, missing) => {
                    let sequence = match index {
                        CONTROL => &history.control.sequence,
                        index => &history.partitions[usize::from(index)].sequence,
                    };
                    line.wire.push_back(Delivery::Entries(index, missing, sequence.read(missing)));
                }
            }
        }
        instance.deliver();
    }

    pub(super) fn serve_all(&mut self) {
        (0..self.instances.len()).for_each(|instance| self.serve(instance));
    }

    fn publish(&mut self, index: u16, messages: Vec<Vec<u8>>) {
        for message in messages {
            for instance in &mut self.instances {
                if let Some(line) = instance.line.as_mut().filter(|line| line.subscribed) {
                    if instance.deaf > 0 {
                        instance.deaf -= 1;
                    } else {
                        line.wire.push_back(Delivery::Message(index, message.clone()));
                        instance.deliver();
                    }
                }
            }
        }
    }
}

impl Instance {
    /// Ends the line; what had arrived on it is still read.
    pub(super) fn cut(&mut self) {
        self.line = None;
    }

    pub(super) fn hold_back(&mut self, held: bool) {
        self.held_back = held;
        self.deliver();
    }

    /// How much is on the line and has not arrived.
    pub(super) fn on_the_wire(&self) -> usize {
        self.line.as_ref().map_or(0, |line| line.wire.len())
    }

    fn deliver(&mut self) {
        if let Some(line) = self.line.as_mut().filter(|_| !self.held_back) {
            // Whoever does not read any more closes the line at once.
            line.wire.drain(..).for_each(|delivery| drop(line.end.send(delivery)));
        }
    }
}
