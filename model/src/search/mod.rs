//! Breadth-first search over all states that a model can reach.
//!
//! A state that was seen is kept as the 64-bit fingerprint of its bytes, the least one among the states that a symmetry of the
//! model makes of it. The frontier holds whole states; of the others there is a parent and the number of the step that led
//! to them, from which a trace is walked again.
//!
//! # Not promised
//! Two states with one fingerprint count as one, and what only the second of them reaches is not seen. Of n states, at most
//! n² / 2⁶⁵ such pairs are expected: 3 in 10⁶ searches of ten million states. A violation that is reported is real,
//! whatever the fingerprints did: its trace is made of steps.

mod fingerprint;
#[cfg(test)]
mod tests;
mod walk;

use std::time::{Duration, Instant};

pub(crate) use fingerprint::Gather;
use fingerprint::{Fingerprint, Seen, fingerprint};
pub(crate) use walk::walk;

/// What a search walks through.
pub(crate) trait Model {
    type State: Clone;

    /// Where it begins.
    fn starts(&self, steps: &mut Steps<Self::State>);

    /// All that can happen next.
    fn steps(&self, state: &Self::State, steps: &mut Steps<Self::State>);

    /// The law that a state breaks.
    fn broken(&self, state: &Self::State) -> Option<&'static str>;

    /// How many renamings there are, the one that changes nothing (number 0) included.
    fn symmetries(&self) -> usize;

    /// All that tells this state from another, renamed.
    fn gather(&self, state: &Self::State, symmetry: usize, bytes: &mut Gather);
}

/// The steps out of a state, with the words for them where a trace is told.
pub(crate) struct Steps<S> {
    told: bool,
    taken: Vec<(String, S)>,
}

impl<S> Steps<S> {
    fn new(told: bool) -> Self {
        Self { told, taken: Vec::new() }
    }

    /// A step to `state`. Its words are only made for a trace.
    pub(crate) fn to(&mut self, state: S, words: impl FnOnce() -> String) {
        let words = if self.told { words() } else { String::new() };
        self.taken.push((words, state));
    }

    /// The states that the steps lead to.
    pub(crate) fn states(&mut self) -> impl Iterator<Item = &mut S> {
        self.taken.iter_mut().map(|(_, state)| state)
    }
}

/// Whether states that are renamings of each other count as one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Symmetry {
    Used,
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests hold the two against each other"))]
    Ignored,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) time: Duration,
    pub(crate) states: usize,
    pub(crate) symmetry: Symmetry,
}

#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) law: &'static str,
    /// The start, then a step a line: no shorter way leads to a broken law.
    pub(crate) trace: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) broken: Option<Broken>,
    /// The time or the states ran out before the end.
    pub(crate) cut: bool,
    pub(crate) states: usize,
    /// Steps from a start to the furthest state that was looked at.
    pub(crate) depth: usize,
    pub(crate) elapsed: Duration,
}

/// How a state was come by.
struct Origin {
    /// Its place in the list of origins; that of a start is its own.
    parent: u32,
    step: u16,
}

struct Search<'a, M: Model> {
    model: &'a M,
    limits: Limits,
    began: Instant,
    seen: Seen,
    origins: Vec<Origin>,
    frontier: Vec<(u32, M::State)>,
}

enum End {
    Broken { parent: Option<u32>, step: usize },
    Cut,
    Exhausted,
}

pub(crate) fn search<M: Model>(model: &M, limits: Limits) -> Outcome {
    let mut search = Search {
        model,
        limits,
        began: Instant::now(),
        seen: Seen::default(),
        origins: Vec::new(),
        frontier: Vec::new(),
    };
    let (end, depth) = search.run();
    let broken = match end {
        End::Broken { parent, step } => Some(search.tell(parent, step)),
        End::Cut | End::Exhausted => None,
    };
    Outcome {
        broken,
        cut: matches!(end, End::Cut),
        states: search.origins.len(),
        depth,
        elapsed: search.began.elapsed(),
    }
}

impl<M: Model> Search<'_, M> {
    fn run(&mut self) -> (End, usize) {
        let mut steps = Steps::new(false);
        self.model.starts(&mut steps);
        let mut next = Vec::new();
        if let Some(step) = self.visit(None, &mut steps, &mut next) {
            return (End::Broken { parent: None, step }, 0);
        }
        let mut depth = 0;
        while !next.is_empty() {
            self.frontier = std::mem::take(&mut next);
            depth += 1;
            for (number, (place, state)) in std::mem::take(&mut self.frontier).into_iter().enumerate() {
                self.model.steps(&state, &mut steps);
                if let Some(step) = self.visit(Some(place), &mut steps, &mut next) {
                    return (End::Broken { parent: Some(place), step }, depth);
                }
                if self.origins.len() > self.limits.states
                    || (number % 1024 == 0 && self.began.elapsed() > self.limits.time)
                {
                    return (End::Cut, depth);
                }
            }
        }
        (End::Exhausted, depth.saturating_sub(1))
    }

    /// Keeps what is new; the number of the first step that breaks a law.
    fn visit(
        &mut self,
        parent: Option<u32>,
        steps: &mut Steps<M::State>,
        next: &mut Vec<(u32, M::State)>,
    ) -> Option<usize> {
        for (number, (_, state)) in steps.taken.drain(..).enumerate() {
            if self.model.broken(&state).is_some() {
                return Some(number);
            }
            if self.seen.insert(self.fingerprint(&state)) {
                let place = u32::try_from(self.origins.len()).expect("the limit of states is below 2³²");
                let step = u16::try_from(number).expect("a state has few steps");
                self.origins.push(Origin { parent: parent.unwrap_or(place), step });
                next.push((place, state));
            }
        }
        None
    }

    fn fingerprint(&self, state: &M::State) -> Fingerprint {
        let used = match self.limits.symmetry {
            Symmetry::Used => self.model.symmetries(),
            Symmetry::Ignored => 1,
        };
        (0..used)
            .map(|symmetry| fingerprint(|bytes| self.model.gather(state, symmetry, bytes)))
            .min()
            .unwrap_or_default()
    }

    /// Walks to a broken law again and writes down the way.
    fn tell(&self, parent: Option<u32>, last: usize) -> Broken {
        let mut way = vec![last];
        let mut at = parent;
        while let Some(place) = at {
            let origin = &self.origins[place as usize];
            way.push(usize::from(origin.step));
            at = (origin.parent != place).then_some(origin.parent);
        }
        way.reverse();
        let mut steps = Steps::new(true);
        self.model.starts(&mut steps);
        let mut trace = Vec::with_capacity(way.len());
        let mut law = None;
        for step in way {
            let (words, state) = steps.taken.swap_remove(step);
            trace.push(words);
            law = self.model.broken(&state);
            steps.taken.clear();
            self.model.steps(&state, &mut steps);
        }
        Broken { law: law.expect("the same steps lead to the same state"), trace }
    }
}
