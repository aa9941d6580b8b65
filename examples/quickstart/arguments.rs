//! What the command line says.

use std::ffi::OsString;
use std::path::PathBuf;

pub(crate) const USAGE: &str = "usage: quickstart [DIR] [--json] [--redis URL]";

pub(crate) const HELP: &str = "\
Summarises every regular file below DIR through the cache: first cold, then warm, from tasks and threads at once.

usage: quickstart [DIR] [--json] [--redis URL]

  DIR          the folder to read; without it the crate's own, leaving out `target` and `.git`
  --json       print one JSON object instead of the table
  --redis URL  share the results through this server too, and show that a second cache finds them there;
               without it the variable REDIS_URL counts, if it is set
  --help       this text

Symbolic links are not followed. Files that cannot be read are named and left out.
Exit code: 0 done, 1 something failed or a check did not hold, 2 wrong arguments.";

/// What is to be done.
pub(crate) enum Command {
    Help,
    Run(Arguments),
}

pub(crate) struct Arguments {
    /// `None`: the crate's own folder.
    pub(crate) dir: Option<PathBuf>,
    pub(crate) json: bool,
    pub(crate) redis: Option<String>,
}

/// Reads the arguments; `environment` is the value of `REDIS_URL`.
///
/// # Errors
/// What is wrong with them, in words.
pub(crate) fn parse(
    arguments: impl Iterator<Item = OsString>,
    environment: Option<OsString>,
) -> Result<Command, String> {
    let mut parsed = Arguments { dir: None, json: false, redis: None };
    let mut arguments = arguments.peekable();
    let mut only_operands = false;
    while let Some(argument) = arguments.next() {
        let text = argument.to_str().filter(|text| !only_operands && text.starts_with('-') && *text != "-");
        match text {
            Some("--") => only_operands = true,
            Some("--help" | "-h") => return Ok(Command::Help),
            Some("--json") => parsed.json = true,
            Some("--redis") => {
                let url = arguments.next().ok_or("--redis needs a URL")?;
                parsed.redis = Some(url_of("--redis", url)?);
            }
            Some(flag) => match flag.strip_prefix("--redis=") {
                Some(url) => parsed.redis = Some(url_of("--redis", url.into())?),
                // Not the whole of it: a misspelt flag may carry a URL with a password.
                None => return Err(format!("unknown flag {}", flag.split('=').next().unwrap_or(flag))),
            },
            None if parsed.dir.is_some() => return Err("more than one DIR".into()),
            None => parsed.dir = Some(argument.into()),
        }
    }
    if parsed.redis.is_none() {
        let set = environment.filter(|url| !url.is_empty());
        parsed.redis = set.map(|url| url_of("REDIS_URL", url)).transpose()?;
    }
    if parsed.redis.is_some() && cfg!(not(feature = "redis")) {
        return Err("a Redis server is asked for, but this build has no feature `redis`".into());
    }
    Ok(Command::Run(parsed))
}

fn url_of(setting: &str, url: OsString) -> Result<String, String> {
    match url.into_string() {
        Ok(url) if !url.is_empty() => Ok(url),
        Ok(_) => Err(format!("{setting} is empty")),
        Err(_) => Err(format!("{setting} is not valid UTF-8")),
    }
}
