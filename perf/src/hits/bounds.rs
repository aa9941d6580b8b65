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
