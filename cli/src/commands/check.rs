//! `check`: reads a fail2ban configuration as the daemon would, and says for each jail how it will run and
//! where each part of it is written. Asks no daemon and changes nothing.

use crate::args::CONFIG_DIR_DEFAULT;
use crate::failure::{Exit, Failure};
use crate::run::Shown;
use crate::table::{Cell, Column, Table};
use crate::text::{COLUMNS, Style, Tone, counted, length, shown, wrapped};
use bannkreis_core::jail::{COUNTED_BANS, Growth};
use bannkreis_core::judge::is_never_bannable;
use bannkreis_core::reach::Reach;
use bannkreis_core::settings::customer_prefix;
use bannkreis_core::subnet::Subnet;
use bannkreis_core::time::BanTime;
use bannkreis_filter::action_text::ActionText;
use bannkreis_filter::filter::UseDns;
use bannkreis_filter::ini::{Layer, Place};
use bannkreis_filter::jail_config::{LogPath, Logs, ReadJail, Setting};
use bannkreis_filter::reading::{self, Host, Reading};
use bannkreis_filter::this_host::log_glob::LogGlob;
use bannkreis_filter::this_host::{DirTree, is_journal_instead, log_remarks, service_port};
use bannkreis_filter::tree::ConfigTree;
use bannkreis_filter::unsupported::Remark;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// So many ban times of those who come back are shown.
const GROWTH_SHOWN: usize = 5;

/// Reads the directory, or /etc/fail2ban, and shows what comes of it.
///
/// # Errors
/// When the directory is not there, or a file of the jail configuration itself is malformed.
pub fn run(config_dir: Option<&Path>, style: &Style) -> Result<Shown, Failure> {
    if let Some(dir) = config_dir
        && !dir.is_dir()
    {
        let message = format!(
            "--config-dir: {} is no directory; name one with jail.conf or jail.local in it",
            dir.display()
        );
        return Err(Failure::new(Exit::Refused, message));
    }
    let dir = config_dir.unwrap_or(Path::new(CONFIG_DIR_DEFAULT));
    let shown_dir = dir.display().to_string();
    let mut reading = read(&DirTree::new(dir), &shown_dir, style)?;
    for jail in &mut reading.jails {
        jail.remarks.extend(log_remarks(jail));
    }
    Ok(show(&reading, &shown_dir, &|pattern| LogGlob::new(pattern).look().files.len(), style))
}

/// Reads `tree`, which is the directory `config_dir`, and shows what comes of it. `n_files` says how many
/// files a `logpath` names.
///
/// # Errors
/// When a file of the jail configuration itself is malformed.
pub fn check(
    tree: &dyn ConfigTree,
    config_dir: &str,
    n_files: &dyn Fn(&str) -> usize,
    style: &Style,
) -> Result<Shown, Failure> {
    Ok(show(&read(tree, config_dir, style)?, config_dir, n_files, style))
}

fn read(tree: &dyn ConfigTree, config_dir: &str, style: &Style) -> Result<Reading, Failure> {
    let host = Host {
        zone: style.zone.clone(),
        services: &service_port,
        is_journal_instead: &is_journal_instead,
        config_dir: config_dir.to_owned(),
    };
    reading::read(tree, &host).map_err(|error| Failure::new(Exit::Refused, error.to_string()))
}

fn show(reading: &Reading, config_dir: &str, n_files: &dyn Fn(&str) -> usize, style: &Style) -> Shown {
    let exit = if reading.errors.is_empty() { Exit::Done } else { Exit::Refused };
    let text = to_text(reading, config_dir, n_files, style);
    let json = to_json(reading, config_dir, n_files, exit);
    Shown { exit, text, json }
}

fn to_text(reading: &Reading, config_dir: &str, n_files: &dyn Fn(&str) -> usize, style: &Style) -> String {
    let mut text = String::new();
    let n_jails = counted(reading.jails.len() as u64, "jail runs", "jails run");
    let n_errors = match reading.errors.len() {
        0 => String::new(),
        n => format!(", {}", counted(n as u64, "does not", "do not")),
    };
    let n_disabled = reading.disabled.len();
    text.push_str(&format!("{}: {n_jails}{n_errors}, {n_disabled} not enabled\n", shown(config_dir)));
    let files: Vec<String> = reading.files.iter().map(|file| short(file, config_dir)).collect();
    for line in wrapped(&shown(&format!("read, each above those before it: {}", files.join(", "))), COLUMNS) {
        text.push_str(&format!("{line}\n"));
    }
    if n_disabled > 0 {
        for line in wrapped(&shown(&format!("not enabled: {}", reading.disabled.join(", "))), COLUMNS) {
            text.push_str(&format!("{line}\n"));
        }
    }
    for jail in &reading.jails {
        text.push('\n');
        text.push_str(&jail_text(jail, config_dir, n_files, style));
    }
    let ignored_here = ignored_here(reading);
    if !ignored_here.is_empty() {
        let told = "ignoreip protects on this host alone: other hosts may ban and block what it names. So that none does:";
        text.push('\n');
        style.push_line(&mut text, Tone::Plain, 0, told);
        // Never broken: it is there to be cut and pasted.
        text.push_str(&format!("  {}\n", allow_command(&ignored_here)));
    }
    let warnings = reading.warnings();
    if !warnings.is_empty() {
        text.push_str(&format!("\n{}\n", style.paint(Tone::Bold, "Warnings")));
    }
    for warning in warnings {
        style.push_line(&mut text, Tone::Warn, 2, &shown(&warning.to_string()));
    }
    if !reading.errors.is_empty() {
        text.push_str(&format!("\n{}\n", style.paint(Tone::Bold, "Errors")));
    }
    for error in &reading.errors {
        style.push_line(&mut text, Tone::Bad, 2, &shown(&error.to_string()));
    }
    text
}

/// What the jails ignore and could ban, each once.
fn ignored_here(reading: &Reading) -> BTreeSet<Subnet> {
    let ignored = reading.jails.iter().flat_map(|read| read.jail.ignore.iter().copied());
    ignored.filter(|subnet| !is_never_bannable(*subnet)).collect()
}

/// What to type so that no host bans from there.
fn allow_command(subnets: &BTreeSet<Subnet>) -> String {
    let is_network = |subnet: &Subnet| subnet.prefix_len() < customer_prefix(*subnet);
    let force = if subnets.iter().any(is_network) { " --force" } else { "" };
    let subnets: Vec<String> = subnets.iter().map(ToString::to_string).collect();
    format!("bannkreis allow add {} --note ignoreip{force}", subnets.join(" "))
}

fn jail_text(read: &ReadJail, config_dir: &str, n_files: &dyn Fn(&str) -> usize, style: &Style) -> String {
    let jail = &read.jail;
    let mut text = format!("{}\n", style.paint(Tone::Bold, &format!("[{}]", jail.name)));
    let mut line = |name: &str, tone: Tone, value: &str| {
        for (n, part) in wrapped(&shown(value), COLUMNS - 13).iter().enumerate() {
            let name = if n == 0 { name } else { "" };
            text.push_str(&format!("  {name:<9}  {}\n", style.paint(tone, part)));
        }
    };
    for (name, n_found) in sources(read, n_files) {
        match n_found {
            None => line("reads", Tone::Plain, &name),
            Some(0) => line("reads", Tone::Warn, &format!("{name}: no such log on this host")),
            Some(n) => {
                line("reads", Tone::Plain, &format!("{name} ({})", counted(n as u64, "file", "files")));
            }
        }
    }
    let filter_files: Vec<String> = read.filter_files.iter().map(|file| short(file, config_dir)).collect();
    line("filter", Tone::Plain, &format!("{}: {}", read.filter_name, filter_files.join(", ")));
    let times = match jail.max_retry {
        0 | 1 => "the first failure".to_owned(),
        n => format!("{n} failures within {}", length(jail.find_time_ms)),
    };
    let ban_time = match jail.policy.ban_time {
        BanTime::Forever => "for ever".to_owned(),
        BanTime::Ms(ms) => format!("for {}", length(ms)),
    };
    line("bans", Tone::Plain, &format!("{ban_time} after {times}"));
    if let Some(growth) = &jail.policy.growth {
        line("again", Tone::Plain, &growth_text(growth));
    }
    line("closes", Tone::Plain, &jail.ports.to_string().replace(',', ", "));
    let actions: Vec<&str> = read.actions.iter().map(|action| action.name.as_str()).collect();
    if !actions.is_empty() {
        line("actions", Tone::Plain, &actions.join(", "));
    }
    let ignored = jail.ignore.iter().map(ToString::to_string).chain(read.ignore_names.iter().cloned());
    let ignored: Vec<String> = ignored.collect();
    if !ignored.is_empty() {
        line("ignores", Tone::Plain, &ignored.join(" "));
    }
    if let Some(command) = &read.ignore_command {
        let remembered = if command.cache.is_some() { ", and its answers are remembered" } else { "" };
        line("asks", Tone::Plain, &format!("for each failure: {}{remembered}", command.script));
    }
    if matches!(read.use_dns, UseDns::Yes | UseDns::Warn) && names_may_come(&read.settings) {
        line("looks up", Tone::Plain, "names that the log has in the place of addresses");
    }
    if !jail.is_counted_with_peers() {
        line("counts", Tone::Plain, "on this host alone");
    }
    if let Some(reach) = jail.reach {
        let elsewhere = match reach {
            Reach::Guarded => "what it closes here, and what other hosts' own jails guard there",
            Reach::Ports => "what it closes here, on other hosts as well",
            Reach::Host => "everything on other hosts",
        };
        line("reaches", Tone::Plain, elsewhere);
    }
    text.push_str(&settings_text(&read.settings, config_dir, style));
    text
}

/// The ban times of those who come back.
fn growth_text(growth: &Growth) -> String {
    let of = |&ms: &u64| length(growth.max_ms.map_or(ms, |most| ms.min(most)));
    let mut text = growth.table_ms.iter().skip(1).take(GROWTH_SHOWN).map(of).collect::<Vec<_>>().join(", ");
    if growth.table_ms.len() > GROWTH_SHOWN + 1 {
        text.push_str(", …");
    }
    if let Some(most) = growth.max_ms {
        text.push_str(&format!(", at most {}", length(most)));
    }
    if growth.rnd_ms > 0 {
        text.push_str(&format!(", and up to {} by chance", length(growth.rnd_ms)));
    }
    if growth.overall_jails {
        text.push_str("; bans of all jails count");
    }
    text
}

/// Whether an expression can find a name.
fn names_may_come(settings: &[Setting]) -> bool {
    let may = |value: &str| ["<HOST>", "<DNS>", "<F-DNS"].iter().any(|tag| value.contains(tag));
    settings
        .iter()
        .any(|setting| ["failregex", "prefregex"].contains(&&*setting.option) && may(&setting.value))
}

/// What the user's own files say, and the names of what our base says; its values are in the JSON.
fn settings_text(settings: &[Setting], config_dir: &str, style: &Style) -> String {
    let mut table =
        Table::new(&[Column::Fixed("  OPTION"), Column::Wraps("VALUE"), Column::Wraps("WRITTEN IN")]);
    let mut built_in: Vec<&str> = Vec::new();
    for setting in settings {
        let is_built_in = |place: &&Place| Layer::of_file(&place.file) == Layer::BuiltIn;
        if setting.places.iter().all(|place| is_built_in(&place)) {
            built_in.push(&setting.option);
            continue;
        }
        let users = setting.places.iter().filter(|place| !is_built_in(place));
        let places: Vec<String> = users.map(|place| shown(&short(&place.to_string(), config_dir))).collect();
        let lines = setting.value.lines().map(str::trim).filter(|line| !line.is_empty());
        let value: Vec<String> = lines.map(shown).collect();
        table.row(vec![
            Cell::from(format!("  {}", shown(&setting.option))),
            value.join("\n").into(),
            places.join("\n").into(),
        ]);
    }
    let mut text = if table.is_empty() { String::new() } else { table.render(style) };
    if !built_in.is_empty() {
        for line in wrapped(&shown(&format!("built in: {}", built_in.join(", "))), COLUMNS - 2) {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text
}

/// A file's name without the directory that stands in the first line.
fn short(file: &str, config_dir: &str) -> String {
    let inside = file.strip_prefix(config_dir).map(|rest| rest.trim_start_matches('/'));
    inside.unwrap_or(file).to_owned()
}

/// What a jail reads, and how many files that is now, when it is files.
fn sources(read: &ReadJail, n_files: &dyn Fn(&str) -> usize) -> Vec<(String, Option<usize>)> {
    let logs = match &read.logs {
        Logs::Files(paths) => {
            let n_found = |path: &LogPath| (!path.is_syslog()).then(|| n_files(&path.glob));
            paths.iter().map(|path| (path.glob.clone(), n_found(path))).collect()
        }
        Logs::Journal(journal, matches) => {
            vec![(format!("{journal} {matches}").trim_end().to_owned(), None)]
        }
    };
    if !read.jail.counts_bans {
        return logs;
    }
    // A log of fail2ban that is not there is none that is missed, and a journal is not asked for bans.
    let bans = (COUNTED_BANS.to_owned(), None);
    let is_read = |(_, n_found): &(String, Option<usize>)| n_found.is_some_and(|n_found| n_found > 0);
    std::iter::once(bans).chain(logs.into_iter().filter(is_read)).collect()
}

fn to_json(reading: &Reading, config_dir: &str, n_files: &dyn Fn(&str) -> usize, exit: Exit) -> Value {
    let errors = reading.errors.iter().map(|error| {
        json!({ "jail": error.jail, "place": error.place.as_ref().map(place_json), "problem": error.problem })
    });
    let ignored_here = ignored_here(reading);
    json!({
        "exit_code": exit.code(),
        "config_dir": config_dir,
        "files": reading.files,
        "layers": reading.files.iter().map(|file| Layer::of_file(file).as_str()).collect::<Vec<_>>(),
        "jails": reading.jails.iter().map(|jail| jail_json(jail, n_files)).collect::<Value>(),
        "disabled": reading.disabled,
        "allow_command": (!ignored_here.is_empty()).then(|| allow_command(&ignored_here)),
        "warnings": reading.warnings().into_iter().map(remark_json).collect::<Value>(),
        "errors": errors.collect::<Value>(),
    })
}

fn jail_json(read: &ReadJail, n_files: &dyn Fn(&str) -> usize) -> Value {
    let jail = &read.jail;
    let ban_time_ms = match jail.policy.ban_time {
        BanTime::Forever => None,
        BanTime::Ms(ms) => Some(ms),
    };
    let setting = |setting: &Setting| {
        json!({
            "option": setting.option,
            "value": setting.value,
            "places": setting.places.iter().map(place_json).collect::<Value>(),
        })
    };
    let sources = sources(read, n_files);
    let sources = sources.iter().map(|(name, n)| json!({ "name": name, "n_files": n }));
    json!({
        "name": jail.name.as_str(),
        "sources": sources.collect::<Value>(),
        "filter": read.filter_name,
        "filter_files": read.filter_files,
        "max_retry": jail.max_retry,
        "find_time_ms": jail.find_time_ms,
        "ban_time_ms": ban_time_ms,
        "ban_time_grows": jail.policy.growth.is_some(),
        "ban_times_ms": jail.policy.growth.as_ref().map(|growth| &growth.table_ms),
        "ban_time_max_ms": jail.policy.growth.as_ref().and_then(|growth| growth.max_ms),
        "ports": jail.ports.to_string(),
        "ignores": jail.ignore.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "ignore_names": read.ignore_names,
        "ignore_command": read.ignore_command.as_ref().map(|command| &command.script),
        "ignore_self": read.ignore_self,
        "use_dns": use_dns_word(read.use_dns),
        "actions": read.actions.iter().map(action_json).collect::<Value>(),
        "is_counted_with_peers": jail.is_counted_with_peers(),
        "reach": jail.reach.map(Reach::as_str),
        "settings": read.settings.iter().map(setting).collect::<Value>(),
    })
}

fn action_json(action: &ActionText) -> Value {
    let parameters = action.named.parameters.iter().map(|(key, value)| (key.clone(), json!(value)));
    json!({
        "name": action.name,
        "action": action.named.name,
        "parameters": parameters.collect::<serde_json::Map<String, Value>>(),
        "files": action.files,
    })
}

fn use_dns_word(use_dns: UseDns) -> &'static str {
    match use_dns {
        UseDns::Yes => "yes",
        UseDns::Warn => "warn",
        UseDns::No => "no",
        UseDns::Raw => "raw",
    }
}

fn place_json(place: &Place) -> Value {
    json!({ "file": &*place.file, "line": place.line, "layer": Layer::of_file(&place.file).as_str() })
}

fn remark_json(remark: &Remark) -> Value {
    json!({ "place": remark.place.as_ref().map(place_json), "sentence": remark.sentence })
}
