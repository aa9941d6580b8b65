//! Rust source as a list of words and signs, without comments: enough to read imports and signatures.

#![allow(dead_code, unreachable_pub)]

use std::path::{Path, PathBuf};

/// The crate's own source files below `src`, as paths relative to it, with their text.
pub fn source_files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut left: Vec<PathBuf> = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            files.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    files.sort();
    files
}

/// The words and signs of `text`. Comments are left out; every literal in quotes is the one word `""`; `::`, `->` and `=>`
/// are one sign each.
pub fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut tokens = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        let c = chars[i];
        if c.is_whitespace() {
            i += 1;
        } else if c == '/' && at(i + 1) == '/' {
            while i < chars.len() && chars[i] != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            i = after_block_comment(&chars, i);
        } else if let Some(end) = after_literal(&chars, i) {
            tokens.push("\"\"".to_owned());
            i = end;
        } else if c.is_alphanumeric() || c == '_' {
            let start = i;
            while at(i).is_alphanumeric() || at(i) == '_' {
                i += 1;
            }
            tokens.push(chars[start..i].iter().collect());
        } else if let sign @ ("::" | "->" | "=>") = &*[c, at(i + 1)].iter().collect::<String>() {
            tokens.push(sign.to_owned());
            i += 2;
        } else {
            tokens.push(c.to_string());
            i += 1;
        }
    }
    tokens
}

fn after_block_comment(chars: &[char], mut i: usize) -> usize {
    let mut depth = 0;
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                i += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    i
}

/// The end of the string or character literal that begins at `i`, if one does. A lifetime is none.
fn after_literal(chars: &[char], i: usize) -> Option<usize> {
    let mut start = i;
    let (mut raw, mut hashes) = (false, 0);
    while matches!(chars.get(start), Some('b' | 'c' | 'r')) && start < i + 2 {
        raw |= chars[start] == 'r';
        start += 1;
    }
    while raw && chars.get(start) == Some(&'#') {
        hashes += 1;
        start += 1;
    }
    match chars.get(start)? {
        '"' if raw => {
            let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            let length = chars[start + 1..].windows(end.len()).position(|window| window == end)?;
            Some(start + 1 + length + end.len())
        }
        '"' => Some(after_quoted(chars, start, '"')),
        '\'' if hashes == 0 && (chars.get(start + 1) == Some(&'\\') || chars.get(start + 2) == Some(&'\'')) => {
            Some(after_quoted(chars, start, '\''))
        }
        _ => None,
    }
}

fn after_quoted(chars: &[char], start: usize, quote: char) -> usize {
    let mut i = start + 1;
    while i < chars.len() && chars[i] != quote {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// The index of the sign that closes what opens at `open`, where a `(`, `[` or `{` stands.
pub fn closing(tokens: &[String], open: usize) -> usize {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match &**token {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth -= 1;
                if depth == 0 {
                    return i;
                }
            }
            _ => {}
        }
    }
    panic!("the source closes what it opens");
}

/// `tokens` without the items that are compiled for tests only.
pub fn without_tests(tokens: &[String]) -> Vec<String> {
    let only_tests = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        if tokens[i..].iter().map(String::as_str).take(only_tests.len()).eq(only_tests) {
            i += only_tests.len();
            // The item ends with its braces or with a semicolon; further attributes are part of it.
            while !matches!(&*tokens[i], "{" | ";") {
                i = if matches!(&*tokens[i], "(" | "[") { closing(tokens, i) + 1 } else { i + 1 };
            }
            i = if tokens[i] == "{" { closing(tokens, i) + 1 } else { i + 1 };
        } else {
            kept.push(tokens[i].clone());
            i += 1;
        }
    }
    kept
}
