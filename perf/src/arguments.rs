//! The command line.

use std::path::PathBuf;

use crate::coherence;

pub(crate) const HELP: &str = "\
perf: measurements of tercel against its rivals, each a ratio inside one interleaved run

    cargo run --release -p perf -- SCENARIO [OPTIONS]

SCENARIO
    l1             hits, mixes, insertions and growth of L1 against the rivals, on one thread and on two at once
    handles        hits in L1 through the handles, against the bare L1 and the rivals; allocations per hit
    instructions   instructions per hit, counted by valgrind
    stampede       10,000 tasks and 200 threads on one cold key
    l2             hits in Redis from a foreign thread, against a bare multiplexed GET
    latency        single reads and evicting writes on two threads: p50 to p99.99 and the worst
    memory         resident bytes per entry, each contender in a process of its own
    hits           hit ratios on traces: the real L1 against OPT, LRU and the rivals
    all            all of these
    coherence      instances on one redis-server, with faults: reads that contradict a returned invalidation, and what is stale
                   in the end

OPTIONS
    --json           one JSON object on standard output (for `all`, an array), instead of tables
    --record FILE    the JSON into a file too
    --rounds N       interleaved rounds; each scenario has its own default
    --trace PATH     hits: a file of little-endian 64-bit numbers, one a request, plain or compressed by zstd; or a directory
                     of such files, named *.zst and *.u64. Without it traces are generated
    --against FILE   instructions: a record of them; ours alone are counted, and none may need 3 % more than there
    --threads N      hits: replays at a time; as many as there are cores by default
    --help           this text

OPTIONS of coherence
    --mode MODE      full: the engine (default); plain: GET, SETEX, DEL and PUBLISH, which is to be caught
    --faults LIST    none (default), all, or some of kill-subscribers, freeze, restart, flushall, evict, oom, script-flush,
                     slow-subscriber, partition (one instance from the server) and kill-holder (whoever computes a round),
                     with commas between them
    --instances N    instances in this process, each with a runtime of its own (default: 4)
    --seconds N      how long they work (default: 30)
    --seed N         what is drawn: keys, pauses, faults (default: another one each time; it is told)
    --reads N        reads a second, of all instances (default: 1600)
    --writes N       invalidations a second, of all instances (default: 100); writes through the cache are a quarter of that
    --delta MS       after so long every instance that reaches Redis has to know of an invalidation (default: 150)

The exit status is 1 if a target is missed, 2 if the arguments are wrong. A scenario whose tool is missing is skipped and
says so.
";

#[derive(Debug, PartialEq)]
pub(crate) enum Scenario {
    Coherence,
    Handles,
    Instructions,
    Stampede,
    L2,
    L1,
    Hits,
    Latency,
    Memory,
    /// So many hits of one rival and nothing else: what `instructions` runs under valgrind.
    Spin(String, usize),
    /// One rival with so many entries and nothing else: what `memory` runs.
    Hold(String, usize),
}

impl Scenario {
    /// Those that `all` runs: the measurements.
    fn all() -> Vec<Self> {
        use Scenario::{Handles, Hits, Instructions, L1, L2, Latency, Memory, Stampede};
        vec![L1, Latency, Memory, Hits, Handles, Instructions, Stampede, L2]
    }
}

#[derive(Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) all: bool,
    pub(crate) json: bool,
    pub(crate) record: Option<PathBuf>,
    pub(crate) rounds: Option<usize>,
    pub(crate) trace: Option<PathBuf>,
    pub(crate) against: Option<PathBuf>,
    pub(crate) threads: Option<usize>,
    pub(crate) coherence: coherence::Options,
}

impl Arguments {
    /// `None`: help was asked for.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut parsed = Self::default();
        while let Some(word) = words.next() {
            let mut next = |what: &str| words.next().ok_or_else(|| format!("{word} needs {what}"));
            match word.as_str() {
                "--help" | "-h" | "help" => return Ok(None),
                "--json" => parsed.json = true,
                "--record" => parsed.record = Some(next("a file")?.into()),
                "--rounds" => parsed.rounds = Some(count(&word, &next("a number")?)?),
                "--trace" => parsed.trace = Some(next("a path")?.into()),
                "--against" => parsed.against = Some(next("a file")?.into()),
                "--threads" => parsed.threads = Some(count(&word, &next("a number")?)?),
                "l1" => parsed.scenarios.push(Scenario::L1),
                "latency" => parsed.scenarios.push(Scenario::Latency),
                "memory" => parsed.scenarios.push(Scenario::Memory),
                "hits" => parsed.scenarios.push(Scenario::Hits),
                "handles" => parsed.scenarios.push(Scenario::Handles),
                "instructions" => parsed.scenarios.push(Scenario::Instructions),
                "stampede" => parsed.scenarios.push(Scenario::Stampede),
                "l2" => parsed.scenarios.push(Scenario::L2),
                "coherence" => parsed.scenarios.push(Scenario::Coherence),
                "all" => {
                    parsed.all = true;
                    parsed.scenarios = Scenario::all();
                }
                "spin" | "hold" => {
                    let (name, count) = (next("a rival")?, count(&word, &next("a number")?)?);
                    let scenario = if word == "spin" { Scenario::Spin } else { Scenario::Hold };
                    parsed.scenarios = vec![scenario(name, count)];
                }
                _ if parsed.coherence.take(&word, &mut next)? => {}
                unknown => return Err(format!("`{unknown}` is neither a scenario nor an option")),
            }
        }
        if parsed.scenarios.is_empty() { Ok(None) } else { Ok(Some(parsed)) }
    }
}

fn count(option: &str, word: &str) -> Result<usize, String> {
    match word.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("{option}: `{word}` is not a number above 0")),
    }
}
