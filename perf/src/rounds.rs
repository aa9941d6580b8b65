//! Interleaved rounds: in each, every contender runs once, and another one begins.

/// A contender's times in nanoseconds per operation, one per round.
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// The value below which `share` of the rounds lie.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        quantile(self.0.clone(), share)
    }

    /// The median over the rounds of this contender's time over `other`'s in the same round.
    pub(crate) fn ratio_to(&self, other: &Samples) -> f64 {
        quantile(self.0.iter().zip(&other.0).map(|(own, other)| own / other).collect(), 0.5)
    }
}

pub(crate) fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    quantile_of_sorted(&values, share)
}

pub(crate) fn quantile_of_sorted(values: &[f64], share: f64) -> f64 {
    let at = ((values.len() - 1) as f64 * share).round() as usize;
    values[at]
}

/// Runs `rounds` rounds over `contenders`; `run` is told the round and returns nanoseconds per operation. The first round
/// warms up and is dropped.
pub(crate) fn interleaved<C>(rounds: usize, contenders: &[C], mut run: impl FnMut(&C, usize) -> f64) -> Vec<Samples> {
    let mut samples: Vec<Vec<f64>> = contenders.iter().map(|_| Vec::with_capacity(rounds)).collect();
    for round in 0..=rounds {
        for turn in 0..contenders.len() {
            let which = (round + turn) % contenders.len();
            let time = run(&contenders[which], round);
            if round > 0 {
                samples[which].push(time);
            }
        }
    }
    samples.into_iter().map(Samples).collect()
}
