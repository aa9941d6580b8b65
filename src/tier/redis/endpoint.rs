//! Where a server is and how to log in, parsed from a URL; the password never leaves this file in a text.

use std::env::VarError;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ::redis::{ConnectionAddr, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo};

use crate::error::{Error, Result};

/// How to reach a Redis server.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use tercel::RedisOptions;
///
/// let options = RedisOptions::new("redis://cache.internal:6379").response_timeout(Duration::from_millis(200));
/// # let _ = options;
/// ```
#[derive(Clone)]
pub struct RedisOptions {
    url: String,
    /// What the URL is called in errors: the variable or the setting that it came from.
    setting: &'static str,
    pub(super) connect_timeout: Duration,
    pub(super) response_timeout: Duration,
}

impl RedisOptions {
    /// The server at `url`: `redis://[user:password@]host[:port][/db]`, or `redis+unix:///path/of/the.sock`.
    ///
    /// The URL is checked where the options are used.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            setting: "redis URL",
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_millis(500),
        }
    }

    /// The server that `REDIS_URL` names, else the local one at the default port.
    pub(super) fn from_env() -> Result<Self> {
        Self::from_variable(std::env::var("REDIS_URL"))
    }

    pub(super) fn from_variable(variable: Result<String, VarError>) -> Result<Self> {
        match variable {
            Ok(url) => Ok(Self { setting: "REDIS_URL", ..Self::new(url) }),
            Err(VarError::NotPresent) => Ok(Self::new("redis://127.0.0.1:6379")),
            Err(VarError::NotUnicode(_)) => Err(Error::config("REDIS_URL is not valid UTF-8")),
        }
    }

    /// How long one attempt to connect and log in may take [1 s].
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a command may wait for its answer, queueing included [500 ms].
    #[must_use]
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// The most that one command takes, whatever the server does.
    pub(crate) fn longest(&self) -> Duration {
        self.response_timeout
    }

    /// Checks the settings and takes the URL apart.
    pub(super) fn endpoint(&self) -> Result<Endpoint> {
        for (name, timeout) in [("connect_timeout", self.connect_timeout), ("response_timeout", self.response_timeout)]
        {
            if timeout.is_zero() {
                return Err(Error::config(format!("{name} of the Redis tier is zero: no command could ever succeed")));
            }
        }
        Endpoint::parse(self.setting, &self.url)
    }
}

impl From<&str> for RedisOptions {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl From<String> for RedisOptions {
    fn from(url: String) -> Self {
        Self::new(url)
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = match self.endpoint() {
            Ok(endpoint) => endpoint.to_string(),
            Err(_) => "invalid".into(),
        };
        f.debug_struct("RedisOptions")
            .field("server", &server)
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .finish_non_exhaustive()
    }
}

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

/// A server and the login at it. `Display` and `Debug` name the server and leave out the login.
#[derive(Clone)]
pub(crate) struct Endpoint {
    address: Address,
    login: RedisConnectionInfo,
}

impl Endpoint {
    fn parse(setting: &str, url: &str) -> Result<Self> {
        let wrong = |what: &str| Error::config(format!("{setting}: {what}"));
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
        if scheme == "rediss" || scheme == "valkeys" {
            return Err(wrong("TLS is not part of this build"));
        }
        // A password with a raw `/`, `?` or `#` in it would be taken for a host and shown as one.
        let rest = url.split_once("://").map_or("", |(_, rest)| rest);
        if !scheme.ends_with("unix") && rest.split_once(['/', '?', '#']).is_some_and(|(_, tail)| tail.contains('@')) {
            return Err(wrong("`/`, `?`, `#` and `@` in the user name or password must be percent-encoded"));
        }
        let info = url.into_connection_info().map_err(|error| {
            // The library's text is a fixed phrase, then its own classification.
            let text = error.to_string();
            wrong(text.split(" - ").next().unwrap_or("it is not valid"))
        })?;
        let address = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Address::Tcp(host.clone(), *port),
            ConnectionAddr::Unix(path) => Address::Unix(path.clone()),
            _ => return Err(wrong("this kind of address is not part of this build")),
        };
        if info.redis_settings().db() < 0 {
            return Err(wrong("the database number is negative"));
        }
        let login = info.redis_settings().clone().set_lib_name("tercel", env!("CARGO_PKG_VERSION"));
        Ok(Self { address, login })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Whether both name one server and one database of it, as far as names can tell: this host has many names for itself.
    pub(crate) fn is_same_server(&self, other: &Self) -> bool {
        let here = |host: &str| matches!(host, "localhost" | "127.0.0.1" | "::1" | "[::1]");
        let same = match (&self.address, &other.address) {
            (Address::Tcp(one, port), Address::Tcp(other, same)) => {
                port == same && (one.eq_ignore_ascii_case(other) || here(one) && here(other))
            }
            (Address::Unix(one), Address::Unix(other)) => one == other,
            _ => false,
        };
        same && self.login.db() == other.login.db()
    }

    /// The login for a connection that carries commands only.
    pub(super) fn login(&self) -> RedisConnectionInfo {
        self.login.clone().set_protocol(ProtocolVersion::RESP2)
    }

    /// The login for a connection that the server also pushes messages to.
    pub(super) fn push_login(&self) -> RedisConnectionInfo {
        self.login.clone().set_protocol(ProtocolVersion::RESP3)
    }

    /// `text` without the password: servers that do not know a command echo its arguments, as many bytes as they care to.
    pub(super) fn scrub(&self, text: String) -> String {
        let Some(password) = self.login.password().filter(|password| !password.is_empty()) else { return text };
        let (mut scrubbed, mut rest) = (String::with_capacity(text.len()), &*text);
        while let Some(first) = rest.chars().next() {
            match beginning(password, rest) {
                0 => {
                    scrubbed.push(first);
                    rest = &rest[first.len_utf8()..];
                }
                length => {
                    scrubbed += "***";
                    rest = &rest[length..];
                }
            }
        }
        scrubbed
    }
}

/// How many characters of a password in a row betray it.
const TELLING: usize = 8;

/// How many bytes of `text` the password begins it with, if they are enough to betray it.
fn beginning(password: &str, text: &str) -> usize {
    // A server writes a space for an end of a line.
    let same = |(ours, theirs): &(char, char)| ours == theirs || (matches!(ours, '\r' | '\n') && *theirs == ' ');
    let (mut shared, mut length) = (0, 0);
    for (_, theirs) in password.chars().zip(text.chars()).take_while(same) {
        (shared, length) = (shared + 1, length + theirs.len_utf8());
    }
    let telling = shared >= TELLING || shared == password.chars().count();
    if telling { length } else { 0 }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}")?,
            Address::Tcp(host, port) => write!(f, "{host}:{port}")?,
            Address::Unix(path) => write!(f, "{}", path.display())?,
        }
        match self.login.db() {
            0 => Ok(()),
            db => write!(f, " db {db}"),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_echo_of_the_password_is_scrubbed() {
        let endpoint = RedisOptions::new("redis://:p%40ss@h").endpoint().unwrap();
        assert_eq!(
            endpoint.scrub("ERR unknown command HELLO 3 AUTH default p@ss".into()),
            "ERR unknown command HELLO 3 AUTH default ***"
        );
    }

    #[test]
    fn a_server_echo_of_a_part_of_the_password_is_scrubbed() {
        let scrub = |password: &str, text: &str| {
            let url = format!("redis://:{}@h", password.replace('\n', "%0A").replace('ä', "%C3%A4"));
            RedisOptions::new(url).endpoint().unwrap().scrub(text.into())
        };
        // 128 bytes of arguments are echoed; a token is longer.
        let token = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9ä".repeat(8);
        for length in 8..120 {
            let cut: String = token.chars().take(length).collect();
            let echo = format!("ERR unknown command 'AUTH', with args beginning with: 'default' '{cut}' ");
            let scrubbed = scrub(&token, &echo);
            assert_eq!(scrubbed, "ERR unknown command 'AUTH', with args beginning with: 'default' '***' ");
        }
        // In a line an end of a line becomes a space.
        assert_eq!(scrub("a\nb", "ERR 'a b' and 'a\nb', a"), "ERR '***' and '***', a");
        assert_eq!(scrub("aab", "aaab aa"), "a*** aa");
        assert_eq!(scrub("short", "shor short shortly"), "shor *** ***ly");
        assert_eq!(scrub("long-enough", "long-en long-eno long-enougx"), "long-en *** ***x");
    }
}
