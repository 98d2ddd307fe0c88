//! `<name>` in the options of a filter: replaced again and again until nothing changes.
//!
//! So `<mdre-<mode>>` works: the innermost is replaced first, then what it became. A name that
//! nobody knows stays as it is, because `<HOST>` and `<F-USER>` are for the regular expressions
//! (`regex_tags`).

use std::collections::BTreeMap;

/// How often one tag may be replaced in one value before it counts as endless, as in fail2ban.
pub const REPLACEMENTS_MAX: usize = 25;
/// A value longer than this is refused; tags that double each other reach it in no time.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// Replaces the tags in all `values` by each other, or by what `elsewhere` knows. Options whose
/// name is in `conditional` (they have variants such as `name?family=inet6`) are left alone.
///
/// # Errors
/// A sentence, when a tag contains itself.
pub fn substitute(
    values: &mut BTreeMap<String, String>,
    conditional: &[String],
    elsewhere: &mut dyn FnMut(&str) -> Result<Option<String>, String>,
) -> Result<(), String> {
    let mut counts: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    let names: Vec<String> = values.keys().cloned().collect();
    loop {
        let mut again = false;
        for name in &names {
            if conditional.contains(name) {
                continue;
            }
            let Some(original) = values.get(name).filter(|value| value.contains('<')).cloned() else {
                continue;
            };
            let count = counts.entry(name.clone()).or_default();
            let value = substitute_in(name, &original, values, conditional, count, elsewhere)?;
            if value != original {
                again |= find_tag(&value, 0).is_some();
                values.insert(name.clone(), value);
            }
        }
        if !again {
            return Ok(());
        }
    }
}

fn substitute_in(
    name: &str,
    original: &str,
    values: &BTreeMap<String, String>,
    conditional: &[String],
    count: &mut BTreeMap<String, usize>,
    elsewhere: &mut dyn FnMut(&str) -> Result<Option<String>, String>,
) -> Result<String, String> {
    let mut value = original.to_owned();
    let mut from = 0;
    while let Some((start, end)) = find_tag(&value, from) {
        let tag = value[start + 1..end - 1].to_owned();
        if conditional.contains(&tag) {
            from = end;
            continue;
        }
        let known = match values.get(&tag) {
            Some(known) => Some(known.clone()),
            None if tag == name => None,
            None => elsewhere(&tag)?,
        };
        let used = count.entry(tag.clone()).or_insert(0);
        if tag == name || *used > REPLACEMENTS_MAX {
            return Err(format!("option `{name}` contains <{tag}>, which leads back to itself"));
        }
        let Some(known) = known else {
            from = end;
            continue;
        };
        *used += 1;
        value = value.replace(&format!("<{tag}>"), &known);
        if value.len() > VALUE_BYTES_MAX {
            return Err(format!(
                "option `{name}` grows beyond {VALUE_BYTES_MAX} bytes when <{tag}> is replaced"
            ));
        }
        from = start;
    }
    Ok(value)
}

/// The first `<name>` at or behind `from`: its beginning and its end. A name has no blank and no
/// angle bracket in it, so of nested ones the innermost is found.
fn find_tag(value: &str, from: usize) -> Option<(usize, usize)> {
    let mut open = None;
    for (index, byte) in value.bytes().enumerate().skip(from) {
        match byte {
            b'<' => open = Some(index),
            b' ' => open = None,
            b'>' => {
                if let Some(start) = open.filter(|&start| index > start + 1) {
                    return Some((start, index + 1));
                }
                open = None;
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn substituted(pairs: &[(&str, &str)], name: &str) -> Result<String, String> {
        let mut values = pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        substitute(&mut values, &[], &mut |tag| Ok((tag == "sec/opt").then(|| "far".to_owned())))?;
        Ok(values[name].clone())
    }

    #[test]
    fn tags_are_replaced_from_the_inside_out() {
        let pairs = [("mode", "n"), ("re-n", "x<HOST>"), ("a", "^<re-<mode>> <sec/opt> <F-USER>.</F-USER>$")];
        assert_eq!(substituted(&pairs, "a"), Ok("^x<HOST> far <F-USER>.</F-USER>$".to_owned()));
    }

    #[test]
    fn a_tag_that_contains_itself_is_an_error() {
        assert!(substituted(&[("a", "x<a>")], "a").is_err());
        assert!(substituted(&[("a", "<b>"), ("b", "<a>")], "a").is_err());
    }

    #[test]
    fn less_than_and_blanks_are_no_tags() {
        let pairs = [("b", "B"), ("a", "1 < b > <> <b >")];
        assert_eq!(substituted(&pairs, "a"), Ok("1 < b > <> <b >".to_owned()));
    }
}
