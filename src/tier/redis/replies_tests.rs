//! Answers in pieces: valid, invalid and cut at every byte.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const ANSWERS: &[u8] =
    b"+OK\r\n:-2\r\n$3\r\na\r\n\r\n$-1\r\n$0\r\n\r\n*-1\r\n*2\r\n*1\r\n$1\r\nx\r\n:7\r\n-ERR no\r\n*0\r\n+PONG\r\n";

fn text(text: &str) -> Value {
    Value::BulkString(text.into())
}

/// All answers in `bytes` if they come in pieces of `size`.
fn in_pieces(bytes: &[u8], size: usize) -> Result<Vec<Value>, RedisError> {
    let mut replies = Replies::new();
    let mut values = Vec::new();
    for piece in bytes.chunks(size) {
        let mut piece = piece;
        while !piece.is_empty() {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            assert!(matches!(replies.poll_read(&mut piece, &mut cx), Poll::Ready(Ok(1..))));
            while let Some(value) = replies.next()? {
                values.push(value);
            }
        }
    }
    Ok(values)
}

#[test]
fn answers_are_the_same_however_they_are_cut() {
    let whole = in_pieces(ANSWERS, ANSWERS.len()).unwrap();
    assert_eq!(whole[..3], [Value::Okay, Value::Int(-2), text("a\r\n")]);
    assert_eq!(whole[3..6], [Value::Nil, text(""), Value::Nil]);
    assert_eq!(whole[6], Value::Array(vec![Value::Array(vec![text("x")]), Value::Int(7)]));
    assert!(matches!(&whole[7], Value::ServerError(error) if error.code() == "ERR"));
    assert_eq!(whole[8..], [Value::Array(vec![]), Value::SimpleString("PONG".into())]);
    for size in 1..ANSWERS.len() {
        assert_eq!(in_pieces(ANSWERS, size).unwrap(), whole, "{size}");
    }
}

#[test]
fn what_comes_over_resp3_is_cut_in_the_right_places() {
    let bytes = b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\n\r\n\r\n_\r\n=8\r\ntxt:a\r\nb\r\n:1\r\n";
    let whole = in_pieces(bytes, bytes.len()).unwrap();
    let message = Value::Push { kind: ::redis::PushKind::Message, data: vec![text("c"), text("\r\n")] };
    let info = Value::VerbatimString { format: ::redis::VerbatimFormat::Text, text: "a\r\nb".into() };
    assert_eq!(whole, [message, Value::Nil, info, Value::Int(1)]);
    for size in 1..bytes.len() {
        assert_eq!(in_pieces(bytes, size).unwrap(), whole, "{size}");
    }
}

#[test]
fn an_answer_may_be_larger_than_the_room_and_gives_it_back() {
    let body = "v".repeat(5 * KEPT);
    let mut replies = Replies::new();
    let bytes = format!("{}${}\r\n{body}\r\n:1\r\n", ":0\r\n".repeat(KEPT), body.len());
    let mut rest = bytes.as_bytes();
    let mut values = Vec::new();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    while !rest.is_empty() {
        assert!(replies.poll_read(&mut rest, &mut cx).is_ready());
        while let Some(value) = replies.next().unwrap() {
            values.push(value);
        }
    }
    assert_eq!(values.len(), KEPT + 2);
    assert_eq!(values[KEPT..], [text(&body), Value::Int(1)]);
    let mut end: &[u8] = &[];
    assert!(replies.poll_read(&mut end, &mut cx).is_ready());
    assert_eq!(replies.buffer.len(), KEPT);
}

#[test]
fn what_is_no_answer_is_an_error_and_takes_no_memory() {
    for bytes in [
        "\r\n",
        "x\r\n",
        "$a\r\n",
        "$\r\n",
        "*1x\r\n",
        ":\n",
        "$2\r\nabcd",
        "HTTP/1.1 400 Bad Request\r\n",
        // Only -1 stands for an absence.
        "$-2\r\n",
        "$-1x\r\n",
        "*-2\r\n",
        "*1\r\n$-2\r\n",
        "$-9223372036854775808\r\n",
        // A line ends with both.
        ":12\n",
        "$12\nA\r\n",
        "+a\nb\r\n",
    ] {
        for size in 1..=bytes.len() {
            assert!(in_pieces(bytes.as_bytes(), size).is_err(), "{bytes:?}");
        }
    }
    for bytes in ["$1000000000\r\nx", "*1000000000\r\n*70000000\r\n:1\r\n"] {
        assert_eq!(in_pieces(bytes.as_bytes(), 64).unwrap(), [], "{bytes:?}");
    }
}

#[test]
fn an_answer_without_an_end_is_an_error_as_soon_as_that_shows() {
    for bytes in
        ["$9223372036854775807\r\n", "$1073741824\r\n", "*9223372036854775807\r\n", "*1000000000\r\n*100000000\r\n"]
    {
        assert!(in_pieces(bytes.as_bytes(), 64).is_err(), "{bytes:?}");
    }
    for start in ["+", "-ERR ", ":", "$", "*1\r\n:", "*"] {
        let endless = format!("{start}{}", "7".repeat(LINE));
        assert!(in_pieces(endless.as_bytes(), KEPT).is_err(), "{start:?}");
    }
    let long = format!("-ERR {}\r\n", "x".repeat(LINE - 7));
    assert!(matches!(in_pieces(long.as_bytes(), KEPT).unwrap()[..], [Value::ServerError(_)]));
}

#[test]
fn an_error_that_quotes_foreign_bytes_is_an_answer_like_another() {
    let values = in_pieces(b"-ERR unknown command 'x', with args '\xff\xc3'\r\n+\xff\r\n:1\r\n", 5).unwrap();
    let Value::ServerError(error) = &values[0] else { panic!("{values:?}") };
    assert_eq!(error.details(), Some("unknown command 'x', with args '\u{fffd}\u{fffd}'"));
    assert_eq!(values[1..], [Value::SimpleString("\u{fffd}".into()), Value::Int(1)]);
}

#[test]
fn arrays_in_arrays_are_an_error_where_they_go_too_deep_for_a_thread() {
    let nested = |depth: usize| format!("{}:1\r\n", "*1\r\n".repeat(depth));
    let mut value = &in_pieces(nested(90).as_bytes(), 64).unwrap()[0];
    let mut depth = 0;
    while let Value::Array(values) = value {
        (value, depth) = (&values[0], depth + 1);
    }
    assert_eq!((value, depth), (&Value::Int(1), 90));
    assert!(in_pieces(nested(100_000).as_bytes(), KEPT).is_err());
}

/// What `bytes` say, cut into pieces at `cuts`: the answers, and whether there was an error after them. The room never
/// outgrows what came.
fn cut(bytes: &[u8], cuts: &[usize]) -> (Vec<Value>, bool) {
    let mut replies = Replies::new();
    let mut values = Vec::new();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
    cuts.sort_unstable();
    for ends in cuts.windows(2) {
        let mut piece = &bytes[ends[0]..ends[1]];
        while !piece.is_empty() {
            assert!(replies.poll_read(&mut piece, &mut cx).is_ready());
            assert!(replies.buffer.len() <= KEPT.max(2 * bytes.len()));
            loop {
                match replies.next() {
                    Ok(Some(value)) => values.push(value),
                    Ok(None) => break,
                    Err(_) => return (values, true),
                }
            }
        }
    }
    (values, false)
}

/// An answer and its bytes.
fn answers() -> impl Strategy<Value = (Value, Vec<u8>)> {
    let line = "[ -~äß]{0,40}".prop_filter("`OK` is a value of its own", |line| line != "OK");
    let leaf = prop_oneof![
        Just((Value::Nil, b"$-1\r\n".to_vec())),
        Just((Value::Nil, b"*-1\r\n".to_vec())),
        Just((Value::Okay, b"+OK\r\n".to_vec())),
        any::<i64>().prop_map(|number| (Value::Int(number), format!(":{number}\r\n").into_bytes())),
        line.prop_map(|line| (Value::SimpleString(line.clone()), format!("+{line}\r\n").into_bytes())),
        vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b'$')], 0..300).prop_map(|bytes| {
            let packed = [format!("${}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat();
            (Value::BulkString(bytes), packed)
        }),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        vec(inner, 0..6).prop_map(|parts| {
            let (values, bytes): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
            let head = format!("*{}\r\n", values.len()).into_bytes();
            (Value::Array(values), [head, bytes.concat()].concat())
        })
    })
}

/// Bytes that often look like answers for a while.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => "[$*:]-?[0-9]{1,2}\r\n".prop_map(String::into_bytes),
        1 => "[-+:$*%~>|=!,#_(]-?[0-9]{0,3}\r\n".prop_map(String::into_bytes),
        1 => "[-+:$*][0-9]{15,25}\r\n".prop_map(String::into_bytes),
        4 => answers().prop_map(|(_, bytes)| bytes),
        1 => vec(any::<u8>(), 0..8),
        1 => Just(b"\r\n".to_vec()),
        1 => Just(b"\n".to_vec()),
    ];
    vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn what_was_answered_is_what_is_read(parts in vec(answers(), 1..8), cuts in vec(any::<usize>(), 0..12)) {
        let (values, bytes): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        prop_assert_eq!(cut(&bytes.concat(), &cuts), (values, false));
    }

    #[test]
    fn any_bytes_are_the_same_answers_however_they_are_cut(bytes in noise(), cuts in vec(any::<usize>(), 0..12)) {
        let every: Vec<_> = (0..bytes.len()).collect();
        let whole = cut(&bytes, &[]);
        prop_assert_eq!(&cut(&bytes, &cuts), &whole);
        prop_assert_eq!(&cut(&bytes, &every), &whole);
    }

    #[test]
    fn a_byte_that_changed_harms_no_answer_before_it(
        parts in vec(answers(), 1..8), at in any::<usize>(), byte in any::<u8>(),
    ) {
        let (values, packed): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let mut bytes = packed.concat();
        let at = at % bytes.len();
        bytes[at] = byte;
        let mut end = 0;
        let whole = packed.iter().take_while(|packed| { end += packed.len(); end <= at }).count();
        let (read, _) = cut(&bytes, &[]);
        prop_assert_eq!(&read[..whole], &values[..whole]);
    }
}
