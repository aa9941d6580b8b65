//! A module imports lower floors and its own children, nothing else. The floors are the comments in `src/lib.rs`.
//!
//! Modules of one floor may import each other as long as that makes no circle.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "support/rust_source.rs"]
mod rust_source;

use std::collections::{BTreeMap, BTreeSet};

use rust_source::{closing, source_files, tokens, without_tests};

/// What `src/lib.rs` says.
#[derive(Debug, Default)]
struct Plan {
    /// The floor of every module.
    floors: BTreeMap<String, usize>,
    /// The module that each name at the crate's root comes from.
    exports: BTreeMap<String, String>,
}

impl Plan {
    fn read(lib: &str) -> Result<Self, String> {
        let mut plan = Plan::default();
        let mut floor = None;
        for line in lib.lines().map(str::trim) {
            if let Some(number) = line.strip_prefix("// Floor ") {
                floor = Some(number.parse().map_err(|_| format!("`{line}` has no number"))?);
            }
            let declared = ["mod ", "pub mod ", "pub(crate) mod "].iter().find_map(|start| line.strip_prefix(start));
            if let Some(module) = declared {
                let module = module.trim_end_matches(';');
                let floor = floor.ok_or(format!("`{module}` stands before the first floor"))?;
                plan.floors.insert(module.to_owned(), floor);
            }
        }
        for path in imports(&tokens(lib), &[]) {
            if let [module, .., name] = &*path
                && plan.floors.contains_key(module)
            {
                plan.exports.insert(name.clone(), module.clone());
            }
        }
        Ok(plan)
    }

    /// What is wrong with the imports of `files`, given as paths below `src` with their text.
    fn faults(&self, files: &[(String, String)]) -> Vec<String> {
        let mut faults = Vec::new();
        let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (file, text) in files.iter().filter(|(file, _)| file != "lib.rs" && !is_test(file)) {
            let place = place(file);
            let own = &place[0];
            let Some((own, floor)) = self.floors.get_key_value(own) else {
                faults.push(format!("{file}: the module `{own}` is on no floor of lib.rs"));
                continue;
            };
            for path in imports(&without_tests(&tokens(text)), &place) {
                let Some(first) = path.first() else {
                    faults.push(format!("{file}: imports the whole crate"));
                    continue;
                };
                let target = self.exports.get(first).unwrap_or(first);
                match self.floors.get_key_value(target) {
                    None => faults.push(format!("{file}: `crate::{first}` is no module on a floor of lib.rs")),
                    Some((_, other)) if other > floor => faults.push(format!(
                        "{file}: `{own}` on floor {floor} imports `{target}` on floor {other}, which is above it"
                    )),
                    Some((target, other)) if target != own && other == floor => {
                        edges.entry(own).or_default().insert(target);
                    }
                    Some(_) => {}
                }
            }
        }
        faults.extend(circle(&edges));
        faults
    }
}

/// The imports of modules on the same floor that lead back to where they start.
fn circle(edges: &BTreeMap<&str, BTreeSet<&str>>) -> Option<String> {
    let mut left = edges.clone();
    // A module that imports none of those left is on no circle.
    while let Some(free) =
        left.iter().find(|(_, to)| to.iter().all(|module| !left.contains_key(module))).map(|(module, _)| *module)
    {
        left.remove(free);
    }
    let names: Vec<_> = left.into_keys().collect();
    (!names.is_empty()).then(|| format!("`{}` import each other in a circle", names.join("`, `")))
}

fn is_test(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.ends_with("_tests.rs")
}

/// The module path of a file: `tier/redis/link.rs` is `tier::redis::link`.
fn place(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(str::to_owned).collect()
}

/// The paths that lead to or through the crate's root, wherever they are written, without the root itself.
fn imports(tokens: &[String], place: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    // Inline modules that are open, with the index at which each ends.
    let mut inner: Vec<usize> = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        inner.retain(|end| i < *end);
        let begins_path = i == 0 || tokens[i - 1] != "::";
        match &*tokens[i] {
            "mod" if tokens.get(i + 2).is_some_and(|next| next == "{") => inner.push(closing(tokens, i + 2)),
            // `pub(crate)`, `pub(super)` and `extern crate` are no paths.
            "crate" if i > 0 && tokens[i - 1] == "extern" => {}
            "crate" | "super" if tokens.get(i + 1).is_some_and(|next| next == ")") => {}
            "crate" if begins_path => follow(tokens, i + 1, &[], &mut found),
            "super" if begins_path => {
                let mut up = 1;
                let mut at = i + 1;
                while tokens.get(at).is_some_and(|next| next == "::") && tokens[at + 1] == "super" {
                    up += 1;
                    at += 2;
                }
                if up == place.len() + inner.len() {
                    follow(tokens, at, &[], &mut found);
                }
            }
            // At the crate's root a path may begin with a module's own name.
            "use" if place.is_empty() => follow_tree(tokens, i + 1, &[], &mut found),
            _ => {}
        }
        i += 1;
    }
    found
}

/// Reads on after a path's beginning: `::name::…` or `::{…}`.
fn follow(tokens: &[String], at: usize, path: &[String], found: &mut Vec<Vec<String>>) {
    if tokens.get(at).is_some_and(|next| next == "::") {
        follow_tree(tokens, at + 1, path, found);
    } else {
        found.push(path.to_vec());
    }
}

/// Reads what stands after a `::`: a name, a star or a list of trees.
fn follow_tree(tokens: &[String], at: usize, path: &[String], found: &mut Vec<Vec<String>>) {
    match tokens.get(at).map(String::as_str) {
        Some("{") => {
            let end = closing(tokens, at);
            let mut begin = at + 1;
            while begin < end {
                if tokens[begin] == "self" {
                    found.push(path.to_vec());
                } else {
                    follow_tree(tokens, begin, path, found);
                }
                // On to the next comma of this list.
                while begin < end && tokens[begin] != "," {
                    begin = if tokens[begin] == "{" { closing(tokens, begin) + 1 } else { begin + 1 };
                }
                begin += 1;
            }
        }
        Some("*") | Some("<") | None => found.push(path.to_vec()),
        Some(name) => follow(tokens, at + 1, &[path, &[name.to_owned()]].concat(), found),
    }
}

#[test]
fn every_module_imports_lower_floors_and_its_own_children_only() {
    let files = source_files();
    let lib = &files.iter().find(|(file, _)| file == "lib.rs").unwrap().1;
    let plan = Plan::read(lib).unwrap();
    assert!(plan.floors.len() >= 19, "lib.rs lists the modules: {:?}", plan.floors);
    assert_eq!(plan.exports["CacheManager"], "cache_manager");
    let faults = plan.faults(&files);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    for module in plan.floors.keys() {
        assert!(files.iter().any(|(file, _)| place(file)[0] == *module), "`{module}` has a file");
    }
}

const LIB: &str = "// Floor 0\nmod low;\nmod error;\n// Floor 1\nmod left;\nmod right;\n// Floor 2\npub mod high;\npub use \
                   high::{Top, deep::{Bottom}};\npub use low::Low;";

/// The faults of a single file, `src/left.rs` unless it says otherwise.
fn faults(text: &str) -> Vec<String> {
    faults_of(&[("left.rs", text)])
}

fn faults_of(files: &[(&str, &str)]) -> Vec<String> {
    let files: Vec<_> = files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    Plan::read(LIB).unwrap().faults(&files)
}

#[test]
fn an_upward_import_is_found_however_it_is_written() {
    for text in [
        "use crate::high::Top;",
        "use crate::{low::Low, high};",
        "use crate::{\n    low::{self, Low},\n    high::{deep::{Bottom}, Top as T},\n};",
        "use crate::Top;",
        "use crate::{Low, Bottom};",
        "fn f() -> crate::high::Top { todo!() }",
        "fn f() { crate::Top::new(); }",
        "use super::high::Top;",
        "mod inner { use super::super::high::Top; }",
        "macro_rules! m { () => { $crate::high::x() } }",
        "const C: char = '\"'; use crate::high::Top; const D: char = '\"';",
        "fn f<'a>(_: &'a str) {} use crate::high::Top; fn g<'b>() {}",
        "const R: &str = r#\"\"\"#; use crate::high::Top;",
        "#[cfg(test)]\nmod tests;\nuse crate::high::Top;",
        "/* /* */ */ use crate::high::Top;",
    ] {
        let faults = faults(text);
        assert!(
            !faults.is_empty() && faults.iter().all(|fault| fault.contains("`high` on floor 2")),
            "{text}: {faults:?}"
        );
    }
    assert_eq!(faults_of(&[("left/inner.rs", "use super::super::high::Top;")]).len(), 1);
    assert_eq!(faults_of(&[("left/mod.rs", "use super::high::Top;")]).len(), 1);
}

#[test]
fn an_import_of_the_whole_crate_or_of_an_unlisted_module_is_found() {
    assert_eq!(faults("use crate::*;"), ["left.rs: imports the whole crate"]);
    assert_eq!(faults("use super::*;"), ["left.rs: imports the whole crate"]);
    assert!(faults("use crate::misc::x;")[0].contains("`crate::misc` is no module"));
    assert!(faults_of(&[("misc.rs", "")])[0].contains("`misc` is on no floor"));
    assert!(faults_of(&[("misc/mod.rs", ""), ("misc/deep.rs", "")])[1].contains("`misc` is on no floor"));
}

#[test]
fn a_circle_on_one_floor_is_found() {
    let one_way = [("left.rs", "use crate::right::R;"), ("right.rs", "use crate::low::Low;")];
    assert_eq!(faults_of(&one_way), Vec::<String>::new());
    let circle = [("left.rs", "use crate::right::R;"), ("right/deep.rs", "use crate::left::L;")];
    assert_eq!(faults_of(&circle), ["`left`, `right` import each other in a circle"]);
}

#[test]
fn lower_floors_own_children_comments_strings_and_tests_are_no_faults() {
    for text in [
        "use crate::low::{self, Low};\nuse crate::error;",
        "use crate::Low;",
        "use crate::left::child::X;",
        "// use crate::high::Top;\n/* crate::high */\n/// [`x`](crate::high::Top)",
        "const S: &str = \"crate::high::Top\"; const R: &str = r#\"use crate::high;\"#; const B: &[u8] = b\"crate::high\";",
        "#[cfg(test)]\nmod tests { use super::*; use crate::high::Top; }",
        "#[cfg(test)]\n#[path = \"x.rs\"]\nfn only() { crate::high::x() }",
        "extern crate alloc;",
        "pub(crate) fn f() {}\npub(super) fn g() {}\nmod inner { use super::f; }",
    ] {
        assert_eq!(faults(text), Vec::<String>::new(), "{text}");
    }
    let children =
        [("left/deep/leaf.rs", "use super::super::x;\nuse super::y;"), ("left/tests.rs", "use crate::high;")];
    assert_eq!(faults_of(&children), Vec::<String>::new());
}
