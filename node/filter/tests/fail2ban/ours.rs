//! Our reading of a configuration directory in the form in which `jails.py` answers.

use bannkreis_filter::action_text::{self, ActionText};
use bannkreis_filter::definition::FILTER_OPTIONS;
use bannkreis_filter::jail_text::{JailText, OPTIONS};
use bannkreis_filter::parameters;
use bannkreis_filter::reading;
use bannkreis_filter::this_host::DirTree;
use serde_json::{Map, Value, json};
use std::path::Path;

const NUMBERS: [&str; 3] = ["maxretry", "maxmatches", "maxlines"];
const SWITCHES: [&str; 6] = [
    "bantime.increment",
    "bantime.overalljails",
    "ignoreself",
    "actionstart_on_demand",
    "actionrepair_on_unban",
    "norestored",
];
/// What fail2ban does not tell its server, or does not know.
const UNTOLD: [&str; 7] =
    ["enabled", "filter", "action", "port", "protocol", "skip_if_nologs", "systemd_if_nologs"];

/// Reads the directory alone, without our own base below it.
pub(crate) fn read(dir: &Path) -> Value {
    let texts = match reading::texts(&DirTree::new(dir), &dir.display().to_string(), &|_| false) {
        Err(error) => return json!({ "error": error.to_string(), "jails": {} }),
        Ok(texts) => texts,
    };
    let mut jails = Map::new();
    for jail in texts.jails {
        match jail {
            Ok(jail) => jails.insert(jail.name.clone(), jail_json(&jail)),
            Err(error) => jails.insert(error.jail.clone(), json!({ "error": error.to_string() })),
        };
    }
    json!({ "error": null, "jails": jails })
}

fn jail_json(jail: &JailText) -> Value {
    let mut options = Map::new();
    for option in OPTIONS.iter().filter(|option| !UNTOLD.contains(option)) {
        let of_filter = jail.filter_options.get(*option).filter(|_| FILTER_OPTIONS.contains(option));
        let value = jail.options.get(*option).or(of_filter);
        let text = value.map(|value| value.text.as_str());
        let lines = || text.unwrap_or_default().split('\n').filter(|line| !line.is_empty());
        let value = match *option {
            "failregex" | "ignoreregex" => json!(lines().collect::<Vec<_>>()),
            "ignoreip" => json!(parameters::words(text.unwrap_or_default()).collect::<Vec<_>>()),
            "journalmatch" => {
                let words = |line: &str| -> Vec<String> {
                    line.split_whitespace().map(|word| word.replace(['"', '\''], "")).collect()
                };
                json!(lines().map(words).collect::<Vec<_>>())
            }
            "backend" => json!(text.unwrap_or("auto")),
            "logpath" => text.map_or(Value::Null, |text| json!(text)),
            option => match text {
                None => continue,
                Some(text) => typed(option, text),
            },
        };
        options.insert((*option).to_owned(), value);
    }
    let named = jail.actions.iter().map(|action| {
        let parameters: Map<String, Value> =
            action.named.parameters.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        json!([action.named.name, parameters])
    });
    let named: Vec<Value> = named.collect();
    let actions: Vec<Value> = jail.actions.iter().map(action_json).collect();
    json!({ "error": null, "options": options, "named": named, "actions": actions })
}

fn action_json(action: &ActionText) -> Value {
    let mut options = Map::new();
    for (option, value) in &action.options {
        if action_text::is_command(option) {
            options.insert(option.clone(), typed(option, &value.text));
        }
    }
    for (option, value) in &action.parameters {
        if !action_text::is_command(option) && !option.starts_with("known/") {
            options.insert(option.clone(), json!(value.text));
        }
    }
    json!([action.name, options])
}

/// As fail2ban converts it.
fn typed(option: &str, text: &str) -> Value {
    if NUMBERS.contains(&option) {
        return text.trim().parse::<i64>().map_or(Value::Null, |number| json!(number));
    }
    if SWITCHES.contains(&option) {
        return json!(["1", "on", "true", "yes"].contains(&text.to_lowercase().as_str()));
    }
    json!(text)
}
