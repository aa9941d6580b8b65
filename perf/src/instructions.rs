//! Instructions per hit, which do not drift with the machine's load.

use std::process::Command;

use benches::local;

use crate::report::{Report, Row};

const FEW: u64 = 20_000;
const MANY: u64 = 120_000;

pub(crate) fn measure() -> Result<Report, String> {
    let mut rows = Vec::new();
    for rival in local::rivals(1024) {
        let (few, many) = (count(rival.name(), FEW)?, count(rival.name(), MANY)?);
        let per_hit = many.saturating_sub(few) as f64 / (MANY - FEW) as f64;
        rows.push(Row { name: rival.name().to_owned(), figures: vec![("instructions", per_hit)] });
    }
    Ok(Report {
        scenario: "instructions",
        about: "instructions per hit of one key, the read loop included; counted by valgrind".into(),
        packages: &["multi-tier-cache", "moka", "quick_cache"],
        rows,
        targets: Vec::new(),
    })
}

/// The instructions of a whole process that makes so many hits.
fn count(rival: &str, hits: u64) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["spin", rival, &hits.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    let counted =
        told.lines().find_map(|line| line.split_once("Collected : ")).and_then(|(_, n)| n.trim().parse().ok());
    match counted {
        Some(counted) if output.status.success() => Ok(counted),
        _ => Err(format!("valgrind counts nothing for `{rival}`: {told}")),
    }
}
