//! What a run is to be: the options of the command line.

use std::time::Duration;

use super::faults::Kind;

/// Which cache is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Which {
    /// The engine.
    #[default]
    Full,
    /// GET, SETEX, DEL and PUBLISH, as it is mostly written.
    Plain,
}

/// The options of a run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) instances: usize,
    pub(crate) time: Duration,
    pub(crate) faults: Vec<Kind>,
    pub(crate) mode: Which,
    pub(crate) seed: Option<u64>,
    /// A second, over all instances.
    pub(crate) reads: usize,
    /// Invalidations and writes a second, over all instances.
    pub(crate) writes: usize,
    /// How long after an acknowledged change every instance that can reach Redis has to know of it.
    pub(crate) delta: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            instances: 4,
            time: Duration::from_secs(30),
            faults: Vec::new(),
            mode: Which::Full,
            seed: None,
            reads: 1600,
            writes: 100,
            delta: Duration::from_millis(150),
        }
    }
}

impl Options {
    /// Takes `word` if it is one of these options; `next` is the word after it.
    pub(crate) fn take(
        &mut self,
        word: &str,
        mut next: impl FnMut(&str) -> Result<String, String>,
    ) -> Result<bool, String> {
        let mut number = |what: &str| {
            let given = next(what)?;
            given.parse::<u64>().map_err(|_| format!("{word}: `{given}` is not {what}"))
        };
        match word {
            "--instances" => self.instances = at_least_one(word, number("a number")?)?.min(64),
            "--seconds" => self.time = Duration::from_secs(at_least_one(word, number("a number of seconds")?)? as u64),
            "--seed" => self.seed = Some(number("a number")?),
            "--reads" => self.reads = at_least_one(word, number("a number a second")?)?,
            "--writes" => self.writes = at_least_one(word, number("a number a second")?)?,
            "--delta" => self.delta = Duration::from_millis(number("a number of milliseconds")?),
            "--faults" => self.faults = faults(&next("a fault")?)?,
            "--mode" => self.mode = mode(&next("`full` or `plain`")?)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The faults' names, as they are given.
    pub(super) fn fault_names(&self) -> String {
        match &self.faults[..] {
            [] => "none".into(),
            all if *all == Kind::ALL => "all".into(),
            some => some.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(","),
        }
    }
}

fn at_least_one(option: &str, number: u64) -> Result<usize, String> {
    match usize::try_from(number) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{option}: `{number}` is not a number above 0")),
    }
}

fn mode(word: &str) -> Result<Which, String> {
    match word {
        "full" => Ok(Which::Full),
        "plain" => Ok(Which::Plain),
        other => Err(format!("--mode: `{other}` is neither `full` nor `plain`")),
    }
}

/// One name, several with commas between them, `none` or `all`.
fn faults(words: &str) -> Result<Vec<Kind>, String> {
    match words {
        "none" => return Ok(Vec::new()),
        "all" => return Ok(Kind::ALL.to_vec()),
        _ => {}
    }
    let named = |word: &str| {
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == word);
        kind.ok_or_else(|| {
            let known: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            format!("--faults: `{word}` is none of none, all, {}", known.join(", "))
        })
    };
    words.split(',').map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options, String> {
        let mut options = Options::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let known = options.take(word, |what| words.next().map(|word| (*word).into()).ok_or(what.into()))?;
            assert!(known, "{word}");
        }
        Ok(options)
    }

    #[test]
    fn options_are_read() {
        let options =
            parse(&["--instances", "16", "--faults", "freeze,oom", "--mode", "plain", "--seed", "7"]).unwrap();
        assert_eq!((options.instances, options.seed, options.mode), (16, Some(7), Which::Plain));
        assert_eq!(options.fault_names(), "freeze,oom");
        assert_eq!(parse(&["--faults", "all"]).unwrap().fault_names(), "all");
        assert_eq!(parse(&["--faults", "none"]).unwrap().fault_names(), "none");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for words in [["--faults", "fire"], ["--mode", "half"], ["--instances", "0"], ["--seed", "x"]] {
            assert!(parse(&words).is_err(), "{words:?}");
        }
        assert!(parse(&["--seconds"]).is_err());
    }
}
