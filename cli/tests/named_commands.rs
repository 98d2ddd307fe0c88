//! Every `bannkreis …` that a document shows or a sentence of the programs names can be typed: this tool's own parser takes
//! it, with something put in for names in capitals and for what the programs fill in.
//!
//! Not for what a command does.

use bannkreis_cli::args::Cli;
use clap::CommandFactory;
use clap::error::ErrorKind;
use std::fs;
use std::path::{Path, PathBuf};

/// The tool's name, as a word that others follow.
const NAME: &str = "bannkreis ";
/// What a name in capitals or `{}` may stand for; one of them must do.
const STAND_INS: [&str; 7] =
    ["203.0.113.7", "kerio", "mx1.example:7420", "1h", "0123456789abcdef", "status", "viewer"];
/// No command is longer, in bytes.
const COMMAND_MAX: usize = 200;
/// Brackets and alternatives of one command at most.
const VARIANTS_MAX: usize = 64;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files under `path` with one of these endings, or `path` itself.
fn files(path: &str, endings: &[&str]) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![root().join(path)]);
    while let Some(path) = open.pop() {
        if path.is_dir() {
            // Tests quote parts of sentences.
            if path.ends_with("tests") {
                continue;
            }
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if endings.iter().any(|ending| path.extension().is_some_and(|found| found == *ending)) {
            found.push(path);
        }
    }
    found
}

/// Commands that stand on lines of their own in a Markdown document: indented, perhaps behind a prompt.
fn of_blocks(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in joined.lines().filter(|line| line.starts_with("    ")) {
        let line = line.trim();
        let typed = match line.split_once("# ") {
            Some((host, typed)) if !host.contains(' ') => typed,
            _ => line,
        };
        if let Some(arguments) = typed.strip_prefix(NAME) {
            // Several may stand beside each other.
            let parts = arguments.split("  bannkreis ");
            found.extend(parts.map(|part| format!("{NAME}{}", without_remark(part))));
        }
    }
    found
}

/// What stands before ` # …`.
fn without_remark(command: &str) -> &str {
    command.split("  #").next().unwrap_or_default().trim()
}

/// Commands between backquotes, however their lines are broken.
fn of_sentences(text: &str) -> Vec<String> {
    let lines = text.split('\n').map(|line| {
        let line = line.trim();
        let line =
            ["//! ", "/// ", "// ", "# "].iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line);
        line.strip_suffix('\\').unwrap_or(line).trim()
    });
    let unbroken = lines.collect::<Vec<_>>().join(" ");
    let spans = unbroken.match_indices(NAME).filter(|(at, _)| unbroken[..*at].ends_with('`')).filter_map(
        |(at, _)| {
            let command = unbroken.get(at..)?.split('`').next()?;
            (command.len() < COMMAND_MAX).then(|| command.to_owned())
        },
    );
    spans.collect()
}

/// The words of a command as a shell takes them apart, as far as quotes go.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    for c in command.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// `[A]` is there or not, and of `a|b` one is.
fn variants(command: &str) -> Vec<String> {
    let (mut done, mut open) = (Vec::new(), vec![command.replace('…', "")]);
    while let Some(command) = open.pop() {
        assert!(open.len() + done.len() < VARIANTS_MAX, "{command}");
        let optional =
            command.find(" [").and_then(|begin| Some((begin, begin + command[begin..].find(']')?)));
        if let Some((begin, end)) = optional {
            let (before, inside, after) = (&command[..begin], &command[begin + 2..end], &command[end + 1..]);
            open.extend([format!("{before}{after}"), format!("{before} {inside}{after}")]);
        } else if let Some(choice) =
            command.split(' ').find(|word| word.contains('|') && !word.contains('\''))
        {
            open.extend(choice.split('|').map(|chosen| command.replacen(choice, chosen, 1)));
        } else {
            done.push(command);
        }
    }
    done
}

/// Whether a word stands for another one.
fn is_placeholder(word: &str) -> bool {
    let is_name = word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase() || ":=-_".contains(c));
    is_name && !word.starts_with('-') || word.starts_with('{') && word.ends_with('}')
}

/// What the parser says of a command; `is_whole`: nothing may be missing.
fn check(command: &str, is_whole: bool) -> Result<(), String> {
    let words = words(command);
    let mut said = String::new();
    for stand_in in STAND_INS {
        let filled = words.iter().map(|word| match word.as_str() {
            "HOST:PORT" => "mx1.example:7420",
            "KEY=VALUE" => "reach=ports",
            word if is_placeholder(word) => stand_in,
            word => word,
        });
        let error = match Cli::command().try_get_matches_from(filled) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let is_cut_short = matches!(
            error.kind(),
            ErrorKind::MissingRequiredArgument
                | ErrorKind::MissingSubcommand
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        );
        let is_asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        if is_asked_for || is_cut_short && !is_whole {
            return Ok(());
        }
        said = error.to_string();
    }
    Err(format!("`{command}`: {}", said.lines().next().unwrap_or_default()))
}

fn check_all(commands: &[(PathBuf, String)], is_whole: bool) {
    let wrong: Vec<String> = commands
        .iter()
        .flat_map(|(path, command)| variants(command).into_iter().map(move |variant| (path, variant)))
        .filter_map(|(path, command)| {
            Some(format!("{}: {}", path.display(), check(&command, is_whole).err()?))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn found_in(files: Vec<PathBuf>, find: impl Fn(&str) -> Vec<String>) -> Vec<(PathBuf, String)> {
    let read = files.into_iter().map(|path| (fs::read_to_string(&path).unwrap(), path));
    read.flat_map(|(text, path)| find(&text).into_iter().map(move |command| (path.clone(), command)))
        .collect()
}

fn documents() -> Vec<PathBuf> {
    ["README.md", "SECURITY.md", "CHANGELOG.md", "docs", "deploy"]
        .iter()
        .flat_map(|path| files(path, &["md", "toml", "conf"]))
        .collect()
}

#[test]
fn every_command_line_of_the_documents_can_be_typed() {
    let commands = found_in(documents(), of_blocks);
    assert!(commands.len() > 40, "only {} commands are found", commands.len());
    check_all(&commands, true);
}

#[test]
fn every_command_that_a_sentence_names_is_one() {
    let sources =
        ["node/src", "node/raft/src", "node/core/src", "node/filter/src", "node/firewall/src", "cli/src"];
    let sources = sources.iter().flat_map(|path| files(path, &["rs"]));
    let commands = found_in(documents().into_iter().chain(sources).collect(), of_sentences);
    assert!(commands.len() > 100, "only {} commands are found", commands.len());
    check_all(&commands, false);
}

#[test]
fn a_command_that_does_not_exist_is_found_out() {
    for command in
        ["bannkreis cluster expel NODE", "bannkreis ban 203.0.113.7 --quickly", "bannkreis bans kerio"]
    {
        assert!(check(command, false).is_err(), "{command}");
    }
    assert!(
        check("bannkreis cluster remove", true).is_err() && check("bannkreis cluster remove", false).is_ok()
    );
    let shown = "    kopano# bannkreis cluster join HOST:PORT \\\n        --token TOKEN   # a remark\n";
    assert_eq!(of_blocks(shown), ["bannkreis cluster join HOST:PORT          --token TOKEN"]);
    assert_eq!(
        of_sentences("    \"ask: `bannkreis cluster \\\n     status` says\""),
        ["bannkreis cluster status"]
    );
    assert_eq!(variants("bannkreis status [JAIL]").len(), 2);
}
