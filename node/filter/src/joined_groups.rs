//! `<F-ALT_USER_1>` and `<F-TUPLE_ID_1>`: groups whose value belongs to another name.
//!
//! An alternative fills the other group where that is empty; a part of a tuple is put behind what it has. Not for
//! what a group means (`connection`, `offender`).

use crate::group_name::Name;
use crate::groups::Groups;
use crate::regex_tags;

/// Those of one expression.
#[derive(Debug)]
pub(crate) struct JoinedGroups(Vec<Joined>);

#[derive(Debug)]
struct Joined {
    group: Name,
    into: Name,
    is_tuple: bool,
}

impl JoinedGroups {
    /// Those among the groups of an expression; `None` when there are too many names: see [`Name::of`].
    pub(crate) fn of(names: &[Name]) -> Option<JoinedGroups> {
        let mut all = Vec::new();
        for &group in names {
            if let Some((is_tuple, into)) = joined_into(group.as_str()) {
                all.push(Joined { group, into: Name::of(&into)?, is_tuple });
            }
        }
        all.sort_by_key(|joined| (joined.is_tuple, joined.group.as_str()));
        Some(JoinedGroups(all))
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives their values to the groups that they belong to.
    pub(crate) fn join(&self, groups: &mut Groups) {
        for joined in &self.0 {
            let Some(value) = groups.value(joined.group) else { continue };
            match groups.get(joined.into) {
                Some(before) if joined.is_tuple => {
                    let both = format!("{before} {value}");
                    groups.set(joined.into, Some(&both));
                }
                Some(before) if !before.is_empty() => {}
                _ => groups.set_as(joined.into, joined.group),
            }
        }
    }
}

/// The name that the value of this group belongs to, and whether it is put behind what that has already.
fn joined_into(group: &str) -> Option<(bool, String)> {
    let (is_tuple, rest) = match group.strip_prefix("alt_") {
        Some(rest) => (false, rest),
        None => (true, group.strip_prefix("tuple_")?),
    };
    let into = match rest.rsplit_once('_') {
        Some((name, digits)) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => rest,
    };
    Some((is_tuple, regex_tags::group_name(into)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_fill_and_tuples_are_put_behind() {
        let mut groups = Groups::default();
        for (name, value) in [
            ("user", Some("")),
            ("alt_user", Some("")),
            ("alt_user_1", Some("anna")),
            ("alt_user_2", Some("bob")),
            ("tuple_id_1", Some("a")),
            ("tuple_id_2", Some("b")),
            ("tuple_id_3", None),
        ] {
            groups.set(Name::of(name).expect("few names"), value);
        }
        let names: Vec<Name> = groups.entries().map(|(name, _)| name).collect();
        let joined = JoinedGroups::of(&names).expect("few names");
        assert!(!joined.is_empty() && JoinedGroups::of(&[Name::USER]).expect("few names").is_empty());
        joined.join(&mut groups);
        assert_eq!((groups.get(Name::USER), groups.get(Name::FID)), (Some("anna"), Some("a b")));
    }
}
