//! A server that answers anything at all: an error is told, nonsense is an error, and nothing of it is a value.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::*;

/// Answers the introduction of a connection as a server does, and everything else with `answer`.
fn server_that_says(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            thread::spawn(move || serve(client, answer));
        }
    });
    port
}

fn serve(client: TcpStream, answer: &str) -> Option<()> {
    client.set_nodelay(true).ok()?;
    let mut client = BufReader::new(client);
    loop {
        let mut words = Vec::new();
        for _ in 0..number(&mut client)? {
            let mut word = vec![0; number(&mut client)? + 2];
            client.read_exact(&mut word).ok()?;
            words.push(word);
        }
        let known = matches!(words[0].trim_ascii(), b"CLIENT" | b"PING" | b"SELECT" | b"HELLO");
        client.get_mut().write_all(if known { b"+OK\r\n" } else { answer.as_bytes() }).ok()?;
    }
}

fn number(client: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    client.read_line(&mut line).ok()?;
    line.trim_end().get(1..)?.parse().ok()
}

/// What each operation says: its error, or nothing if it went well without a value.
fn ask_everything(shared: &RedisShared) -> Vec<(&'static str, Option<Error>)> {
    let frame = || bytes("k", 1, b"v");
    let no_value = |stored: Option<Stored>| {
        assert!(stored.is_none_or(|stored| Frame::decode("k", &stored.frame).is_err()));
    };
    let many = |stored: Vec<Option<Stored>>| stored.into_iter().for_each(no_value);
    let leased = |leased| match leased {
        Leased::Granted | Leased::Stored(_) => panic!("{leased:?}"),
        Leased::Waits(_) | Leased::Held(_) => {}
    };
    vec![
        ("get", block_on(shared.get("k")).map(no_value).err()),
        ("get_many", block_on(shared.get_many(&["k", "j"])).map(many).err()),
        ("header", block_on(shared.header("k")).map(drop).err()),
        ("lease", block_on(shared.lease("k", A, MINUTE, None)).map(leased).err()),
        ("renew", block_on(shared.renew("k", A, MINUTE)).map(drop).err()),
        ("commit", block_on(shared.commit("k", A, frame(), MINUTE)).map(drop).err()),
        ("release", block_on(shared.release("k", A)).err()),
        ("put", block_on(shared.put("k", frame(), MINUTE, false)).map(drop).err()),
        ("invalidate", block_on(shared.invalidate(&["k"], Duration::ZERO)).map(drop).err()),
        ("hold", block_on(shared.invalidate(&["k"], MINUTE)).map(drop).err()),
        ("settle", block_on(shared.settle("k")).map(drop).err()),
        ("bump", block_on(shared.bump(&Bump::Tag("t".into()), 0)).map(drop).err()),
        ("clear", block_on(shared.bump(&Bump::Clear, 0)).map(drop).err()),
        ("read_control", block_on(shared.read_control()).map(drop).err()),
        ("lift_control", block_on(shared.lift_control(0)).map(drop).err()),
    ]
}

fn instance_at(runtime: &Runtime, port: u16) -> RedisShared {
    let options = RedisOptions::new(format!("redis://127.0.0.1:{port}"));
    instance(runtime, options.response_timeout(MINUTE).connect_timeout(MINUTE))
}

#[test]
fn every_error_is_told_in_the_servers_own_word() {
    let runtime = Runtime::start().unwrap();
    for answer in [
        "-LOADING Redis is loading the dataset in memory\r\n",
        "-MOVED 3999 127.0.0.1:6381\r\n",
        "-ASK 3999 127.0.0.1:6381\r\n",
        "-NOAUTH Authentication required.\r\n",
        "-READONLY You can't write against a read only replica.\r\n",
        "-MASTERDOWN Link with MASTER is down\r\n",
        "-NOREPLICAS Not enough good replicas to write.\r\n",
        "-MISCONF Redis is configured to save RDB snapshots\r\n",
        "-BUSY Redis is busy running a script.\r\n",
        "-CLUSTERDOWN The cluster is down\r\n",
        "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
        "-NOSCRIPT No matching script. Please use EVAL.\r\n",
        "-ERR unknown\r\n",
        "-X\r\n",
    ] {
        let word = answer[1..].split_whitespace().next().unwrap();
        let shared = instance_at(&runtime, server_that_says(answer));
        for (what, error) in ask_everything(&shared) {
            let error = error.unwrap_or_else(|| panic!("{what} took {answer:?} for an answer"));
            assert!(error.is_tier() && error.to_string().contains(word), "{what}: {error}");
        }
        assert!(block_on(shared.check_layout()).unwrap_err().is_tier());
    }
}

#[test]
fn a_server_that_forbids_scripts_and_all_else_is_an_error_too() {
    let runtime = Runtime::start().unwrap();
    for answer in [
        "-NOPERM this user has no permissions to run the 'evalsha' command\r\n",
        "-NOPERM User app has no permissions to run the 'eval' command\r\n",
        "-ERR unknown command `EVALSHA`, with args beginning with: `x`, \r\n",
        "-ERR unknown command 'eval', with args beginning with: 'x' \r\n",
    ] {
        let shared = instance_at(&runtime, server_that_says(answer));
        for (what, error) in ask_everything(&shared) {
            match what {
                // These are told that there is nothing to be stored.
                "lease" | "renew" | "commit" | "release" => {
                    assert!(error.is_none_or(|error| what == "commit" && error.is_tier()), "{what}");
                }
                "bump" | "clear" | "read_control" | "lift_control" => {
                    assert!(error.unwrap().is_unsupported(), "{what}")
                }
                _ => assert!(error.unwrap().is_tier(), "{what}"),
            }
        }
    }
}

#[test]
fn nonsense_is_never_a_value_and_never_a_panic() {
    let runtime = Runtime::start().unwrap();
    for answer in [
        "+OK\r\n",
        "$-1\r\n",
        ":2\r\n",
        ":-7\r\n",
        "$0\r\n\r\n",
        "$3\r\nTC\x01\r\n",
        "*-1\r\n",
        "*0\r\n",
        "*1\r\n$1\r\nX\r\n",
        "*2\r\n$1\r\nL\r\n:1\r\n",
        "*2\r\n$1\r\nX\r\n$1\r\n1\r\n",
        "*2\r\n:1\r\n$20\r\n99999999999999999999\r\n",
        "*2\r\n:9\r\n$1\r\n1\r\n",
        "*3\r\n$1\r\nV\r\n:5\r\n:5\r\n",
        "*3\r\n:1\r\n:2\r\n:3\r\n",
        "*3\r\n$2\r\n-5\r\n$1\r\nt\r\n$-1\r\n",
        "*5\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n",
        "*5\r\n:1\r\n:1\r\n:1\r\n*1\r\n$1\r\nx\r\n*1\r\n:1\r\n",
    ] {
        let shared = instance_at(&runtime, server_that_says(answer));
        let _ = ask_everything(&shared);
        let _ = block_on(shared.check_layout());
        let _ = block_on(shared.remove_without_scripts(0, &["k"], None));
        let _ = block_on(shared.remove_without_memory(0, &["k"]));
    }
}
