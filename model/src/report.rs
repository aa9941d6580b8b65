//! What was found: a table, traces, JSON.

use serde_json::{Value, json};

use crate::cases::{Case, Expected};
use crate::search::Outcome;

pub(crate) struct Row {
    pub(crate) case: Case,
    pub(crate) outcome: Outcome,
    pub(crate) met: bool,
}

pub(crate) const HEAD: &str = "case                                     off                        expected   found          states  depth  seconds";

impl Row {
    pub(crate) fn line(&self) -> String {
        let Self { case, outcome, met } = self;
        let off = case.off.map_or_else(|| "-".into(), |fix| format!("{fix:?}"));
        format!(
            "{:<40} {off:<26} {:<10} {:<10} {:>10} {:>6} {:>8.1}{}",
            case.name,
            expected(case.expected),
            found(outcome),
            outcome.states,
            outcome.depth,
            outcome.elapsed.as_secs_f64(),
            if *met { "" } else { "  DIFFERS" },
        )
    }

    /// The law that broke, and the way there.
    pub(crate) fn trace(&self) -> String {
        let Some(broken) = &self.outcome.broken else { return String::new() };
        let steps = broken.trace.iter().enumerate().map(|(number, words)| format!("  {number:>3}  {words}\n"));
        format!("{}\n{}  ===  {}\n", self.case.name, steps.collect::<String>(), broken.law)
    }

    pub(crate) fn to_json(&self) -> Value {
        let Self { case, outcome, met } = self;
        let broken = outcome.broken.as_ref();
        json!({
            "case": case.name,
            "off": case.off.map(|fix| format!("{fix:?}")),
            "expected": expected(case.expected),
            "found": found(outcome),
            "law": broken.map(|broken| broken.law),
            "trace": broken.map(|broken| &broken.trace),
            "walks": case.walks,
            "states": outcome.states,
            "depth": outcome.depth,
            "seconds": outcome.elapsed.as_secs_f64(),
            "met": met,
        })
    }
}

fn expected(expected: Expected) -> &'static str {
    match expected {
        Expected::Violation => "violation",
        Expected::Exception => "exception",
        Expected::Nothing => "nothing",
    }
}

fn found(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome { broken: Some(_), .. } => "violation",
        Outcome { cut: true, .. } => "cut",
        Outcome { .. } => "nothing",
    }
}
