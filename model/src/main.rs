//! The protocol between instances, checked state by state: all that it can do within a bound is tried, with each of its fixes
//! switched off in turn, which must be noticed, and with all of them, which must not.

mod arguments;
mod cases;
mod control;
mod fix;
mod partition;
mod report;
mod search;
mod set;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arguments::Arguments;
use cases::{Case, cases};
use report::{HEAD, Row};
use search::{Limits, Symmetry};
use serde_json::json;

/// Above it a fingerprint is not to be trusted, nor the memory to suffice.
const STATES: usize = 400_000_000;
/// Nobody waits for longer without having said so.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            print!("{}", arguments::HELP);
            return ExitCode::SUCCESS;
        }
        Err(problem) => return refuse(&problem),
    };
    let mut chosen = cases(arguments.bound);
    let names = &arguments.names;
    chosen.retain(|case| names.is_empty() || names.iter().any(|name| case.name.starts_with(name.as_str())));
    if chosen.is_empty() {
        return refuse("no case has such a name");
    }
    if !arguments.json {
        println!("{HEAD}");
    }
    let rows = run(&chosen, &arguments);
    let met = rows.iter().all(|row| row.met);
    if arguments.json {
        let rows: Vec<_> = rows.iter().map(Row::to_json).collect();
        println!("{}", json!({ "met": met, "cases": rows }));
    }
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// As many cases at a time as there are cores; told in the order in which they end.
fn run(chosen: &[Case], arguments: &Arguments) -> Vec<Row> {
    let limits = Limits { time: arguments.cap.unwrap_or(LONGEST), states: STATES, symmetry: Symmetry::Used };
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores.min(chosen.len()) {
            scope.spawn(|| {
                // Relaxed: each number is drawn once, and nothing else hangs on it.
                while let Some(case) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = case.run(limits);
                    // Who asks for less than the whole is content with it.
                    let cut = arguments.cap.is_some() && outcome.cut && case.off.is_none();
                    let row = Row { case: *case, met: case.is_met(&outcome) || cut, outcome };
                    if !arguments.json {
                        println!("{}", row.line());
                        if arguments.trace {
                            print!("{}", row.trace());
                        }
                    }
                    rows.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(row);
                }
            });
        }
    });
    rows.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What was asked for cannot be done.
fn refuse(problem: &str) -> ExitCode {
    eprintln!("tercel-model: {problem}\ntercel-model --help says more.");
    ExitCode::from(2)
}
