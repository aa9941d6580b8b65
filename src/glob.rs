//! Patterns with the meaning of Redis `MATCH`, byte for byte.
//!
//! `*` any bytes, `?` one byte, `[abc]`, `[a-z]` and `[^a]` one byte of a class, `\x` the byte `x` itself. What Redis does
//! with unusual patterns is part of the contract, because the same pattern runs there and here:
//!
//! - A class that is not closed ends with the pattern: `[ab` is `[ab]`, `[^` is any byte, `[` alone matches nothing.
//! - `]` closes a class even in first place: `[]` matches nothing, `[^]` any byte. A range takes its end as it comes:
//!   in `[a-]` the range runs from `a` to `]`, and the class is not closed.
//! - A range written backwards is turned around. Ranges compare bytes as signed numbers, as Redis does where C's `char`
//!   is signed (x86-64): a byte above 0x7f lies below every ASCII byte.
//! - A backslash at the end is a backslash.
//! - Patterns in which more than [`MAX_STARS`] stars stand before something else match no text that gets them that far:
//!   servers since the fix of CVE-2024-31228 stop there.
//! - The empty text is matched by the empty pattern only, not by `*`.
//!
//! # Cost
//! At most one step per pair of a pattern byte and a text byte, no allocation, no recursion: everything but `*` takes
//! exactly one byte, so going back to the last `*` is enough.
//!
//! Checked by: a table, and a comparison with a live server over random patterns.

/// How many stars, counting neighbours once, are followed before a pattern counts as not matching.
const MAX_STARS: usize = 1_000;

/// Whether `pattern` matches the whole of `text`.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    // The pattern behind the last `*`, and the text from which it was last tried.
    let mut retry: Option<(usize, usize)> = None;
    let mut stars = 0;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            p += pattern[p..].iter().take_while(|&&byte| byte == b'*').count();
            stars += 1;
            if p == pattern.len() || stars > MAX_STARS {
                return p == pattern.len();
            }
            retry = Some((p, t));
            continue;
        }
        match step(&pattern[p..], text[t]) {
            Some(width) => {
                p += width;
                t += 1;
            }
            None => match retry {
                Some((behind, from)) => {
                    p = behind;
                    t = from + 1;
                    retry = Some((behind, t));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// The width of the pattern's first part, if it matches `byte`. The part is not a `*`.
fn step(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', ..] => class(pattern, byte),
        [b'\\', literal, ..] => (literal == byte).then_some(2),
        [literal, ..] => (literal == byte).then_some(1),
    }
}

/// The width of the class at the front of `pattern`, if `byte` is in it.
fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = if negated { 2 } else { 1 };
    let mut found = false;
    loop {
        match pattern[at..] {
            [] => break,
            [b'\\', literal, ..] => {
                found |= literal == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [one, b'-', other, ..] => {
                let (one, other) = (one.cast_signed(), other.cast_signed());
                found |= (one.min(other)..=one.max(other)).contains(&byte.cast_signed());
                at += 3;
            }
            [literal, ..] => {
                found |= literal == byte;
                at += 1;
            }
        }
    }
    (found != negated).then_some(at)
}

/// A pattern that matches `literal` and nothing else.
pub(crate) fn escape(literal: &str) -> String {
    let mut pattern = String::with_capacity(literal.len());
    for c in literal.chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
#[path = "glob/tests.rs"]
mod tests;
