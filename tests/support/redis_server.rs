//! A `redis-server` of a test's own, on a free port of the loopback interface.

#![allow(dead_code, unreachable_pub)]

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server; it is killed when this is dropped.
pub struct RedisServer {
    child: Child,
    port: u16,
    arguments: Vec<String>,
}

impl RedisServer {
    /// Starts a server, or says why the test is skipped.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// The same with further arguments, such as `["--requirepass", "secret"]`.
    pub fn start_with(arguments: &[&str]) -> Option<Self> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        // A port that was free a moment ago may be taken by now: the server ends then, and another port is tried.
        for _ in 0..20 {
            let port = free_port();
            let child = match spawn(port, &arguments) {
                Ok(child) => child,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    println!("skipped: redis-server is not installed");
                    return None;
                }
                Err(error) => panic!("redis-server does not start: {error}"),
            };
            let mut server = Self { child, port, arguments: arguments.clone() };
            if server.wait_until_up() {
                return Some(server);
            }
        }
        panic!("redis-server finds no free port");
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `redis://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Freezes the process: connections stay open and nothing is answered.
    pub fn stop(&self) {
        self.signal("-STOP");
    }

    /// Lets a frozen process go on.
    pub fn cont(&self) {
        self.signal("-CONT");
    }

    /// Kills the process; its port refuses connections from then on.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts a server again, empty, on the same port.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.port, &self.arguments).expect("redis-server starts again");
        assert!(self.wait_until_up(), "redis-server comes up again on port {}", self.port);
    }

    /// Sends one command on a connection of its own and returns the answer in a readable form: see [`Answer`].
    pub fn command(&self, arguments: &[&str]) -> Answer {
        let arguments: Vec<&[u8]> = arguments.iter().map(|argument| argument.as_bytes()).collect();
        self.command_bytes(&arguments)
    }

    /// The same with arguments of any bytes.
    pub fn command_bytes(&self, arguments: &[&[u8]]) -> Answer {
        ask(self.port, arguments).expect("the server answers")
    }

    /// Subscribes to a channel on a connection of its own.
    pub fn listen(&self, channel: &str) -> Listening {
        let mut stream = connect(self.port).expect("the server is there");
        send(&mut stream, &[b"SUBSCRIBE", channel.as_bytes()]).expect("the server hears");
        let mut stream = BufReader::new(stream);
        read(&mut stream).expect("the server confirms");
        Listening(stream)
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill {signal} works");
    }

    fn wait_until_up(&mut self) -> bool {
        let limit = Instant::now() + Duration::from_secs(20);
        while Instant::now() < limit {
            if let Ok(Some(_)) = self.child.try_wait() {
                return false;
            }
            // The process that answers has to be the one started here, not another that took the port.
            let own = format!("process_id:{}\r\n", self.child.id());
            match ask(self.port, &[b"INFO", b"server"]) {
                Ok(Answer::Text(info)) if info.contains(&own) => return true,
                Ok(Answer::Error(error)) if error.starts_with("NOAUTH") => return true,
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        false
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What is published on a channel, from the subscription on.
pub struct Listening(BufReader<TcpStream>);

impl Listening {
    /// The next message; waits for it.
    pub fn message(&mut self) -> Vec<u8> {
        match read(&mut self.0).expect("a message comes") {
            Answer::List(mut parts) => parts.pop().and_then(Answer::into_bytes).expect("a message has bytes"),
            other => panic!("{other:?}"),
        }
    }
}

/// An answer of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Nil,
    Int(i64),
    Text(String),
    /// A string that is not UTF-8.
    Bytes(Vec<u8>),
    Error(String),
    List(Vec<Answer>),
}

impl Answer {
    /// The string as bytes, whether it is UTF-8 or not.
    pub fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Answer::Text(text) => Some(text.into_bytes()),
            Answer::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// A port that nothing listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn spawn(port: u16, arguments: &[String]) -> io::Result<Child> {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(arguments)
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

fn ask(port: u16, arguments: &[&[u8]]) -> io::Result<Answer> {
    let mut stream = connect(port)?;
    send(&mut stream, arguments)?;
    read(&mut BufReader::new(stream))
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

fn send(stream: &mut TcpStream, arguments: &[&[u8]]) -> io::Result<()> {
    let mut request = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        request.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        request.extend_from_slice(argument);
        request.extend_from_slice(b"\r\n");
    }
    stream.write_all(&request)
}

fn read(from: &mut impl BufRead) -> io::Result<Answer> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let (kind, rest) = line.trim_end().split_at(1);
    let number = || rest.parse::<i64>().map_err(|_| io::Error::from(io::ErrorKind::InvalidData));
    Ok(match kind {
        "+" => Answer::Text(rest.to_owned()),
        "-" => Answer::Error(rest.to_owned()),
        ":" => Answer::Int(number()?),
        "$" => match usize::try_from(number()?) {
            Err(_) => Answer::Nil,
            Ok(length) => {
                let mut bytes = vec![0; length + 2];
                from.read_exact(&mut bytes)?;
                bytes.truncate(length);
                String::from_utf8(bytes).map_or_else(|error| Answer::Bytes(error.into_bytes()), Answer::Text)
            }
        },
        "*" => match usize::try_from(number()?) {
            Err(_) => Answer::Nil,
            Ok(length) => Answer::List((0..length).map(|_| read(from)).collect::<io::Result<_>>()?),
        },
        _ => return Err(io::ErrorKind::InvalidData.into()),
    })
}
