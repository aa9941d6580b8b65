//! The two policies that the others are held against: the best there can be, and the plainest. Simulated.

use std::collections::BinaryHeap;

use super::trace::Trace;

/// Hits of the policy that evicts what is asked for again the latest, or never (Belády, "A study of replacement algorithms
/// for a virtual-storage computer", 1966). That may be the key that was just asked for: a cache need not admit it.
pub(crate) fn opt(trace: &Trace, capacity: usize) -> usize {
    const NEVER: u32 = u32::MAX;
    let mut next = vec![NEVER; trace.requests.len()];
    let mut seen = vec![NEVER; trace.keys];
    for (at, &key) in trace.requests.iter().enumerate().rev() {
        next[at] = std::mem::replace(&mut seen[key as usize], at as u32);
    }
    // When a resident key is asked for next; the heap has that and what it was earlier.
    let mut resident: Vec<Option<u32>> = vec![None; trace.keys];
    let (mut latest, mut len, mut hits) = (BinaryHeap::new(), 0, 0);
    for (&key, &next) in trace.requests.iter().zip(&next) {
        if resident[key as usize].replace(next).is_some() {
            hits += 1;
        } else {
            len += 1;
        }
        latest.push((next, key));
        while len > capacity {
            let (at, key) = latest.pop().expect("what is resident is in the heap");
            if resident[key as usize] == Some(at) {
                resident[key as usize] = None;
                len -= 1;
            }
        }
    }
    hits
}

/// Hits of the policy that evicts what was asked for the longest ago.
pub(crate) fn lru(trace: &Trace, capacity: usize) -> usize {
    // A ring of links; one more than there are keys is its head.
    let head = trace.keys;
    let (mut older, mut newer): (Vec<usize>, Vec<usize>) = ((0..=head).collect(), (0..=head).collect());
    let mut resident = vec![false; trace.keys];
    let (mut len, mut hits) = (0, 0);
    for &key in &trace.requests {
        let key = key as usize;
        let mut gone = None;
        if resident[key] {
            hits += 1;
            gone = Some(key);
        } else if len == capacity {
            gone = Some(newer[head]);
        } else {
            len += 1;
        }
        if let Some(gone) = gone {
            resident[gone] = false;
            newer[older[gone]] = newer[gone];
            older[newer[gone]] = older[gone];
        }
        resident[key] = true;
        older[key] = older[head];
        newer[key] = head;
        newer[older[head]] = key;
        older[head] = key;
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::{lru, opt};
    use crate::hits::trace::Trace;

    fn trace(requests: &[u64]) -> Trace {
        Trace::new("test", requests.iter().copied())
    }

    /// The best of all ways to admit and evict, by trying them.
    fn best(requests: &[u32], resident: &[u32], capacity: usize) -> usize {
        let Some((key, rest)) = requests.split_first() else { return 0 };
        if resident.contains(key) {
            return 1 + best(rest, resident, capacity);
        }
        let with = |gone: Option<u32>| {
            let mut resident: Vec<u32> = resident.iter().copied().filter(|key| Some(*key) != gone).collect();
            resident.push(*key);
            best(rest, &resident, capacity)
        };
        let evicting = resident.iter().map(|gone| with(Some(*gone))).max().unwrap_or(0);
        let admitting = if resident.len() < capacity { with(None) } else { evicting };
        admitting.max(best(rest, resident, capacity))
    }

    #[test]
    fn opt_is_the_best_there_is() {
        let mut state = 1_u32;
        for capacity in 1..4 {
            for _ in 0..20 {
                let mut draw = || {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    u64::from(state >> 24) % 6
                };
                let trace = trace(&[(); 11].map(|()| draw()));
                assert_eq!(opt(&trace, capacity), best(&trace.requests, &[], capacity), "{:?}", trace.requests);
            }
        }
    }

    #[test]
    fn lru_evicts_what_was_asked_for_the_longest_ago() {
        assert_eq!(lru(&trace(&[1, 2, 1, 3, 1, 2]), 2), 2);
        assert_eq!(lru(&trace(&[1, 2, 3, 1, 2, 3]), 2), 0);
        assert_eq!(lru(&trace(&[1, 2, 3, 1, 2, 3]), 3), 3);
    }
}
