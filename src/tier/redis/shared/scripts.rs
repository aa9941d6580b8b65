//! The scripts that change shared data in one step, and how they are run.
//!
//! A script is asked for by its hash. A server that does not know it, because it has restarted or was told to forget, is sent
//! the text. Scripts that are to work without memory to spare say so on their first line, which servers before Redis 7 take
//! for a mistake: these get the text without it, and then the caller has to expect [`Denied::Memory`].

use std::sync::LazyLock;

use ::redis::{Cmd, ServerError, Value, cmd};

use super::super::fault;
use super::super::link::Link;
use crate::error::{Error, Result};
use crate::sync::atomic::{AtomicBool, Ordering};

/// A script.
pub(super) struct Script {
    plain: Source,
    /// The same for when the server is out of memory.
    flagged: Option<Source>,
}

struct Source {
    text: String,
    hash: String,
}

/// What all scripts share, and those on the control clock.
const PRELUDE: &str = include_str!("../lua/prelude.lua");
const CONTROL: &str = include_str!("../lua/control.lua");
/// The first line of a script that is to work without memory to spare.
const WITHOUT_MEMORY: &str = "#!lua flags=allow-oom\n";

/// The script of that file.
macro_rules! script {
    ($name:ident = $file:literal $(after $before:ident)? $(, $flags:ident)?) => {
        pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            let body = [$($before,)? include_str!(concat!("../lua/", $file))].concat();
            Script::of(&body, [$($flags)?].first().copied())
        });
    };
}

script!(LEASE = "lease.lua");
script!(RENEW = "renew.lua");
script!(COMMIT = "commit.lua");
script!(PUT = "put.lua");
script!(RELEASE = "release.lua", WITHOUT_MEMORY);
script!(INVAL = "inval.lua", WITHOUT_MEMORY);
script!(CTL_BUMP = "ctl_bump.lua" after CONTROL, WITHOUT_MEMORY);
script!(CTL_READ = "ctl_read.lua" after CONTROL, WITHOUT_MEMORY);
script!(RECLAIM = "reclaim.lua", WITHOUT_MEMORY);
script!(CTL_LIFT = "ctl_lift.lua", WITHOUT_MEMORY);

impl Script {
    pub(super) fn of(body: &str, flags: Option<&str>) -> Self {
        let plain = Source::new([PRELUDE, body].concat());
        Self { flagged: flags.map(|flags| Source::new([flags, &plain.text].concat())), plain }
    }
}

impl Source {
    fn new(text: String) -> Self {
        let hash = ::redis::Script::new(&text).get_hash().to_owned();
        Self { text, hash }
    }
}

/// Why a script did not run, or not to its end.
#[derive(Debug)]
pub(super) enum Denied {
    /// This user may run no scripts.
    Scripts(Error),
    /// The server is out of memory, and nothing was done.
    Memory(Error),
    Other(Error),
}

impl From<Error> for Denied {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Scripts(error) | Denied::Memory(error) | Denied::Other(error) => error,
        }
    }
}

/// A script with all that it is told.
pub(super) struct Call {
    script: &'static Script,
    command: Cmd,
}

impl Call {
    pub(super) fn arg(mut self, argument: impl ::redis::ToRedisArgs) -> Self {
        self.command.arg(argument);
        self
    }

    /// The command that brings the text along.
    fn with_text(&self, source: &Source) -> Cmd {
        let mut eval = cmd("EVAL");
        eval.arg(&source.text);
        for argument in self.command.args_iter().skip(2) {
            if let ::redis::Arg::Simple(argument) = argument {
                eval.arg(argument);
            }
        }
        eval
    }
}

/// Runs scripts on a link.
pub(super) struct Runner {
    pub(super) link: Link,
    /// Whether the server has refused a first line with flags.
    knows_no_flags: AtomicBool,
}

impl Runner {
    pub(super) fn new(link: Link) -> Self {
        Self { link, knows_no_flags: AtomicBool::new(false) }
    }

    /// `script` on `keys`, to be given arguments.
    pub(super) fn call(&self, script: &'static Script, keys: &[impl ::redis::ToRedisArgs]) -> Call {
        let mut command = cmd("EVALSHA");
        command.arg(&self.flagged(script).unwrap_or(&script.plain).hash).arg(keys.len()).arg(keys);
        Call { script, command }
    }

    /// The script with its flags, if it has any and the server may know them.
    fn flagged(&self, script: &'static Script) -> Option<&'static Source> {
        // Relaxed: a hint; a wrong hash costs a round trip.
        script.flagged.as_ref().filter(|_| !self.knows_no_flags.load(Ordering::Relaxed))
    }

    /// What the script answers.
    ///
    /// # Cancel safety
    /// Once polled, the script runs also when the future is dropped, unless the server does not know it.
    pub(super) async fn run(&self, call: Call) -> Result<Value, Denied> {
        let answer = self.link.call_all(std::slice::from_ref(&call.command)).await?.pop();
        self.finish(call, answer.unwrap_or_default()).await
    }

    /// Runs `first` and the script next to each other. The script has to see for itself that the first took effect; if it
    /// answers with an error, that is what is told.
    pub(super) async fn run_after(&self, first: Cmd, mut call: Call) -> Result<Value, Denied> {
        let script = std::mem::take(&mut call.command);
        let commands = [first, script];
        let mut answers = self.link.call_all(&commands).await?;
        [_, call.command] = commands;
        let (answer, first) = (answers.pop().unwrap_or_default(), answers.pop().unwrap_or_default());
        let answer = self.finish(call, answer).await;
        self.accept(first)?;
        answer
    }

    async fn finish(&self, call: Call, answer: Value) -> Result<Value, Denied> {
        match answer {
            Value::ServerError(error) if error.code() == "NOSCRIPT" => self.run_text(&call).await,
            answer => self.accept(answer),
        }
    }

    async fn run_text(&self, call: &Call) -> Result<Value, Denied> {
        if let Some(flagged) = self.flagged(call.script) {
            let answer = self.link.call_all(&[call.with_text(flagged)]).await?.pop().unwrap_or_default();
            if !matches!(&answer, Value::ServerError(error) if does_not_compile(error)) {
                return self.accept(answer);
            }
            // Relaxed: see `flagged`.
            self.knows_no_flags.store(true, Ordering::Relaxed);
        }
        let answer = self.link.call_all(&[call.with_text(&call.script.plain)]).await?.pop();
        self.accept(answer.unwrap_or_default())
    }

    fn accept(&self, answer: Value) -> Result<Value, Denied> {
        let Value::ServerError(error) = answer else { return Ok(answer) };
        let told = fault::refused(self.link.endpoint(), &error);
        Err(match () {
            () if is_forbidden(&error) => Denied::Scripts(told),
            () if is_out_of_memory(&error) => Denied::Memory(told),
            () => Denied::Other(told),
        })
    }

    #[cfg(test)]
    pub(super) fn before_7(self) -> Self {
        self.knows_no_flags.store(true, Ordering::Relaxed);
        self
    }
}

fn says(error: &ServerError, text: &str) -> bool {
    error.details().is_some_and(|details| details.contains(text))
}

fn does_not_compile(error: &ServerError) -> bool {
    says(error, "compiling script")
}

/// The user may not run scripts, or the server has the command under no such name. A key or a command inside of the script
/// that is forbidden is something else.
fn is_forbidden(error: &ServerError) -> bool {
    match error.code() {
        "NOPERM" => says(error, "'eval"),
        "ERR" => {
            let start = "unknown command 'eval".len();
            let told = error.details().and_then(|details| details.get(..start)).unwrap_or_default();
            // The quotation mark differs between releases.
            told.to_ascii_lowercase().replace('`', "'") == "unknown command 'eval"
        }
        _ => false,
    }
}

/// Servers before Redis 7 wrap what a script was answered into a text of their own.
pub(super) fn is_out_of_memory(error: &ServerError) -> bool {
    error.code() == "OOM" || says(error, "-OOM ")
}
