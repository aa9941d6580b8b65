//! The cases: what is switched off, what may happen, and what the search has to find.

mod control;
mod partition;

use crate::control::Setting as Control;
use crate::fix::Fix;
use crate::partition::Setting as Partition;
use crate::search::{Limits, Outcome, search, walk};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expected {
    /// A fix is off: a law breaks.
    Violation,
    /// A law breaks, and that is said in what the crate promises.
    Exception,
    /// All fixes are on: nothing is found.
    Nothing,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Protocol {
    Partition(Partition),
    Control(Control),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) off: Option<Fix>,
    pub(crate) expected: Expected,
    pub(crate) protocol: Protocol,
    /// So many walks at random instead of all states; 0: all states.
    pub(crate) walks: u64,
}

/// How far the cases without a fault go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bound {
    /// Minutes on two cores.
    Small,
    /// Hours, and tens of gigabytes.
    Large,
}

impl Case {
    pub(crate) fn run(&self, limits: Limits) -> Outcome {
        match (&self.protocol, self.walks) {
            (Protocol::Partition(setting), 0) => search(setting, limits),
            (Protocol::Control(setting), 0) => search(setting, limits),
            (Protocol::Partition(setting), walks) => walk(setting, walks, limits),
            (Protocol::Control(setting), walks) => walk(setting, walks, limits),
        }
    }

    /// Whether an outcome is the one that is expected. One that was cut short says nothing.
    pub(crate) fn is_met(&self, outcome: &Outcome) -> bool {
        match self.expected {
            Expected::Violation | Expected::Exception => outcome.broken.is_some(),
            Expected::Nothing => outcome.broken.is_none() && !outcome.cut,
        }
    }
}

pub(crate) fn cases(bound: Bound) -> Vec<Case> {
    let mut cases = partition::broken();
    cases.extend(control::broken());
    cases.extend(partition::broken_too());
    cases.extend(partition::unbroken(bound));
    cases.extend(control::unbroken(bound));
    cases
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_name_is_one_case() {
        let cases = cases(Bound::Large);
        let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases.len());
    }

    #[test]
    fn each_fix_has_a_case_that_misses_it() {
        let off: Vec<_> = cases(Bound::Small).iter().filter_map(|case| case.off).collect();
        assert_eq!(off.len(), Fix::ALL.len());
        for fix in Fix::ALL {
            assert!(off.contains(fix), "{fix:?}");
        }
    }

    #[test]
    fn a_cut_search_proves_nothing() {
        let case = cases(Bound::Small)[0];
        let limits = Limits { time: std::time::Duration::MAX, states: 10, symmetry: crate::search::Symmetry::Used };
        let whole = Case { off: None, expected: Expected::Nothing, ..case };
        assert!(!case.is_met(&case.run(limits)));
        assert!(!whole.is_met(&whole.run(limits)));
    }
}
