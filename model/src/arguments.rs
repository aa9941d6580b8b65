//! The command line.

use std::time::Duration;

use crate::cases::Bound;

pub(crate) const HELP: &str = "\
tercel-model: the protocol between instances, checked state by state

    cargo run --release -p tercel-model -- [OPTIONS]

OPTIONS
    --case NAME            only the cases whose name begins so; may be given more than once
    --bound small|large    how far the cases with all fixes go [small: minutes; large: hours and much memory]
    --seconds CAP          the longest that a case may take; one that is cut says so, and fails only if something is found
    --trace                the shortest way to each violation, a step a line
    --json                 one JSON object on the last line, instead of a table
    --help                 this text

The cases `walks` take ways at random instead of all: they go deep and prove nothing. All others visit every state.
A case has a fix switched off and must break a law, or has all of them and must not. The exit status is 1 if a case differs
from what is expected, 2 if the arguments are wrong.
";

#[derive(Debug, PartialEq)]
pub(crate) struct Arguments {
    pub(crate) names: Vec<String>,
    pub(crate) bound: Bound,
    pub(crate) cap: Option<Duration>,
    pub(crate) trace: bool,
    pub(crate) json: bool,
}

impl Arguments {
    /// `None`: help was asked for.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut parsed = Self { names: Vec::new(), bound: Bound::Small, cap: None, trace: false, json: false };
        while let Some(word) = words.next() {
            let mut next = |what: &str| words.next().ok_or_else(|| format!("{word} needs {what}"));
            match word.as_str() {
                "--help" | "-h" => return Ok(None),
                "--case" => parsed.names.push(next("the beginning of a name")?),
                "--bound" => {
                    parsed.bound = match next("`small` or `large`")?.as_str() {
                        "small" => Bound::Small,
                        "large" => Bound::Large,
                        other => return Err(format!("--bound: `{other}` is neither `small` nor `large`")),
                    }
                }
                "--seconds" => {
                    let seconds = next("a number")?;
                    let cap = seconds.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                    parsed.cap = Some(cap.ok_or_else(|| format!("--seconds: `{seconds}` is not a time"))?);
                }
                "--trace" => parsed.trace = true,
                "--json" => parsed.json = true,
                unknown => return Err(format!("`{unknown}` is no option")),
            }
        }
        Ok(Some(parsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Arguments>, String> {
        Arguments::parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn options_are_taken_as_they_are_said() {
        let arguments = parse("--json --case ce01 --case ctl --seconds 1.5 --bound large --trace").unwrap().unwrap();
        assert_eq!(arguments.names, ["ce01", "ctl"]);
        assert_eq!(arguments.cap, Some(Duration::from_millis(1500)));
        assert_eq!(arguments.bound, Bound::Large);
        assert!(arguments.json && arguments.trace);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in ["--seconds soon", "--seconds -1", "--seconds", "--bound huge", "--case", "races"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
