//! What plain `cargo bench` runs: the suites of the package `benches`, with the arguments it was given.
//!
//! The rivals are dependencies of that package alone, so that neither the crate nor its tests are built with them.
//! `cargo bench -p benches` runs the suites without this detour, and `cargo bench -p benches --no-run` only builds them.

use std::process::{Command, exit};

fn main() {
    // Cargo adds `--bench` to what the user gave; the inner one adds it again.
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--bench");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(["bench", "--package", "benches", "--"]).args(arguments).status();
    match status {
        Ok(status) => exit(status.code().unwrap_or(1)),
        Err(error) => {
            eprintln!("cargo bench --package benches: {error}");
            exit(1);
        }
    }
}
