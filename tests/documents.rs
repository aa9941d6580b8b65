//! The documents name files that exist: a promise whose test is gone is no promise.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::path::Path;

/// What stands in backquotes or behind a link in `text` and looks like a path of this tree.
fn paths(text: &str) -> BTreeSet<&str> {
    const FOLDERS: [&str; 10] =
        ["tests/", "loom-tests/", "model/", "fuzz/", "examples/", "perf/", "benches/", "ci/", "src/", "docs/"];
    let words = text.split(|c: char| c.is_whitespace() || "`()[]".contains(c));
    let words = words.map(|word| word.trim_end_matches(['.', ',', ':', ';']));
    words.filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder))).collect()
}

#[test]
fn every_file_that_a_document_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = Vec::new();
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        let text = std::fs::read_to_string(root.join(document)).unwrap();
        for path in paths(&text) {
            let exists = root.join(path).exists() || root.join(format!("{path}.rs")).exists();
            // What a run leaves behind is not part of the tree.
            if !exists && path != "fuzz/artifacts" {
                missing.push(format!("{document}: {path}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_clause_of_the_contract_names_its_test() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let section = text.split("## What is promised").nth(1).unwrap().split("\n## ").next().unwrap();
    let clauses: Vec<_> = section.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    assert!(clauses.len() > 10, "the contract is a table");
    for clause in clauses {
        assert!(paths(clause).iter().any(|path| path.contains("tests/") || path.starts_with("fuzz/")), "{clause}");
    }
}

#[test]
fn the_map_of_the_code_names_every_module() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let map = map.split("## Map").nth(1).unwrap().split("\n## ").next().unwrap();
    let code = std::fs::read_to_string(root.join("src/lib.rs")).unwrap();
    let modules = code.lines().filter_map(|line| {
        let line = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ")?;
        line.strip_suffix(';')
    });
    let modules: Vec<_> = modules.collect();
    assert!(modules.len() > 15, "{modules:?}");
    for module in modules {
        assert!(map.contains(&format!("`{module}`")), "the map does not name {module}");
    }
}
