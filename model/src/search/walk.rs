//! Long walks at random, where there are too many states to visit them all: they go deep, and prove nothing.

use std::time::Instant;

use super::{Broken, Limits, Model, Outcome, Steps};

/// Walks from a start to a state without a step, each by its own number: the same number, the same way.
pub(crate) fn walk<M: Model>(model: &M, walks: u64, limits: Limits) -> Outcome {
    let began = Instant::now();
    let mut outcome = Outcome { broken: None, cut: false, states: 0, depth: 0, elapsed: began.elapsed() };
    for number in 0..walks {
        let (length, law) = go(model, number, &mut Steps::new(false), |_| {});
        outcome.states += length;
        outcome.depth = outcome.depth.max(length);
        if let Some(law) = law {
            let mut trace = Vec::new();
            go(model, number, &mut Steps::new(true), |words| trace.push(words));
            outcome.broken = Some(Broken { law, trace });
            break;
        }
        if began.elapsed() > limits.time {
            outcome.cut = true;
            break;
        }
    }
    outcome.elapsed = began.elapsed();
    outcome
}

/// One walk: how many steps it took, and the law that it broke.
fn go<M: Model>(
    model: &M,
    number: u64,
    steps: &mut Steps<M::State>,
    mut told: impl FnMut(String),
) -> (usize, Option<&'static str>) {
    let mut chance = Chance(number);
    model.starts(steps);
    let mut length = 0;
    while !steps.taken.is_empty() {
        let taken = chance.below(steps.taken.len());
        let (words, state) = steps.taken.swap_remove(taken);
        steps.taken.clear();
        told(words);
        if let Some(law) = model.broken(&state) {
            return (length, Some(law));
        }
        // Some steps lead back: no walk needs more.
        if length == 1000 {
            break;
        }
        length += 1;
        model.steps(&state, steps);
    }
    (length, None)
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed % bound as u64) as usize
    }
}
