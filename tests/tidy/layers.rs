//! Who may import whom. The table of layers in ARCHITECTURE.md, as a test: a new edge between parts
//! is the most expensive thing a change can bring, so it must be written here first.

use std::collections::BTreeMap;

use toml::Table;

use crate::code::{code_only, identifiers, line_number, product_only};
use crate::tree::{expect_none, root, rust_files};

/// Each crate of the workspace and the crates of ours it may depend on.
const LAYERS: [(&str, &[&str]); 10] = [
    // Stands in for a library of openraft's, decision 0008.
    ("base2histogram", &[]),
    ("bannkreis-core", &[]),
    ("bannkreis-proto", &["bannkreis-core"]),
    ("bannkreis-filter", &["bannkreis-core"]),
    ("bannkreis-firewall", &["bannkreis-core"]),
    ("bannkreis-raft", &["bannkreis-core", "bannkreis-proto"]),
    (
        "bannkreis-node",
        &["bannkreis-core", "bannkreis-proto", "bannkreis-filter", "bannkreis-firewall", "bannkreis-raft"],
    ),
    ("bannkreis-cli", &["bannkreis-core", "bannkreis-proto", "bannkreis-filter"]),
    ("bannkreis-tests", &EVERYTHING),
    // The benchmarks run in the lab of the end-to-end tests, which lives in the tests' crate.
    // One measures the filters alone, and one proposes inside a node.
    (
        "bannkreis-benches",
        &[
            "bannkreis-core",
            "bannkreis-filter",
            "bannkreis-firewall",
            "bannkreis-raft",
            "bannkreis-node",
            "bannkreis-cli",
            "bannkreis-proto",
            "bannkreis-tests",
        ],
    ),
];

/// What stands outside may look at everything, and nothing may look at it.
const EVERYTHING: [&str; 7] = [
    "bannkreis-core",
    "bannkreis-proto",
    "bannkreis-filter",
    "bannkreis-firewall",
    "bannkreis-raft",
    "bannkreis-node",
    "bannkreis-cli",
];

/// The adapters inside the node: each touches one piece of the world and knows no other of them.
const ADAPTERS: [&str; 7] = ["source", "second_look", "control", "config", "wire", "action", "kubernetes"];

/// Where the generated wire types may appear.
const KNOWS_WIRE_TYPES: [&str; 7] =
    ["proto", "node/raft", "node/src/wire", "node/src/control", "cli", "tests", "benches"];

/// The crates of others that the meaning of the product may rest on.
const CORE_DEPENDENCIES: [&str; 5] = ["ipnet", "siphasher", "smallvec", "triomphe", "bannkreis-core"];

/// The crates that only compute: bytes and times in, values out.
const PURE: [&str; 2] = ["node/core/src", "node/filter/src"];

/// The one place among them that opens files, so that the node and `bannkreis check` read the same ones.
const OPENS_FILES: &str = "node/filter/src/this_host/";

/// What a crate that only computes cannot name: files, sockets, clocks, threads, processes.
const WORLD: [&str; 10] = [
    "std::fs",
    "std::io",
    "std::env",
    "std::thread",
    "std::process",
    "std::time::Instant",
    "SystemTime",
    "UdpSocket",
    "tokio",
    "::now()",
];

#[test]
fn crates_import_only_what_their_layer_may() {
    let mut broken = Vec::new();
    for (path, manifest) in manifests() {
        let name = package_name(&manifest);
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
            broken.push(format!("{path}: {name} has no layer: give it one in tests/tidy/layers.rs"));
            continue;
        };
        for dependency in dependencies(&manifest) {
            let is_ours = LAYERS.iter().any(|(layer, _)| *layer == dependency);
            if is_ours && !allowed.contains(&dependency.as_str()) {
                broken.push(format!("{path}: {name} must not know {dependency}"));
            }
        }
    }
    expect_none("an edge between crates that the table of layers does not have", &broken);
}

#[test]
fn the_core_rests_on_small_crates_only() {
    let (path, core) = manifests()
        .into_iter()
        .find(|(_, manifest)| package_name(manifest) == "bannkreis-core")
        .expect("the core is a member");
    let broken: Vec<String> = table_keys(&core, "dependencies")
        .into_iter()
        .filter(|dependency| !CORE_DEPENDENCIES.contains(&dependency.as_str()))
        .map(|dependency| format!("{path}: {dependency}"))
        .collect();
    expect_none("the core depends on ipnet, siphasher, smallvec and triomphe, and nothing else", &broken);
}

#[test]
fn what_only_computes_touches_nothing() {
    let mut broken = Vec::new();
    for file in rust_files() {
        if !PURE.iter().any(|pure| file.is_in(pure)) || file.path.starts_with(OPENS_FILES) {
            continue;
        }
        let code = code_only(&file.text);
        let product = product_only(&code);
        for touch in WORLD {
            for (at, _) in product.match_indices(touch) {
                broken.push(format!("{}:{}: {touch}", file.path, line_number(product, at)));
            }
        }
    }
    expect_none("the core and the filters are told the time and the bytes; they fetch neither", &broken);
}

#[test]
fn adapters_do_not_import_each_other() {
    let mut broken = Vec::new();
    for file in rust_files() {
        let Some(own) = ADAPTERS.iter().find(|adapter| {
            file.is_in(&format!("node/src/{adapter}")) || file.path == format!("node/src/{adapter}.rs")
        }) else {
            continue;
        };
        let code = code_only(&file.text);
        for (at, module) in modules_of_the_crate(&code) {
            if ADAPTERS.contains(&module) && module != *own {
                broken.push(format!("{}:{}: {own} imports {module}", file.path, line_number(&code, at)));
            }
        }
    }
    expect_none("adapters meet in node::app and nowhere else", &broken);
}

#[test]
fn wire_types_stay_at_the_border() {
    let mut broken = Vec::new();
    for file in rust_files() {
        let is_border =
            KNOWS_WIRE_TYPES.iter().any(|border| file.is_in(border) || file.path == format!("{border}.rs"));
        if is_border {
            continue;
        }
        let code = code_only(&file.text);
        for (at, word) in identifiers(&code) {
            // The checked conversions to core types are for everybody; the wire types are not.
            if word == "bannkreis_proto" && !code[at..].starts_with("bannkreis_proto::convert") {
                broken.push(format!("{}:{}", file.path, line_number(&code, at)));
            }
        }
    }
    expect_none("wire types are decoded at the border; behind it there are only core types", &broken);
}

/// The modules named right after `crate::`, also inside `crate::{…}`, with the byte where each stands.
fn modules_of_the_crate(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (at, start) in code.match_indices("crate::") {
        let after = at + start.len();
        let Some(list) = code[after..].strip_prefix('{') else {
            found.extend(identifiers(&code[after..]).first().map(|(offset, word)| (after + offset, *word)));
            continue;
        };
        // Only the first word of each item at the list's own depth is a module of the crate.
        let begin = after + 1;
        let (mut depth, mut expects_module) = (0_usize, true);
        for (offset, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => expects_module = true,
                c if expects_module && depth == 0 && (c.is_alphabetic() || c == '_') => {
                    let word = identifiers(&list[offset..]).first().map_or("", |(_, word)| *word);
                    found.push((begin + offset, word));
                    expects_module = false;
                }
                _ => {}
            }
        }
    }
    found
}

/// The manifest of every member of the workspace, with its path.
pub(crate) fn manifests() -> BTreeMap<String, Table> {
    let workspace = read("Cargo.toml");
    let members = workspace["workspace"]["members"].as_array().expect("a list of members");
    members
        .iter()
        .map(|member| format!("{}/Cargo.toml", member.as_str().expect("a member is a path")))
        .map(|path| {
            let manifest = read(&path);
            (path, manifest)
        })
        .collect()
}

fn read(path: &str) -> Table {
    let text = std::fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("cannot read {path}: {error}"));
    text.parse().unwrap_or_else(|error| panic!("{path} is no TOML: {error}"))
}

fn package_name(manifest: &Table) -> String {
    manifest["package"]["name"].as_str().expect("a package has a name").to_owned()
}

/// Every crate the manifest names, for whatever purpose and platform.
fn dependencies(manifest: &Table) -> Vec<String> {
    let kinds = ["dependencies", "build-dependencies", "dev-dependencies"];
    let platforms = manifest.get("target").and_then(|target| target.as_table());
    let tables =
        platforms.into_iter().flat_map(|targets| targets.values()).filter_map(|value| value.as_table());
    let tables: Vec<&Table> = std::iter::once(manifest).chain(tables).collect();
    tables.iter().flat_map(|table| kinds.iter().flat_map(|kind| table_keys(table, kind))).collect()
}

fn table_keys(manifest: &Table, table: &str) -> Vec<String> {
    let table = manifest.get(table).and_then(|value| value.as_table());
    table.map(|table| table.keys().cloned().collect()).unwrap_or_default()
}

#[test]
fn modules_are_found_in_every_form_of_import() {
    let code = "use crate::wire::Peer; use crate::{borders::{Clock, source}, config, self}; pub(crate) fn f() { crate::action::run() }";
    let modules: Vec<&str> = modules_of_the_crate(code).into_iter().map(|(_, module)| module).collect();
    assert_eq!(modules, ["wire", "borders", "config", "self", "action"]);
}
