//! What a jail's actions say: each name in its option `action`, with its parameters and, where action.d has
//! a file for it, everything that file makes of them.
//!
//! Not for what an action closes (`action`), and nothing here runs anything.

use crate::definition::{ACTION_OPTIONS, Definition, DefinitionError, Kind};
use crate::interpolate::Vars;
use crate::jail_text::JailText;
use crate::parameters::{self, Named};
use crate::tree::ConfigTree;
use crate::unsupported::Remark;

/// One action of a jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionText {
    /// The file's name without .conf, and the parameters as the jail gives them.
    pub named: Named,
    /// What it is called in its jail: the parameter `actname`, or made of the file's name.
    pub name: String,
    /// `actionban` and the like, with all tags replaced that are known before a ban; and every parameter.
    pub options: Vars,
    /// The parameters, those from `[Init]` included, as they are written.
    pub parameters: Vars,
    /// The files that it was read from; none when action.d has none for it.
    pub files: Vec<String>,
    /// What looks like a mistake in how these include others.
    pub remarks: Vec<Remark>,
}

impl ActionText {
    /// A parameter: the jail's own, or else what the action's file has for it.
    #[must_use]
    pub fn parameter(&self, key: &str) -> Option<&str> {
        let own = self.named.parameter(key);
        own.or_else(|| self.options.get(key).map(|value| value.text.as_str()))
    }
}

/// Reads the actions of `jail`. Beside each of them stands what is wrong with its file, if anything is: our
/// own firewall needs none of those files.
///
/// # Errors
/// A sentence about an action that is no `name[key=value]`.
pub(crate) fn read(
    tree: &dyn ConfigTree,
    jail: &JailText,
) -> Result<Vec<(ActionText, Option<DefinitionError>)>, String> {
    let text = jail.text("action").unwrap_or_default();
    let named = parameters::split(text).into_iter().map(|part| {
        let named = parameters::parse(part).map_err(|why| format!("action: {why}"))?;
        Ok(one(tree, jail, named))
    });
    named.collect()
}

fn one(tree: &dyn ConfigTree, jail: &JailText, named: Named) -> (ActionText, Option<DefinitionError>) {
    let found = Definition::read(tree, Kind::Action { jail: &jail.name }, &named)
        .and_then(|definition| Ok((definition.combined(&jail.options, true)?, definition)));
    match found {
        Ok((options, definition)) => {
            let name = definition.parameters().get("actname").map(|value| value.text.clone());
            let text = ActionText {
                name: name.unwrap_or_else(|| named.name.clone()),
                options: options.into_iter().filter(|(option, _)| !option.starts_with("known/")).collect(),
                parameters: definition.parameters().clone(),
                files: definition.files().map(str::to_owned).collect(),
                remarks: definition.remarks().cloned().collect(),
                named,
            };
            (text, None)
        }
        Err(error) => {
            let name = named.parameter("actname").unwrap_or(&named.name).to_owned();
            let (options, parameters) = (Vars::new(), Vars::new());
            let (files, remarks) = (Vec::new(), Vec::new());
            (ActionText { named, name, options, parameters, files, remarks }, Some(error))
        }
    }
}

/// Whether an option of an action is a command or a switch of it, and no parameter.
#[must_use]
pub fn is_command(option: &str) -> bool {
    ACTION_OPTIONS.contains(&option)
}
