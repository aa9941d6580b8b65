//! The quickstart example, run as a program on a small tree: what it prints, what it refuses, and its exit codes.

#![cfg(all(feature = "redis", feature = "json"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

#[path = "support/redis_server.rs"]
mod redis_server;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;

use redis_server::{RedisServer, free_port};

const READERS: u64 = 8;

/// A folder of the test's own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tercel-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// 60 files in three folders.
    fn with_files(name: &str) -> Self {
        let folder = Self::new(name);
        for n in 0..60 {
            let dir = folder.0.join(format!("{}/deep", n % 3));
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join(format!("{n}.txt")), format!("file {n}\n").repeat(n)).unwrap();
        }
        folder
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The example beside this test. `cargo test` builds examples first; with `--test quickstart` alone it is built here.
fn example() -> PathBuf {
    static BUILT: Once = Once::new();
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let example = profile.join("examples").join(format!("quickstart{}", std::env::consts::EXE_SUFFIX));
    BUILT.call_once(|| {
        if !example.is_file() {
            build(profile);
        }
    });
    assert!(example.is_file(), "{} is missing: `cargo build --examples` makes it", example.display());
    example
}

fn build(profile: &Path) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--example", "quickstart"]).arg("--target-dir").arg(profile.parent().unwrap());
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().unwrap().success());
}

fn quickstart(arguments: &[&str]) -> Output {
    Command::new(example()).args(arguments).env_remove("REDIS_URL").output().unwrap()
}

fn quickstart_on(dir: &Path, arguments: &[&str]) -> Output {
    quickstart(&[&[dir.to_str().unwrap()], arguments].concat())
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The JSON of a run that went well, on the last line of standard output.
fn passes(output: &Output) -> Vec<serde_json::Value> {
    assert!(output.status.success(), "{}", err(output));
    let json: serde_json::Value = serde_json::from_str(out(output).lines().last().unwrap()).unwrap();
    json["passes"].as_array().unwrap().clone()
}

fn assert_cold_and_warm(passes: &[serde_json::Value], files: u64) {
    let (cold, warm) = (&passes[0], &passes[1]);
    assert_eq!((cold["pass"].as_str(), warm["pass"].as_str()), (Some("cold"), Some("warm")));
    for pass in [cold, warm] {
        assert_eq!(pass["files"], files);
        assert_eq!(pass["lookups"], files * READERS);
        assert!(pass["p50_ns"].as_u64().unwrap() <= pass["p99_ns"].as_u64().unwrap());
    }
    assert_eq!(cold["computations"], files, "each file is read once when cold");
    let (joined, hits) = (cold["joined"].as_u64().unwrap(), cold["hits"]["l1"].as_u64().unwrap());
    assert_eq!(joined + hits, files * (READERS - 1), "the other readers found it or waited for it");
    assert_eq!(warm["computations"], 0);
    assert_eq!(warm["hits"]["l1"], files * READERS, "warm is L1 alone");
}

#[test]
fn each_file_is_read_once_when_cold_and_never_when_warm() {
    let folder = Folder::with_files("passes");
    let passes = passes(&quickstart_on(&folder.0, &["--json"]));
    assert_eq!(passes.len(), 2);
    assert_cold_and_warm(&passes, 60);
}

#[test]
fn a_folder_without_files_and_one_with_a_single_file_do() {
    let folder = Folder::new("few");
    assert_cold_and_warm(&passes(&quickstart_on(&folder.0, &["--json"])), 0);
    std::fs::write(folder.0.join("one"), "").unwrap();
    assert_cold_and_warm(&passes(&quickstart_on(&folder.0, &["--json"])), 1);
}

#[test]
fn a_second_cache_finds_every_result_in_redis_and_nothing_stays_there() {
    let Some(server) = RedisServer::start() else { return };
    let folder = Folder::with_files("shared");
    for arguments in [
        vec!["--json".to_owned(), format!("--redis={}", server.url())],
        vec!["--redis".into(), server.url(), "--json".into()],
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let passes = passes(&quickstart_on(&folder.0, &arguments));
        assert_cold_and_warm(&passes, 60);
        let shared = &passes[2];
        assert_eq!(shared["pass"], "shared");
        assert_eq!(shared["computations"], 0);
        assert_eq!(shared["hits"]["redis"], 60);
        assert_eq!(server.command(&["KEYS", "tc:*:d:*"]), redis_server::Answer::List(Vec::new()));
    }
}

#[test]
fn a_server_that_is_not_there_is_named_without_its_password() {
    let folder = Folder::new("unreachable");
    let url = format!("redis://:secret@127.0.0.1:{}", free_port());
    let output = quickstart_on(&folder.0, &["--redis", &url]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("127.0.0.1") && err(&output).contains("refused"), "{}", err(&output));
    assert!(!err(&output).contains("secret"), "{}", err(&output));
}

#[test]
fn the_table_names_both_passes_and_what_was_seen_to_change() {
    let folder = Folder::with_files("table");
    let output = quickstart_on(&folder.0, &[]);
    assert!(output.status.success(), "{}", err(&output));
    let text = out(&output);
    let row = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{text}"));
    let head = row("pass");
    assert!(["cold", "warm"].iter().all(|name| row(name).chars().count() == head.chars().count()), "{text}");
    assert!(text.contains("seen as it is after `invalidate`"), "{text}");
    assert_eq!(err(&output), "", "no progress is shown where nobody looks");
}

#[test]
fn wrong_arguments_are_told_with_the_usage() {
    let folder = Folder::new("arguments");
    let (dir, file) = (folder.0.to_str().unwrap(), folder.0.join("file"));
    std::fs::write(&file, "").unwrap();
    let missing = folder.0.join("missing");
    let wrong: &[&[&str]] = &[
        &["--nonsense"],
        &["-j"],
        &["--redis"],
        &["--redis="],
        &[dir, dir],
        &[file.to_str().unwrap()],
        &[missing.to_str().unwrap()],
    ];
    for arguments in wrong {
        let output = quickstart(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(err(&output).contains("usage: quickstart"), "{arguments:?}: {}", err(&output));
        assert_eq!(out(&output), "");
    }
    let help = quickstart(&["--help"]);
    assert!(help.status.success() && out(&help).contains("--redis URL"));
}

#[test]
#[cfg(unix)]
fn names_of_any_bytes_are_read_and_links_are_not_followed() {
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new("names");
    for name in [&b"\xff\xfe bad"[..], b"\xff\xfd bad", b"\\xff\\xfe bad", "über\n".as_bytes()] {
        std::fs::write(folder.0.join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    std::os::unix::fs::symlink(&folder.0, folder.0.join("loop")).unwrap();
    assert_cold_and_warm(&passes(&quickstart_on(&folder.0, &["--json"])), 4);
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_that_cannot_be_read_is_named_and_left_out() {
    // The same for root, whom no permission stops.
    let dir = Path::new("/proc/self/attr");
    if std::fs::read(dir.join("exec")).is_ok() || !dir.is_dir() {
        println!("skipped: this kernel lets {}/exec be read", dir.display());
        return;
    }
    let output = quickstart_on(dir, &["--json"]);
    let passes = passes(&output);
    assert!(err(&output).contains("not read: /proc/self/attr/exec: "), "{}", err(&output));
    for pass in passes {
        assert!(pass["files"].as_u64() < Some(std::fs::read_dir(dir).unwrap().count() as u64));
    }
}
