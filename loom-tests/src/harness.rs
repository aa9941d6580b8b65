//! How a model is run, and how its twin shows that it can fail.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::sync::FAULT;

/// Preemptions per execution, unless `LOOM_MAX_PREEMPTIONS` says otherwise.
const PREEMPTIONS: usize = 3;

/// Runs every interleaving of `execution`.
pub(crate) fn model(name: &str, execution: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(PREEMPTIONS));
    let (count, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let counter = count.clone();
    builder.check(move || {
        // Relaxed: counted by one execution after the other.
        counter.fetch_add(1, Ordering::Relaxed);
        execution();
    });
    let executions = count.load(Ordering::Relaxed);
    println!("{name}: {executions} executions in {:.2?}, bound {:?}", began.elapsed(), builder.preemption_bound);
}

/// Runs the test `name` of this crate with `fault` planted; it must fail, and by its own assertions or a deadlock.
pub(crate) fn must_find(name: &str, fault: &str) {
    let tests = std::env::current_exe().expect("the test binary has a path");
    let output = Command::new(tests)
        .args(["--exact", name, "--nocapture"])
        .env(FAULT, fault)
        .stdin(Stdio::null())
        .output()
        .expect("the test binary runs");
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("running 1 test"), "there is no test {name}:\n{told}");
    assert!(!output.status.success(), "{name} does not find {fault}:\n{told}");
    assert!(!told.contains("exceeded maximum number of branches"), "{name} did not get to {fault}:\n{told}");
}

/// A model as a test, and its twin with a fault planted.
macro_rules! models {
    ($($(#[$doc:meta])* $name:ident finds $($fault:ident),+ $execution:block)+) => { $(
        $(#[$doc])*
        mod $name {
            use super::*;

            #[test]
            fn holds() {
                $crate::harness::model(stringify!($name), || $execution);
            }

            $(#[test]
            fn $fault() {
                let (_, path) = module_path!().split_once("::").expect("a test lies in a module");
                $crate::harness::must_find(&format!("{path}::holds"), stringify!($fault));
            })+
        }
    )+ };
}
pub(crate) use models;
