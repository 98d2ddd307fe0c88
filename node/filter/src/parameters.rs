//! `name[key=value, key2="v,2"][key3='v']`: how filters and actions are named with parameters, and
//! how several of them stand in one option.

/// A filter's or action's name with its parameters, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// For example `sshd` or `iptables-multiport`.
    pub name: String,
    /// Keys and unquoted values.
    pub parameters: Vec<(String, String)>,
}

impl Named {
    /// The last value given for `key`.
    #[must_use]
    pub fn parameter(&self, key: &str) -> Option<&str> {
        self.parameters.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// Reads one name with parameters.
///
/// # Errors
/// A phrase that says what is expected where.
pub fn parse(text: &str) -> Result<Named, String> {
    let text = text.trim();
    let Some(open) = text.find('[') else {
        return if text.is_empty() {
            Err("a name is missing".to_owned())
        } else {
            Ok(Named { name: text.to_owned(), parameters: Vec::new() })
        };
    };
    let inside = text[open + 1..].strip_suffix(']');
    let (Some(inside), true) = (inside, open > 0) else {
        return Err(format!("`{text}` is not of the form name[key=value, key=\"value\"]"));
    };
    let mut parameters = Vec::new();
    let mut rest = inside;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() || rest == "," {
            return Ok(Named { name: text[..open].trim().to_owned(), parameters });
        }
        let (key, value, behind) =
            parameter(rest).ok_or_else(|| format!("`{}` in `{text}` is no key=value", first(rest)))?;
        parameters.push((key.to_owned(), value.trim().to_owned()));
        rest = behind;
        if rest.is_empty() {
            continue;
        }
        rest = separator(rest).ok_or_else(|| {
            format!("`{}` in `{text}` where a comma is expected behind `{key}`", first(rest))
        })?;
    }
}

/// `key=value` at the beginning of `text`: key, value, and what is behind.
fn parameter(text: &str) -> Option<(&str, &str, &str)> {
    let equals = text.find('=')?;
    let key = &text[..equals];
    if key.is_empty() || !key.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c)) {
        return None;
    }
    let value = &text[equals + 1..];
    for quote in ['"', '\''] {
        if let Some(quoted) = value.strip_prefix(quote)
            && let Some(end) = quoted.find(quote)
        {
            return Some((key, &quoted[..end], &quoted[end + 1..]));
        }
    }
    let end = value.find([',', ']']).unwrap_or(value.len());
    Some((key, &value[..end], &value[end..]))
}

/// A comma, or the `][` between two groups.
fn separator(text: &str) -> Option<&str> {
    text.strip_prefix(',').or_else(|| text.strip_prefix(']')?.trim_start().strip_prefix('['))
}

fn first(text: &str) -> &str {
    let end = text.char_indices().nth(25).map_or(text.len(), |(index, _)| index);
    &text[..end]
}

/// The parts of an option that holds several names with parameters, separated by blanks or new
/// lines that are not inside brackets.
#[must_use]
pub fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = with_brackets(rest)
            .filter(|&end| rest[end..].chars().next().is_none_or(char::is_whitespace))
            .unwrap_or_else(|| rest.find(char::is_whitespace).unwrap_or(rest.len()));
        parts.push(rest[..end].trim_end());
        rest = rest[end..].trim_start();
    }
    parts
}

/// The end of `name[…]` at the beginning of `text`, when its brackets are well formed.
fn with_brackets(text: &str) -> Option<usize> {
    let name = text.find(|c: char| c == '[' || c.is_whitespace())?;
    let mut rest = text[name..].trim_start().strip_prefix('[')?;
    loop {
        rest = rest.trim_start();
        if let Some(behind) = rest.strip_prefix(']') {
            match behind.trim_start().strip_prefix('[') {
                Some(next_group) => rest = next_group,
                None => return Some(text.len() - behind.len()),
            }
            continue;
        }
        let (_, _, behind) = parameter(rest)?;
        rest = behind.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest);
        if rest.is_empty() {
            return None;
        }
    }
}

/// Words separated by blanks, commas or new lines.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', ',', '\n']).map(str::trim).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, parameters: &[(&str, &str)]) -> Result<Named, String> {
        let own = |&(k, v): &(&str, &str)| (k.to_owned(), v.to_owned());
        Ok(Named { name: name.to_owned(), parameters: parameters.iter().map(own).collect() })
    }

    #[test]
    fn parameters_may_be_quoted_and_in_groups() {
        assert_eq!(parse("sshd"), named("sshd", &[]));
        assert_eq!(
            parse("a[name=SMTP, port=\"25,465\", x='y z'][k=v, e=]"),
            named("a", &[("name", "SMTP"), ("port", "25,465"), ("x", "y z"), ("k", "v"), ("e", "")])
        );
        assert_eq!(parse("a[x=1,]"), named("a", &[("x", "1")]));
        assert!(parse("a[x=\"1\" y=2]").is_err());
        assert!(parse("a[nonsense]").is_err());
        assert!(parse("a[x=1").is_err());
    }

    #[test]
    fn several_actions_are_split_outside_brackets_only() {
        assert_eq!(
            split("a[x=1, y=\"2 3\"]\n  b[\n z=1]\nc  d[x] "),
            ["a[x=1, y=\"2 3\"]", "b[\n z=1]", "c", "d[x]"]
        );
        assert_eq!(split("a[b c"), ["a[b", "c"]);
        assert!(split(" \n ").is_empty());
    }
}
