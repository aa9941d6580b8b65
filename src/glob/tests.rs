#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use super::{escape, matches};

#[test]
fn the_table_holds() {
    #[rustfmt::skip]
    let table: &[(&str, &str, bool)] = &[
        ("", "", true), ("", "a", false), ("*", "", false), ("**", "", false), ("a", "", false),
        ("*", "a", true), ("**", "ab", true), ("a*", "a", true), ("a**", "a", true), ("*a", "ba", true), ("*a", "ab", false),
        ("a*b*c", "a12b34c", true), ("a*b*c", "a12b34", false), ("*aab", "aaaab", true), ("*a*b", "ab", true),
        ("?", "a", true), ("?", "ab", false), ("a?", "a", false), ("?*", "a", true), ("*?", "a", true),
        ("user:*:name", "user:1:name", true), ("user:*:name", "user:1:mail", false), ("A", "a", false),
        ("[ab]", "b", true), ("[ab]", "c", false), ("[^ab]", "c", true), ("[^ab]", "a", false),
        ("[a-c]", "b", true), ("[c-a]", "b", true), ("[a-c]", "d", false), ("[^a-c]", "d", true), ("x[a-c]y", "xby", true),
        ("[a-]", "_", true), ("[a-]", "]", true), ("[a-]", "-", false), ("[a-", "-", true), ("[-a]", "-", true), ("[a-c-e]", "-", true),
        ("[", "[", false), ("[", "a", false), ("[a", "a", true), ("[a", "b", false), ("[^", "a", true), ("[^a", "a", false), ("a[", "a", false),
        ("[]", "]", false), ("[]a]", "a]", false), ("[^]", "a", true), ("[^]a", "xa", true), ("[a^]", "^", true), ("[^^]", "^", false),
        ("\\", "\\", true), ("a\\", "a\\", true), ("\\*", "*", true), ("\\*", "a", false), ("\\a", "a", true), ("\\\\", "\\", true),
        ("[\\]]", "]", true), ("[\\]a]", "a", true), ("[\\", "\\", true), ("[\\a-c]", "b", false), ("[\\a-c]", "-", true), ("[!-\\]]", "Z]", true),
        ("]", "]", true), ("-", "-", true), ("^", "^", true), ("*[", "a", false), ("*\\", "a\\", true),
    ];
    for &(pattern, text, expected) in table {
        assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern:?} on {text:?}");
    }
    assert!(matches(b"[a-\xff]", b"Z") && !matches(b"[a-\xff]", b"z"), "ranges compare signed bytes");
    assert!(matches(b"a*\0\xff", b"ab\0\xff"));
}

#[test]
fn an_escaped_literal_matches_itself_only() {
    let alphabet = ["*", "?", "[", "]", "^", "-", "\\", "a", "é"];
    for x in alphabet {
        for y in alphabet {
            for z in alphabet {
                let text = [x, y, z].concat();
                let pattern = escape(&text);
                for other in alphabet.map(|w| [x, w, z].concat()) {
                    assert_eq!(matches(pattern.as_bytes(), other.as_bytes()), other == text, "{text:?} {other:?}");
                }
            }
        }
    }
}

#[test]
fn stars_are_followed_so_far() {
    let text = "a".repeat(1_200);
    for (stars, expected) in [(1_000, true), (1_001, false)] {
        assert_eq!(matches("*a".repeat(stars).as_bytes(), text.as_bytes()), expected);
        assert!(matches(("*a".repeat(1_000) + &"*".repeat(stars)).as_bytes(), text.as_bytes()));
    }
}

#[test]
fn a_hostile_pattern_ends_soon() {
    let pattern = "*a".repeat(900) + "b";
    assert!(!matches(pattern.as_bytes(), "a".repeat(20_000).as_bytes()));
}

/// A server of this test's own, killed by its own process id.
struct Server {
    process: Child,
    connection: BufReader<TcpStream>,
}

impl Server {
    fn start() -> Option<Server> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let log = BufReader::new(process.stdout.take().unwrap());
        let ready = log.lines().map_while(Result::ok).any(|line| line.contains("Ready to accept connections"));
        assert!(ready, "redis-server did not start");
        let connection = BufReader::new(TcpStream::connect(("127.0.0.1", port)).unwrap());
        Some(Server { process, connection })
    }

    fn send(&mut self, arguments: &[&[u8]]) {
        let mut request = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in arguments {
            write!(request, "${}\r\n", argument.len()).unwrap();
            request.extend_from_slice(argument);
            request.extend_from_slice(b"\r\n");
        }
        self.connection.get_mut().write_all(&request).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.connection.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn keys(&mut self, pattern: &[u8]) -> Vec<Vec<u8>> {
        self.send(&[b"KEYS", pattern]);
        let count: usize = self.line().strip_prefix('*').unwrap().parse().unwrap();
        let mut keys: Vec<_> = (0..count)
            .map(|_| {
                let length: usize = self.line().strip_prefix('$').unwrap().parse().unwrap();
                let mut key = vec![0; length + 2];
                self.connection.read_exact(&mut key).unwrap();
                key.truncate(length);
                key
            })
            .collect();
        keys.sort();
        keys
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn redis_agrees() {
    let Some(mut server) = Server::start() else {
        println!("skipped: redis-server is not installed");
        return;
    };
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut word = |alphabet: &[u8], longest: usize| -> Vec<u8> {
        (0..random.usize(..=longest)).map(|_| alphabet[random.usize(..alphabet.len())]).collect()
    };
    let mut texts: Vec<Vec<u8>> =
        (0..400).map(|i| word(if i < 300 { b"*?[]^-\\ab" } else { b"ab\xff\x80\0`_" }, 6)).collect();
    texts.push(Vec::new());
    texts.sort();
    texts.dedup();
    for text in &texts {
        server.send(&[b"SET", text, b"1"]);
        assert_eq!(server.line(), "+OK");
    }
    for i in 0..6_000 {
        let pattern = word(if i < 5_000 { b"*?[]^-\\ab" } else { b"*[]-^ab\xff\x80\0" }, 9);
        // For this one pattern KEYS does not match at all: it lists everything, the empty key included.
        if pattern == b"*" {
            continue;
        }
        let ours: Vec<_> = texts.iter().filter(|text| matches(&pattern, text)).cloned().collect();
        assert_eq!(server.keys(&pattern), ours, "pattern {:?}", pattern.escape_ascii().to_string());
    }
}
