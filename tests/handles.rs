//! Both handles have the same methods, with the same arguments and answers; only the waiting differs.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/rust_source.rs"]
mod rust_source;

use std::collections::BTreeMap;

use rust_source::{closing, source_files, tokens, without_tests};

/// A method as it is declared, without what differs by nature.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Method {
    /// `[&, self, key, options, f]`: the names.
    arguments: Vec<String>,
    /// Generics, the arguments with their types, the answer, the bounds.
    signature: String,
    is_async: bool,
}

/// The public methods of the inherent `impl` blocks that begin with the words of `head`.
fn methods(text: &str, head: &[&str]) -> BTreeMap<String, Method> {
    let tokens = without_tests(&tokens(text));
    let mut found = BTreeMap::new();
    for start in 0..tokens.len() {
        if tokens[start..].iter().map(String::as_str).take(head.len()).eq(head.iter().copied()) {
            let open = start + head.len() - 1;
            collect(&tokens[open + 1..closing(&tokens, open)], &mut found);
        }
    }
    found
}

fn collect(body: &[String], found: &mut BTreeMap<String, Method>) {
    let mut i = 0;
    while i < body.len() {
        let is_async = body[i] == "pub" && body.get(i + 1).is_some_and(|next| next == "async");
        let name = i + if is_async { 3 } else { 2 };
        if body[i] == "pub" && body.get(name - 1).is_some_and(|next| next == "fn") {
            let end = (name..body.len()).find(|&at| body[at] == "{").unwrap();
            let whole = &body[name + 1..end];
            let (signature, is_async) = awaited(normal(whole), is_async);
            let method = Method { arguments: arguments(whole), signature, is_async };
            assert_eq!(found.insert(body[name].clone(), method), None, "`{}` is declared twice", body[name]);
            i = closing(body, end);
        } else if body[i] == "{" {
            i = closing(body, i);
        }
        i += 1;
    }
}

/// The names of the arguments: what stands before each `:` at the top of the parentheses, and the receiver.
fn arguments(signature: &[String]) -> Vec<String> {
    let open = signature.iter().position(|token| token == "(").unwrap();
    let inside = &signature[open + 1..closing(signature, open)];
    let (mut names, mut depth) = (Vec::new(), 0);
    for (i, token) in inside.iter().enumerate() {
        match &**token {
            "(" | "[" | "{" | "<" => depth += 1,
            ")" | "]" | "}" | ">" => depth -= 1,
            ":" if depth == 0 => names.push(inside[i - 1].clone()),
            "self" => names.push("self".to_owned()),
            _ => {}
        }
    }
    names
}

/// One spelling for what the two files spell differently, or rustfmt breaks differently.
fn normal(signature: &[String]) -> String {
    let mut words = Vec::new();
    for (i, word) in signature.iter().enumerate() {
        let next = signature.get(i + 1).map(String::as_str);
        match (&**word, next) {
            (",", Some(")" | ">") | None) => {}
            ("crate", Some("::")) => {}
            ("::", _) if i > 0 && signature[i - 1] == "crate" => {}
            ("BlockingLoad", _) => words.push("Load"),
            (word, _) => words.push(word),
        }
    }
    // Where a future is returned, the result is an associated type: as a parameter of the trait it could not be borrowed.
    words.join(" ").replace("LoadValue < Ok = R ,", "Load < R ,")
}

/// A method that returns its future by name, written as the async method that it is.
fn awaited(signature: String, is_async: bool) -> (String, bool) {
    const FUTURE: &str = "impl Future < Output = ";
    let Some((before, answer)) = signature.split_once(FUTURE) else { return (signature, is_async) };
    let (answer, _) = answer.split_once(" > + Send + ").expect("a future that is sent");
    let before = before.strip_prefix("< ' a > ").unwrap_or(before).replace("& ' a ", "& ");
    (format!("{before}{answer}"), true)
}

fn both() -> (BTreeMap<String, Method>, BTreeMap<String, Method>) {
    let (mut tasks, mut threads) = (BTreeMap::new(), BTreeMap::new());
    for (file, text) in source_files() {
        if file.starts_with("cache_manager/") {
            tasks.extend(methods(&text, &["impl", "CacheManager", "{"]));
        }
        if file == "blocking.rs" {
            threads.extend(methods(&text, &["impl", "CacheManager", "{"]));
            tasks.extend(methods(&text, &["impl", "crate", "::", "CacheManager", "{"]));
        }
    }
    (tasks, threads)
}

#[test]
fn both_handles_have_the_same_methods() {
    let (mut tasks, mut threads) = both();
    assert!(tasks.remove("into_blocking").is_some(), "the way from one handle to the other");
    assert!(threads.remove("as_async").is_some(), "the way back");
    assert!(tasks.len() >= 32, "the methods are found: {:?}", tasks.keys());
    let names = |methods: &BTreeMap<String, Method>| methods.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&tasks), names(&threads));
    for (name, method) in &tasks {
        assert_eq!(method.arguments, threads[name].arguments, "the arguments of `{name}`");
        assert_eq!(method.signature, threads[name].signature, "`{name}`");
        assert!(!threads[name].is_async, "`{name}` of the blocking handle waits by itself");
    }
}

#[test]
fn every_call_of_the_contract_is_there_with_the_waiting_it_has() {
    let (tasks, _) = both();
    for name in "new new_with_backends new_with_invalidation get set_with_strategy get_or_compute_with \
                 get_or_compute_typed get_typed invalidate invalidate_pattern update_cache set_with_broadcast \
                 publish_to_stream read_stream_latest read_stream health_check get_shared get_or_compute_shared \
                 get_or_compute_optional lookup ready close"
        .split_whitespace()
    {
        assert!(tasks.get(name).is_some_and(|method| method.is_async), "`{name}` is an async method");
    }
    for name in "new_with_tiers get_stats get_tier_stats get_invalidation_stats builder peek with_cached namespace \
                 with_defaults"
        .split_whitespace()
    {
        assert!(tasks.get(name).is_some_and(|method| !method.is_async), "`{name}` is a plain method");
    }
}

#[test]
fn a_difference_would_be_found() {
    let head = ["impl", "H", "{"];
    let one = methods("impl H { pub async fn get(&self, key: &str) -> Result<Option<Value>> { x } }", &head);
    let same = methods("impl H { pub fn get(\n  &self,\n  key: &str,\n) -> Result<Option<Value>> { y } }", &head);
    let renamed = methods("impl H { pub fn get(&self, name: &str) -> Result<Option<Value>> { y } }", &head);
    let narrowed = methods("impl H { pub fn get(&self, key: &str) -> Option<Value> { y } }", &head);
    let private = methods("impl H { pub(crate) fn get(&self, key: &str) {} } impl X for H { fn a() {} }", &head);
    assert_eq!(one["get"].arguments, ["self", "key"]);
    assert!(one["get"].is_async && !same["get"].is_async);
    assert_eq!(one["get"].signature, same["get"].signature);
    assert_ne!(one["get"].arguments, renamed["get"].arguments);
    assert_ne!(one["get"].signature, narrowed["get"].signature);
    assert!(private.is_empty());
    let closure = "impl H { pub fn f<R>(&self, f: impl Load<R, Err: Into<B>>, o: (A, B)) -> R where R: X { f() } }";
    assert_eq!(methods(closure, &head)["f"].arguments, ["self", "f", "o"]);
}
