//! The bytes that lie in Redis, against those of every release: `tests/wire/<release>/<frame>.hex`.
//!
//! A file is a frame as it was captured from a server, sixteen bytes a line; a line that begins with `#` is a remark.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/faces.rs"]
mod faces;
#[path = "support/redis_server.rs"]
mod redis_server;

use std::path::Path;
use std::time::Duration;

use faces::{Face, HOUR, faces, name, over};
use redis_server::{Answer, RedisServer};
use serde::{Deserialize, Serialize};
use tercel::{CacheManager, EntryOptions, Loaded, Lookup, Value};

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct User {
    id: u64,
    name: String,
    tags: Vec<String>,
    score: Option<f64>,
}

fn user() -> User {
    User { id: 7, name: "Grace".into(), tags: vec!["a".into(), "ü".into()], score: Some(0.5) }
}

/// What differs from write to write: the write id, the time of the write, the control clock, which 0.1 did not have, and the
/// checksum, which covers the write id.
const DRAWN: [std::ops::Range<usize>; 4] = [8..16, 24..32, 32..40, 60..64];

/// What each frame was made from.
const FRAMES: [&str; 5] = ["document", "text", "raw", "absent", "grace"];

fn write(face: &Face, frame: &str) {
    let key = format!("golden:{frame}");
    match frame {
        "document" => face.set(&key, Value::encode(&user()).unwrap(), HOUR).unwrap(),
        "text" => face.set(&key, "text", Duration::from_millis(1_234)).unwrap(),
        "raw" => face.set(&key, Value::bytes(&b"\0raw\xff"[..]), HOUR).unwrap(),
        "absent" => {
            let options = EntryOptions::new().negative_ttl(HOUR);
            assert_eq!(face.compute(&key, options, || Ok(Loaded::absent())).unwrap(), None);
        }
        "grace" => face.set(&key, "text", EntryOptions::from(HOUR).grace(Duration::from_secs(90))).unwrap(),
        _ => unreachable!("{frame} is not a frame"),
    }
}

fn assert_reads(face: &Face, frame: &str) {
    let key = format!("golden:{frame}");
    match frame {
        "document" => assert_eq!(face.get(&key).unwrap().unwrap().decode::<User>().unwrap(), user()),
        "text" | "grace" => assert_eq!(face.text(&key).unwrap().as_deref(), Some("text")),
        "raw" => assert_eq!(face.get(&key).unwrap().unwrap().as_bytes(), Some(&b"\0raw\xff"[..])),
        "absent" => assert_eq!(face.lookup(&key).unwrap(), Lookup::Absent),
        _ => unreachable!("{frame} is not a frame"),
    }
}

fn kept(release: &str, frame: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/wire/{release}/{frame}.hex"));
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let words = text.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace);
    words.map(|word| u8::from_str_radix(word, 16).expect("two hexadecimal digits")).collect()
}

fn hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    bytes.chunks(16).map(line).collect::<Vec<_>>().join("\n")
}

fn masked(mut bytes: Vec<u8>) -> Vec<u8> {
    for range in DRAWN {
        if let Some(drawn) = bytes.get_mut(range) {
            drawn.fill(0);
        }
    }
    bytes
}

fn captured(server: &RedisServer, frame: &str) -> Vec<u8> {
    server.command(&["GET", &name(&format!("golden:{frame}"))]).into_bytes().expect("the frame is there")
}

fn plant(server: &RedisServer, frame: &str, bytes: &[u8], left: &str) {
    let name = name(&format!("golden:{frame}"));
    server.command_bytes(&[b"SET", name.as_bytes(), bytes, b"PX", left.as_bytes()]);
}

#[test]
fn this_release_writes_the_bytes_of_0_1() {
    let Some(server) = RedisServer::start() else { return };
    for face in faces(&over(&server)) {
        for frame in FRAMES {
            write(&face, frame);
            let got = captured(&server, frame);
            let expected = kept("0.1", frame);
            assert_eq!(hex(&masked(got.clone())), hex(&masked(expected)), "`{frame}` was captured as\n{}", hex(&got));
            server.command(&["FLUSHALL"]);
            face.invalidate(&format!("golden:{frame}")).unwrap();
        }
    }
}

#[test]
fn what_0_1_wrote_is_read() {
    let Some(server) = RedisServer::start() else { return };
    for face in faces(&skipping_l1(&server)) {
        for frame in FRAMES {
            plant(&server, frame, &kept("0.1", frame), "600000");
            assert_reads(&face, frame);
        }
    }
}

/// The server's remaining time counts, whatever the frame says of its own age: clocks of two machines are not compared.
#[test]
fn the_time_that_the_server_says_is_left_is_what_is_left() {
    let Some(server) = RedisServer::start() else { return };
    for face in faces(&skipping_l1(&server)) {
        plant(&server, "document", &kept("0.1", "document"), "600000");
        let Lookup::Hit { age, stale, .. } = face.lookup("golden:document").unwrap() else { panic!("it is there") };
        // Of its hour ten minutes are left, however short a time this process has been running.
        assert!(!stale && age >= HOUR - Duration::from_secs(600) && age < HOUR, "{age:?}");
    }
}

#[test]
fn a_value_older_than_this_process_is_too_old_for_a_max_age() {
    let Some(server) = RedisServer::start() else { return };
    let cache = over(&server);
    plant(&server, "document", &kept("0.1", "document"), "600000");
    for face in faces(&cache.with_defaults(EntryOptions::new().max_age(HOUR - Duration::from_secs(700)))) {
        assert_eq!(face.get("golden:document").unwrap(), None);
    }
    for face in faces(&cache.with_defaults(EntryOptions::new().max_age(HOUR))) {
        assert!(face.get("golden:document").unwrap().is_some());
    }
}

#[test]
fn a_frame_whose_server_knows_no_time_lives_no_longer_than_it_says() {
    let Some(server) = RedisServer::start() else { return };
    for face in faces(&skipping_l1(&server)) {
        // Written long ago, for an hour.
        let name = name("golden:document");
        server.command_bytes(&[b"SET", name.as_bytes(), &kept("0.1", "document")]);
        assert_eq!(server.command(&["PTTL", &name]), Answer::Int(-1));
        let mut old = kept("0.1", "document");
        old[24..32].copy_from_slice(&1_700_000_000_000u64.to_le_bytes());
        server.command_bytes(&[b"SET", name.as_bytes(), &old]);
        assert_eq!(face.get("golden:document").unwrap(), None);
        // Written just now, for an hour.
        write(&face, "document");
        server.command(&["PERSIST", &name]);
        assert_reads(&face, "document");
    }
}

fn skipping_l1(server: &RedisServer) -> CacheManager {
    over(server).with_defaults(EntryOptions::new().skip_tier(1))
}
