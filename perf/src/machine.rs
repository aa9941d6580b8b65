//! Where a report was made, and from what.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

const LOCK: &str = include_str!("../../Cargo.lock");

/// The compiler that built this program.
pub(crate) const RUSTC: &str = env!("PERF_RUSTC");

/// What figures depend on.
pub(crate) fn machine() -> Value {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({
        "cpu": cpu(),
        "cores": cores,
        "kernel": first_line("uname", &["-sr"]),
        "rustc": RUSTC,
        "commit": commit(),
        "load": fs::read_to_string("/proc/loadavg").ok().and_then(|load| load.split(' ').next().map(str::to_owned)),
    })
}

/// The versions of ours and of `packages`, as built; a package of which several versions are built has them all.
pub(crate) fn versions(packages: &[&str]) -> Value {
    let version = |package: &&str| {
        let head = format!("name = \"{package}\"\nversion = \"");
        let found: Vec<_> = LOCK.split(&head).skip(1).filter_map(|rest| rest.split('"').next()).collect();
        ((*package).to_owned(), Value::from(found.join(", ")))
    };
    std::iter::once(&"tercel").chain(packages).map(version).collect::<serde_json::Map<_, _>>().into()
}

fn cpu() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(": ").map(|(_, model)| model.to_owned())
}

/// The commit of the working tree; `+` if files that are built differ from it.
fn commit() -> Option<String> {
    let head = first_line("git", &["rev-parse", "--short=12", "HEAD"])?;
    let changed = first_line("git", &["status", "--porcelain", "--untracked-files=no", "--", "*.rs", "*.toml"]);
    Some(if changed.is_some() { format!("{head}+") } else { head })
}

pub(crate) fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
}
