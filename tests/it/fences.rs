//! The boundaries of ARCHITECTURE.md, as a scan of the source.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The program in a file: unit tests that are in it stand at its end.
fn without_tests(text: &str) -> &str {
    let tests = text.match_indices("#[cfg(test)]\nmod ").find(|(at, _)| {
        let line = text[*at..].lines().nth(1);
        line.is_some_and(|line| line.ends_with('{'))
    });
    &text[..tests.map_or(text.len(), |(at, _)| at)]
}

/// Whether the line names the word as an identifier of its own, outside of quoted text.
fn names(line: &str, word: &str) -> bool {
    let line = line.replace("\\\"", "").replace("'\"'", "");
    let line: String = line.split('"').step_by(2).collect();
    let line = line.as_str();
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(part);
        let after = line[at + word.len()..].chars().next().is_some_and(part);
        !before && !after
    })
}

#[test]
fn each_library_and_layer_stays_behind_its_fence() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 30, "the scan found the source");
    // What may not be named, and where it may.
    let fences: &[(&str, &[&str])] = &[
        ("redb", &["store/"]),
        ("whatsapp_rust", &["wa/", "sandbox/", "logging.rs"]),
        ("hyper", &["http/", "net/"]),
        ("hyper_util", &["http/", "net/"]),
        ("hickory_resolver", &["net/"]),
        // clippy knows every way to the environment and the clock; these files may be let through.
        ("disallowed_methods", &["config.rs", "time.rs"]),
    ];
    // Which layer may not name which.
    let layers: &[(&str, &[&str])] = &[
        (
            "api/",
            &[
                "crate::store",
                "crate::wa",
                "crate::sandbox",
                "crate::server",
                "crate::at_rest",
                "crate::worker",
                ".store()",
            ],
        ),
        (
            "domain/",
            &[
                "crate::api",
                "crate::http",
                "crate::worker",
                "crate::server",
                "StatusCode",
                "json!",
            ],
        ),
        (
            "store/",
            &["crate::domain", "crate::api", "crate::wa", "crate::http"],
        ),
        (
            "wa/",
            &[
                "crate::domain",
                "crate::api",
                "crate::http",
                "crate::worker",
            ],
        ),
        (
            "http/",
            &["crate::domain", "crate::api", "crate::store", "crate::wa"],
        ),
        (
            "net/",
            &[
                "crate::domain",
                "crate::api",
                "crate::store",
                "crate::wa",
                "crate::http",
            ],
        ),
        ("worker/", &["crate::api", "crate::http"]),
    ];
    // What `store::Typed` does for the domain, and who does it by hand: files have numbers in them too,
    // and what is old is looked for in all tables alike. Names of a dialect are not given here; stored
    // fields that have another name now keep their old one on the disk.
    let by_hand: &[(&str, &[&str])] = &[
        ("record::encode", &[]),
        ("record::decode", &[]),
        (
            "_be_bytes",
            &["domain/media/metadata.rs", "domain/media/reader.rs"],
        ),
        (".prefix(", &["domain/retention.rs"]),
        ("for_each_prefix", &[]),
        (
            "serde(rename",
            &["domain/campaign/mod.rs", "domain/event/upgrade.rs"],
        ),
    ];
    // What older versions stored was a dialect's JSON.
    let exempt = ["domain/event/upgrade.rs"];
    let mut broken = Vec::new();
    for file in &files {
        let name = file
            .strip_prefix(&root)
            .expect("below src")
            .display()
            .to_string();
        let text = std::fs::read_to_string(file).expect("readable");
        // Tests may look deeper than what they test.
        let program = match name.contains("/tests/") || name.ends_with("/tests.rs") {
            true => "",
            false => without_tests(&text),
        };
        for (number, line) in program.lines().enumerate() {
            if name.starts_with("domain/") && line.contains("original program") {
                let number = number + 1;
                broken.push(format!("{name}:{number}: the domain speaks of a dialect"));
            }
            if line.trim_start().starts_with("//") {
                continue;
            }
            for (word, homes) in fences {
                if names(line, word) && !homes.iter().any(|home| name.starts_with(home)) {
                    broken.push(format!("{name}:{}: {word}", number + 1));
                }
            }
            for (word, homes) in by_hand {
                let here = name.starts_with("domain/") && line.contains(word);
                if here && !homes.contains(&name.as_str()) {
                    broken.push(format!("{name}:{}: {word} by hand", number + 1));
                }
            }
            for (layer, forbidden) in layers {
                // The client's tests ask our own server.
                if *layer == "net/" && name.starts_with("net/tests/") {
                    continue;
                }
                for word in *forbidden {
                    if name.starts_with(layer)
                        && line.contains(word)
                        && !exempt.contains(&name.as_str())
                    {
                        broken.push(format!("{name}:{}: {layer} names {word}", number + 1));
                    }
                }
            }
        }
        for import in &Module::new(Vec::new(), program).imports {
            let path = import.path.join("::");
            let below = |word: &str| path == word || path.starts_with(&format!("{word}::"));
            for (layer, forbidden) in layers {
                if name.starts_with(layer) && forbidden.iter().any(|word| below(word)) {
                    broken.push(format!("{name}: {layer} imports {path}"));
                }
            }
        }
        let lines = text.lines().count();
        if lines > 1500 {
            broken.push(format!("{name}: {lines} lines"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// What a field of it means cannot be changed as freely as other code can, and whoever reads the type
/// must see that.
#[test]
fn each_stored_type_says_so() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    for folder in ["domain", "wa"] {
        sources(&root.join(folder), &mut files);
    }
    let (mut seen, mut silent) = (0, Vec::new());
    for file in files {
        // The whole file is about what older versions stored.
        if file.ends_with("event/upgrade.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("readable");
        for (name, docs) in deserialized(without_tests(&text)) {
            seen += 1;
            if !names(&docs, "Stored") && !names(&docs, "stored") {
                silent.push(format!("{}: {name}", file.display()));
            }
        }
    }
    assert!(seen > 80, "the scan found {seen} types");
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}

#[test]
fn a_deserialized_type_is_seen_however_it_is_written() {
    let found = |text| deserialized(text).into_iter().collect::<Vec<_>>();
    let one = |docs: &str| vec![("A".to_owned(), docs.to_owned())];
    let text = "/// Of one. Stored.\n#[derive(Debug, Deserialize)]\n#[serde(x)]\npub struct A(u8);";
    assert_eq!(found(text), one("/// Of one. Stored.\n"));
    let text = "#[derive(\n    Debug, serde::Deserialize,\n)]\npub(super) enum A {\n}";
    assert_eq!(found(text), one(""));
    let by_hand = "/// Of one.\nstruct A;\n\nimpl<'de> Deserialize<'de> for A {\n}";
    assert_eq!(found(by_hand), one("/// Of one.\n"));
    assert_eq!(found("/// Of one.\n#[derive(Serialize)]\nstruct A;"), []);
}

/// The types of a file that are read by serde, with their docs.
fn deserialized(text: &str) -> BTreeMap<String, String> {
    let by_hand = |name: &str| {
        let of_it = format!("Deserialize<'de> for {name} ");
        text.lines().any(|line| line.contains(&of_it))
    };
    let (mut docs, mut attributes) = (String::new(), String::new());
    let mut types = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        let words: Vec<_> = line.split([' ', '(', '<', '{', ';']).collect();
        let at = words.iter().position(|w| matches!(*w, "struct" | "enum"));
        if line.starts_with("///") {
            docs.push_str(line);
            docs.push('\n');
        } else if let Some(name) = at.and_then(|at| words.get(at + 1)) {
            if names(&attributes, "Deserialize") || by_hand(name) {
                types.insert((*name).to_owned(), std::mem::take(&mut docs));
            }
            (docs, attributes) = Default::default();
        } else if line.starts_with("#[") || (!attributes.is_empty() && !line.ends_with(['{', ';']))
        {
            attributes.push_str(line);
            attributes.push('\n');
        } else {
            (docs, attributes) = Default::default();
        }
    }
    types
}

/// Folders of `src` whose files must not import each other in a circle.
const WITHOUT_CIRCLES: &[&str] = &["domain", "http", "net", "store", "wa"];

#[test]
fn no_files_of_a_folder_import_each_other_in_a_circle() {
    for folder in WITHOUT_CIRCLES {
        let modules = modules(folder);
        assert!(modules.len() > 5, "{folder}: the scan found the source");
        if let Some(circle) = circle(&imports(&modules)) {
            panic!("{}", circle.join(" -> "));
        }
    }
}

#[test]
fn a_circle_is_seen_whatever_names_it() {
    let seen = |texts: &[(&[&str], &str)]| {
        let module = |(path, text): &(&[&str], &str)| {
            Module::new(path.iter().map(ToString::to_string).collect(), text)
        };
        circle(&imports(&texts.iter().map(module).collect::<Vec<_>>())).is_some()
    };
    let (a, b, c) = (&["a"][..], &["a", "b"][..], &["a", "c"][..]);
    let root = (
        a,
        "mod b;\nmod c;\npub use b::{B, Other};\nfn own() {}\nfn f() { self::own() }",
    );
    for (of_b, of_c) in [
        ("use super::c::C;", "use super::b::B;"),
        ("use super::{\n    c::{C, D},\n};", "use crate::a::b;"),
        ("fn f() { crate::a::c::g() }", "use super::B;"),
        ("pub(super) use super::c as d;", "use super::Other as O;"),
        (
            "use std::io;\n\nuse super::c::{self, C};",
            "type T = super::B;",
        ),
    ] {
        assert!(seen(&[root, (b, of_b), (c, of_c)]), "{of_b} {of_c}");
        assert!(!seen(&[root, (b, of_b), (c, "")]), "{of_b}");
        assert!(!seen(&[root, (b, ""), (c, of_c)]), "{of_c}");
    }
    // A child is named without a path, and a file by the name of the folder that was imported.
    let names = (a, "mod b;\nmod c;\nfn own() {}\nfn f() { b::g() }");
    assert!(seen(&[names, (b, "use super::own;")]));
    assert!(!seen(&[names, (b, ""), (c, "use super::own;")]));
    let below = (&["a", "c", "d"][..], "use super::super::b::B;");
    for of_b in [
        "use super::c;\nfn f() { c::d::g() }",
        "use super::c as e;\nfn f() { e::d::g() }",
    ] {
        assert!(seen(&[root, (b, of_b), (c, "mod d;"), below]), "{of_b}");
    }
    // Who may see something is not needed by it.
    let shown = "pub(in crate::a) struct B(pub(in crate::a) u8, pub(in crate::a) u8);";
    assert!(!seen(&[(a, "mod b;\nuse b::B;"), (b, shown)]));
    // Tests, comments and other folders are no part of it.
    let harmless = "// use super::b::B;\nuse crate::b::B;\n\
                    #[cfg(test)]\nmod tests {\n    use super::super::b;\n}";
    assert!(!seen(&[root, (b, "use super::c;"), (c, harmless)]));
    // What a parent defines is the parent's: it calls its child, and the child calls it.
    let calls = (a, "mod b;\nuse b::f;\nfn own() {}");
    assert!(seen(&[calls, (b, "use super::own;")]));
    assert!(!seen(&[calls, (b, "")]));
}

/// A path of names, as in `crate::http::form`.
type Names = Vec<String>;

/// A source file, and what it names of its own crate.
struct Module {
    /// Its place below the crate.
    path: Names,
    imports: Vec<Import>,
    /// Paths in the code.
    mentions: Vec<Names>,
}

/// One leaf of a `use`.
struct Import {
    /// The name that it gets.
    name: String,
    path: Names,
    is_public: bool,
}

impl Module {
    fn new(path: Names, text: &str) -> Self {
        let text = without_tests(text);
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        let lines = text.lines().filter(is_code).map(without_scope);
        let lines: Vec<_> = lines.collect();
        let (mut imports, mut mentions) = (Vec::new(), Vec::new());
        for statement in lines.join("\n").split(';') {
            // A `use` begins a line, and ends with the statement.
            let begin = |line: &str| {
                let bare = match line.strip_prefix("pub") {
                    Some(rest) => rest.split_once(' ').map_or("", |(_, rest)| rest),
                    None => line,
                };
                bare.starts_with("use ")
            };
            let lines: Vec<_> = statement.lines().collect();
            let at = lines.iter().position(|line| begin(line));
            let (code, import) = lines.split_at(at.unwrap_or(lines.len()));
            mentions.extend(paths_in(&code.join("\n")));
            let import = import.join(" ");
            if let Some((before, tree)) = import.split_once("use ") {
                let is_public = !before.is_empty();
                let mut leaves = Vec::new();
                expand(tree, &[], &mut leaves);
                imports.extend(leaves.into_iter().map(|(name, path)| Import {
                    name,
                    path,
                    is_public,
                }));
            }
        }
        Self {
            path,
            imports,
            mentions,
        }
    }

    /// The full path of what this file names so; `None` is another crate's.
    fn absolute(&self, path: &[String], of: &Folder<'_>) -> Option<Names> {
        let mut full = match path.first()?.as_str() {
            "crate" => Vec::new(),
            "self" | "super" => self.path.clone(),
            child => {
                let child = [&self.path[..], &[child.to_owned()]].concat();
                of.contains_key(&child[..]).then(|| self.path.clone())?
            }
        };
        for name in path {
            match name.as_str() {
                "super" => drop(full.pop()),
                "crate" | "self" => {}
                name => full.push(name.to_owned()),
            }
        }
        Some(full)
    }
}

/// The files of a folder by their places.
type Folder<'a> = BTreeMap<&'a [String], &'a Module>;

/// The leaves of a tree of imports, each with the name that it gets.
fn expand(tree: &str, before: &[String], leaves: &mut Vec<(String, Names)>) {
    let names = |path: &str| -> Names {
        let names = path.split("::").map(str::trim);
        let names = names.filter(|name| !name.is_empty() && *name != "*");
        names.map(str::to_owned).collect()
    };
    let Some((head, inner)) = tree.split_once('{') else {
        let (path, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
        let mut full = [before, &names(path)[..]].concat();
        full.pop_if(|name| name == "self");
        let name = match alias.trim() {
            "" => full.last().cloned().unwrap_or_default(),
            alias => alias.to_owned(),
        };
        if !path.trim().is_empty() {
            leaves.push((name, full));
        }
        return;
    };
    let path = [before, &names(head)[..]].concat();
    let inner = inner.rsplit_once('}').map_or(inner, |(inner, _)| inner);
    let mut depth = 0;
    let parts = inner.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    for part in parts {
        expand(part, &path, leaves);
    }
}

/// The line without the path of a `pub(in ...)`: who may see something is no part of what it needs.
fn without_scope(line: &str) -> String {
    let Some((before, rest)) = line.split_once("pub(in ") else {
        return line.to_owned();
    };
    let after = rest.split_once(')').map_or("", |(_, after)| after);
    format!("{before}pub{}", without_scope(after))
}

/// Paths in code, from wherever they begin.
fn paths_in(code: &str) -> Vec<Names> {
    let words = code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    let paths = words.filter(|word| word.contains("::"));
    let names = |word: &str| -> Names {
        let names = word.split("::").filter(|name| !name.is_empty());
        names.map(str::to_owned).collect()
    };
    paths.map(names).collect()
}

/// The files of a folder of `src`, without its tests.
fn modules(folder: &str) -> Vec<Module> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root.join(folder), &mut files);
    let modules = files.iter().filter_map(|file| {
        let name = file.strip_prefix(&root).expect("below src");
        let name = name.with_extension("");
        let names = name.iter().map(|name| name.to_string_lossy().into_owned());
        let mut path: Names = names.collect();
        path.pop_if(|name| name == "mod");
        if path.iter().any(|name| name == "tests") {
            return None;
        }
        let text = std::fs::read_to_string(file).expect("readable");
        Some(Module::new(path, &text))
    });
    modules.collect()
}

/// Which file needs which.
fn imports(modules: &[Module]) -> BTreeMap<String, Vec<String>> {
    let folder: Folder<'_> = modules.iter().map(|m| (&m.path[..], m)).collect();
    let edges = modules.iter().map(|module| {
        let has_children = modules
            .iter()
            .any(|m| m.path.len() > module.path.len() && m.path.starts_with(&module.path));
        // A parent that shows what its children have does not need it.
        let needed = module.imports.iter();
        let needed = needed.filter(|import| !(has_children && import.is_public));
        // What is named by an imported name lies below what that name stands for.
        let mentioned = module.mentions.iter().map(|path| {
            let imported = module.imports.iter();
            let mut imported = imported.filter(|import| path.first() == Some(&import.name));
            match imported.next() {
                Some(import) => [&import.path[..], &path[1..]].concat(),
                None => path.clone(),
            }
        });
        let paths = needed.map(|import| import.path.clone()).chain(mentioned);
        let own = module.path.join("::");
        let mut homes: Vec<_> = paths
            .filter_map(|path| home(module.absolute(&path, &folder)?, &folder))
            .filter(|home| *home != own)
            .collect();
        homes.sort();
        homes.dedup();
        (own, homes)
    });
    edges.collect()
}

/// The file in which something is defined: a name that a file only imports is another's.
fn home(mut path: Names, folder: &Folder<'_>) -> Option<String> {
    for _ in 0..8 {
        let length = (1..=path.len())
            .rev()
            .find(|length| folder.contains_key(&path[..*length]))?;
        let module = folder[&path[..length]];
        let imported = path.get(length).and_then(|name| {
            let import = module.imports.iter().find(|import| import.name == *name)?;
            module.absolute(&import.path, folder)
        });
        let Some(imported) = imported else {
            return Some(module.path.join("::"));
        };
        path = [&imported[..], &path[length + 1..]].concat();
    }
    None
}

/// A circle in the graph, from a file back to itself.
fn circle(graph: &BTreeMap<String, Vec<String>>) -> Option<Vec<String>> {
    fn visit<'a>(
        graph: &'a BTreeMap<String, Vec<String>>,
        name: &'a str,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<String>> {
        if let Some(at) = way.iter().position(|n| *n == name) {
            let circle = way[at..].iter().chain([&name]);
            return Some(circle.map(ToString::to_string).collect());
        }
        if !done.contains(name) {
            way.push(name);
            for next in graph.get(name).into_iter().flatten() {
                if let Some(circle) = visit(graph, next, way, done) {
                    return Some(circle);
                }
            }
            way.pop();
            done.insert(name);
        }
        None
    }
    let (mut way, mut done) = (Vec::new(), BTreeSet::new());
    let mut names = graph.keys();
    names.find_map(|name| visit(graph, name, &mut way, &mut done))
}
