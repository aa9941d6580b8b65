//! A server that refuses: no memory, no scripts, no permission, a replica.

use std::sync::LazyLock;

use super::super::scripts::Script;
use super::*;

impl Bed {
    /// Leaves the server no memory, not even what it has.
    fn fill(&self) {
        assert_eq!(self.server.command(&["CONFIG", "SET", "maxmemory", "1"]), Answer::Text("OK".into()));
    }
}

#[test]
fn a_server_without_memory_removes_and_releases_all_the_same() {
    let Some(bed) = Bed::start() else { return };
    let shared = &bed.shared;
    let before = run(shared.put("k", bytes("k", 1, b"v"), MINUTE, false)).place.sequence;
    assert_eq!(run(shared.lease("j", A, MINUTE, None)), Leased::Granted);
    bed.fill();
    // What is not stored says so, and leaves nothing behind.
    let error = block_on(shared.put("k", bytes("k", 2, &[0; 4096]), MINUTE, false)).unwrap_err();
    assert!(error.is_tier() && error.to_string().contains("OOM"), "{error}");
    let error = block_on(shared.commit("j", A, bytes("j", 2, &[0; 4096]), MINUTE)).unwrap_err();
    assert!(error.is_tier() && error.to_string().contains("OOM"), "{error}");
    assert!(block_on(shared.lease("i", A, MINUTE, None)).unwrap_err().is_tier());
    assert_eq!(bed.staged(), 0);
    run(shared.release("j", A));
    assert_eq!(bed.raw("l:j"), None);

    let place = run(shared.invalidate(&["k"], Duration::ZERO))[0];
    assert_eq!(place.sequence, before + 1);
    assert_eq!(run(shared.get("k")), None);
    assert!(matches!(run(shared.bump(&Bump::Tag("a".into()), 0)).what, Control::Tag(_)));
    run(shared.invalidate(&["k"], MINUTE));
    assert!(Head::decode(&run(shared.header("k")).unwrap()).unwrap().held);
}

#[test]
fn before_redis_7_a_server_without_memory_removes_and_warns_everybody() {
    let Some(bed) = Bed::start() else { return };
    let other = bed.another().before_7();
    let before = run(other.put("k", bytes("k", 1, b"v"), MINUTE, false)).place.sequence;
    assert_eq!(run(other.lease("j", A, MINUTE, None)), Leased::Granted);
    assert_eq!(run(other.invalidate(&["x"], Duration::ZERO))[0].sequence, before + 1);
    bed.fill();
    let mut heard = bed.server.listen(&under("inv"));
    assert_eq!(run(other.invalidate(&["k", "j"], Duration::ZERO)), [Place { partition: 0, sequence: 0 }]);
    assert_eq!(["d:k", "l:j", "seq", "log"].map(|name| bed.raw(name)), [const { None }; 4]);
    assert_eq!(heard.message(), [b"S", &[0; 8][..], &other.origin()].concat());
    let error = block_on(other.invalidate(&["k"], MINUTE)).unwrap_err();
    assert!(error.is_tier() && error.to_string().contains("OOM"), "a hold needs memory: {error}");
    let error = block_on(other.bump(&Bump::Clear, 0)).unwrap_err();
    assert!(error.is_tier() && error.to_string().contains("OOM"), "{error}");
}

#[test]
fn scripts_whose_first_line_is_not_known_go_without_it() {
    let Some(bed) = Bed::start() else { return };
    // What a server before Redis 7 says of `#!`, one of today says of any other line that begins so.
    let Answer::Error(error) = bed.server.command(&["EVAL", "#lua\nreturn 1", "0"]) else { panic!() };
    assert!(error.starts_with("ERR Error compiling script"), "{error}");
    static OLD: LazyLock<Script> = LazyLock::new(|| Script::of("return 7", Some("#lua flags=allow-oom\n")));
    for _ in 0..2 {
        assert!(matches!(run_script(&bed.shared, &OLD), Ok(Value::Int(7))));
        bed.server.command(&["SCRIPT", "FLUSH"]);
    }
}

fn run_script(shared: &RedisShared, script: &'static Script) -> Result<Value> {
    Ok(block_on(shared.runner.run(shared.runner.call(script, &[""; 0])))?)
}

/// A user that may do all that is not a script.
const NO_SCRIPTS: [&str; 9] = ["--user", "default", "on", "nopass", "~*", "&*", "+@all", "-eval", "-evalsha"];
/// A server that knows no scripts.
const UNKNOWN: [&str; 6] = ["--rename-command", "EVAL", "", "--rename-command", "EVALSHA", ""];

#[test]
fn where_scripts_are_forbidden_values_go_and_everybody_is_told() {
    for arguments in [&NO_SCRIPTS[..], &UNKNOWN[..]] {
        let Some(bed) = Bed::start_with(arguments) else { return };
        let shared = &bed.shared;
        assert_eq!(run(shared.lease("k", A, MINUTE, None)), Leased::Held(Duration::ZERO));
        assert!(!run(shared.renew("k", A, MINUTE)));
        assert!(!run(shared.commit("k", A, bytes("k", 1, b"v"), MINUTE)));
        run(shared.release("k", A));
        assert_eq!(run(shared.get("k")), None);
        bed.server.command(&["FLUSHALL"]);
        bed.server.command(&["SET", &under("l:k"), "another's token"]);

        let mut heard = bed.server.listen(&under("inv"));
        let put = run(shared.put("k", bytes("k", 1, b"v"), MINUTE, false));
        assert!(put.stored && put.place.sequence > 1_700_000_000_000_000, "{put:?}");
        assert_eq!(heard.message()[..9], [b"P", &put.place.sequence.to_le_bytes()[..]].concat());
        assert_eq!(stored(&bed, "k").unwrap().0, frame(1, b"v"));
        assert_eq!((bed.raw("l:k"), bed.staged()), (None, 0));
        assert!(matches!(run(shared.get_many(&["k"]))[0].as_ref().unwrap().life, Life::Left(_)));

        let gone = run(shared.invalidate(&["k", "j"], Duration::ZERO));
        let sequence = put.place.sequence + 1;
        assert_eq!(gone, [Place { partition: 0, sequence }]);
        let keys = [&shared.origin()[..], &[1, 0, 0, 0], b"k", &[1, 0, 0, 0], b"j"].concat();
        assert_eq!(heard.message(), [b"I", &sequence.to_le_bytes()[..], &keys].concat());
        assert_eq!(bed.log(), [(put.place.sequence, "p".to_owned()), (sequence, "i".to_owned())]);
        assert_eq!((run(shared.get("k")), bed.number()), (None, sequence));

        run(shared.invalidate(&["k"], MINUTE));
        assert!(!run(shared.put("k", bytes("k", 1, b"v"), MINUTE, false)).stored);
        assert_eq!(bed.staged(), 0);
        run(shared.invalidate(&["k"], Duration::ZERO));
        assert!(Head::decode(&run(shared.header("k")).unwrap()).unwrap().held);
        assert_eq!(run(shared.settle("j")).sequence, bed.number());

        // A sequence that was lost goes on above the log, a log that was lost begins again.
        let ahead = bed.number() + 1_000_000_000_000;
        bed.server.command(&["XADD", &under("log"), &format!("{ahead}-1"), "i", "x"]);
        bed.server.command(&["DEL", &under("seq")]);
        assert!(run(shared.invalidate(&["k"], Duration::ZERO))[0].sequence > ahead);
        bed.server.command(&["SET", &under("log"), "x"]);
        run(shared.invalidate(&["k"], Duration::ZERO));

        assert!(block_on(shared.lift_control(0)).unwrap_err().is_unsupported());
        let error = block_on(shared.bump(&Bump::Clear, 0)).unwrap_err();
        assert!(error.is_unsupported() && error.to_string().contains("scripts"), "{error}");
    }
}

#[test]
fn without_scripts_and_memory_values_go_all_the_same() {
    let Some(bed) = Bed::start_with(&NO_SCRIPTS) else { return };
    let shared = &bed.shared;
    run(shared.put("k", bytes("k", 1, b"v"), MINUTE, false));
    bed.fill();
    assert_eq!(run(shared.invalidate(&["k"], Duration::ZERO)), [Place { partition: 0, sequence: 0 }]);
    assert_eq!(run(shared.get("k")), None);
    assert!(block_on(shared.invalidate(&["k"], MINUTE)).unwrap_err().is_tier());
    assert!(block_on(shared.put("k", bytes("k", 1, b"v"), MINUTE, false)).unwrap_err().is_tier());
}

#[test]
fn a_permission_that_lacks_inside_of_a_script_is_an_error() {
    let rules = ["--user", "default", "on", "nopass", "~*", "&*", "+@all", "-unlink"];
    let Some(bed) = Bed::start_with(&rules) else { return };
    let error = block_on(bed.shared.invalidate(&["k"], Duration::ZERO)).unwrap_err();
    assert!(error.is_tier() && error.to_string().contains("can't run this command"), "{error}");
}

#[test]
fn a_replica_refuses_changes_and_says_so() {
    let Some(bed) = Bed::start() else { return };
    let shared = &bed.shared;
    run(shared.put("k", bytes("k", 1, b"v"), MINUTE, false));
    let mut heard = bed.server.listen(&under("inv"));
    // Of a server that is not there: what it has, it keeps.
    bed.server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    let refused = |error: Error| assert!(error.is_tier() && error.to_string().contains("READONLY"), "{error}");
    refused(block_on(shared.invalidate(&["k"], Duration::ZERO)).unwrap_err());
    refused(block_on(shared.put("k", bytes("k", 2, b"w"), MINUTE, false)).unwrap_err());
    refused(block_on(shared.lease("j", A, MINUTE, None)).unwrap_err());
    refused(block_on(shared.commit("j", A, bytes("j", 2, b"w"), MINUTE)).unwrap_err());
    refused(block_on(shared.bump(&Bump::Clear, 0)).unwrap_err());
    refused(block_on(shared.settle("k")).unwrap_err());
    bed.server.command(&["REPLICAOF", "NO", "ONE"]);
    // Nobody was told of what did not happen.
    let place = run(shared.invalidate(&["k"], Duration::ZERO))[0];
    assert_eq!(heard.message()[1..9], place.sequence.to_le_bytes());
}

/// All that the tier asks of a server.
const COMMANDS: &str = "ping time client|info client|kill get mget getrange set setrange strlen incr del unlink rename exists \
     type pexpire pttl publish xadd xrevrange hset hsetnx hget hmget hgetall hlen hdel zadd zcard zpopmin zrange eval evalsha";

#[test]
fn a_user_needs_these_commands_and_our_names_only() {
    let granted: Vec<String> = COMMANDS.split_whitespace().map(|command| format!("+{command}")).collect();
    let mut rules = vec!["--user", "app", "on", ">word", "~tc:{ns.*", "&tc:{ns.*", "-@all"];
    rules.extend(granted.iter().map(|command| &**command));
    let Some(server) = RedisServer::start_with(&rules) else { return };
    let runtime = Runtime::start().unwrap();
    let options = RedisOptions::new(format!("redis://app:word@127.0.0.1:{}", server.port()));
    let shared = instance(&runtime, options.response_timeout(MINUTE).connect_timeout(MINUTE));
    let bed = Bed { shared, runtime, server };
    let shared = &bed.shared;
    for round in 0..2 {
        run(shared.check_layout());
        assert!(run(shared.put("a", bytes("a", 1, b"v"), MINUTE, false)).stored);
        assert_eq!(run(shared.lease("k", A, MINUTE, None)), Leased::Granted);
        assert!(matches!(run(shared.lease("k", B, MINUTE, None)), Leased::Waits(_)));
        assert!(run(shared.renew("k", A, MINUTE)));
        assert!(run(shared.commit("k", A, bytes("k", 1, b"v"), MINUTE)));
        assert!(matches!(run(shared.lease("k", A, MINUTE, None)), Leased::Stored(_)));
        assert_eq!(run(shared.lease("j", A, MINUTE, None)), Leased::Granted);
        run(shared.release("j", A));
        assert!(run(shared.get("k")).is_some() && run(shared.header("k")).is_some());
        assert_eq!(run(shared.get_many(&["k", "j"])).iter().flatten().count(), 1);
        run(shared.invalidate(&["k"], Duration::from_millis(1)));
        run(shared.invalidate(&["k"], Duration::ZERO));
        for bump in [Bump::Tag("a".into()), Bump::Pattern(format!("{round}*")), Bump::Clear] {
            run(shared.bump(&bump, 0));
        }
        run(shared.read_control());
        run(shared.lift_control(0));
        // On a new connection, which ends the one before.
        let _ = block_on(shared.link().call_all(&[cmd("QUIT")]));
        while block_on(shared.get("k")).is_err() {}
        run(shared.settle("k"));
        for lost in ["seq", "log"] {
            bed.server.command(&["DEL", &under(lost)]);
        }
    }
    // Patterns and tags beyond the bound, too.
    let mut bed = bed;
    (bed.shared.most_tags, bed.shared.most_rules) = (0, 0);
    run(bed.shared.bump(&Bump::Tag("a".into()), 0));
    run(bed.shared.bump(&Bump::Pattern("a*".into()), 0));
}
