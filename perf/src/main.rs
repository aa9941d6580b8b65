//! Measurements of `tercel` against its rivals: ratios inside one interleaved run, with targets.

mod allocations;
mod arguments;
mod coherence;
mod handles;
mod hits;
mod instructions;
mod l1;
mod l2;
mod latency;
mod machine;
mod memory;
mod report;
mod rounds;
mod stampede;
mod waits;
mod windows;

use std::process::ExitCode;

use arguments::{Arguments, Scenario};
use instructions::Recorded;
use report::{Report, Unmeasured};
use serde_json::Value;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            print!("{}", arguments::HELP);
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            return refuse(&format!("{problem}\nperf --help says more."));
        }
    };
    let mut reports = Vec::new();
    for scenario in &arguments.scenarios {
        let report = match scenario {
            Scenario::Spin(name, hits) => return instructions::spin(name, *hits),
            Scenario::L1 => Ok(l1::measure(arguments.rounds)),
            Scenario::Hold(name, entries) => return memory::hold(name, *entries),
            Scenario::Memory => memory::measure(),
            Scenario::Latency => Ok(latency::measure(arguments.rounds)),
            Scenario::Handles => Ok(handles::measure(arguments.rounds)),
            Scenario::Instructions => match arguments.against.as_deref().map(Recorded::read).transpose() {
                Ok(recorded) => instructions::measure(recorded.as_ref()),
                Err(problem) => return refuse(&problem),
            },
            Scenario::Stampede => Ok(stampede::measure(arguments.rounds)),
            Scenario::Hits => match hits::traces(arguments.trace.as_deref()) {
                Ok(traces) => Ok(hits::measure(&traces, arguments.threads)),
                Err(problem) => return refuse(&problem),
            },
            Scenario::L2 => l2::measure(arguments.rounds),
            Scenario::Coherence => coherence::measure(&arguments.coherence),
        };
        match report {
            Ok(report) => {
                if !arguments.json {
                    println!("{report}");
                }
                reports.push(report);
            }
            // Standard output is the JSON's where that is asked for.
            Err(Unmeasured::Skipped(why)) if arguments.json => eprintln!("skipped: {why}"),
            Err(Unmeasured::Skipped(why)) => println!("skipped: {why}"),
            Err(Unmeasured::Failed(problem)) => return refuse(&problem),
        }
    }
    finish(&arguments, &reports)
}

/// What was asked for cannot be done.
fn refuse(problem: &str) -> ExitCode {
    eprintln!("perf: {problem}");
    ExitCode::from(2)
}

fn finish(arguments: &Arguments, reports: &[Report]) -> ExitCode {
    let whole = match reports {
        [one] if !arguments.all => one.to_json(),
        several => Value::Array(several.iter().map(Report::to_json).collect()),
    };
    if arguments.json {
        println!("{whole}");
    }
    if let Some(file) = &arguments.record
        && let Err(error) = std::fs::write(file, format!("{whole:#}\n"))
    {
        return refuse(&format!("{}: {error}", file.display()));
    }
    if reports.iter().all(Report::is_met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
