//! Where configuration text comes from: a small tree of files, ours below the user's.
//!
//! Nothing here opens a file. The node implements [`ConfigTree`] over a directory such as
//! /etc/fail2ban; tests and the compiled-in base use [`MemoryTree`].

use crate::base::{self, Distribution};
use std::collections::{BTreeMap, BTreeSet};

/// A directory tree with configuration files in it. Paths are relative to its root, with `/`
/// between the parts and without `.` or `..`: `jail.conf`, `filter.d/sshd.conf`. A path that
/// begins with `/` is one that an `[INCLUDES]` section names absolutely.
pub trait ConfigTree {
    /// The text of a file, or `None` when there is no such file.
    ///
    /// # Errors
    /// When the file is there and can not be read: a phrase that says why (`permission denied`).
    fn read(&self, path: &str) -> Result<Option<String>, String>;

    /// The names of the files in a directory, in any order; none when there is no such directory.
    fn list(&self, directory: &str) -> Vec<String>;

    /// How a person is told of this file, for example `/etc/fail2ban/jail.local`.
    fn shown(&self, path: &str) -> String;

    /// The distribution whose base lies below this tree, when one does.
    fn base(&self) -> Option<Distribution> {
        None
    }
}

/// A tree that is held in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryTree {
    root: String,
    files: BTreeMap<String, String>,
}

impl MemoryTree {
    /// An empty tree whose files are shown to people as `root` followed by their path.
    #[must_use]
    pub fn new(root: &str) -> MemoryTree {
        MemoryTree { root: root.to_owned(), files: BTreeMap::new() }
    }

    /// This tree with one more file, or with another text for it.
    #[must_use]
    pub fn with(mut self, path: &str, text: &str) -> MemoryTree {
        self.files.insert(path.to_owned(), text.to_owned());
        self
    }
}

impl ConfigTree for MemoryTree {
    fn read(&self, path: &str) -> Result<Option<String>, String> {
        Ok(self.files.get(path).cloned())
    }

    fn list(&self, directory: &str) -> Vec<String> {
        let prefix = format!("{directory}/");
        self.files
            .keys()
            .filter_map(|path| path.strip_prefix(&prefix))
            .filter(|name| !name.contains('/'))
            .map(str::to_owned)
            .collect()
    }

    fn shown(&self, path: &str) -> String {
        format!("{}{path}", self.root)
    }
}

/// The user's tree on top of our own: a file that the user has is never taken from ours.
pub struct Layered<'a> {
    user: &'a dyn ConfigTree,
    distribution: Distribution,
    base: MemoryTree,
}

impl<'a> Layered<'a> {
    /// `user` on top of what is compiled in.
    #[must_use]
    pub fn on_our_base(user: &'a dyn ConfigTree) -> Layered<'a> {
        let distribution = Distribution::of_host(user);
        Layered { user, distribution, base: base::tree(distribution) }
    }

    fn user_has(&self, path: &str) -> bool {
        !matches!(self.user.read(path), Ok(None))
    }
}

impl ConfigTree for Layered<'_> {
    fn read(&self, path: &str) -> Result<Option<String>, String> {
        match self.user.read(path)? {
            Some(text) => Ok(Some(text)),
            None => self.base.read(path),
        }
    }

    fn list(&self, directory: &str) -> Vec<String> {
        let names: BTreeSet<String> =
            self.user.list(directory).into_iter().chain(self.base.list(directory)).collect();
        names.into_iter().collect()
    }

    fn shown(&self, path: &str) -> String {
        if self.user_has(path) { self.user.shown(path) } else { self.base.shown(path) }
    }

    fn base(&self) -> Option<Distribution> {
        Some(self.distribution)
    }
}

/// `name` as seen from the directory that `of` is in, without `.` and `..`.
pub(crate) fn beside(of: &str, name: &str) -> String {
    if name.starts_with('/') {
        return name.to_owned();
    }
    let mut parts: Vec<&str> = of.split('/').collect();
    parts.pop();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_the_user_has_is_never_taken_from_the_base() {
        let user = MemoryTree::new("/etc/fail2ban/").with("filter.d/sshd.conf", "mine");
        let tree = Layered::on_our_base(&user);
        assert_eq!(tree.read("filter.d/sshd.conf"), Ok(Some("mine".to_owned())));
        assert_eq!(tree.shown("filter.d/sshd.conf"), "/etc/fail2ban/filter.d/sshd.conf");
        assert!(tree.read("filter.d/common.conf").is_ok_and(|text| text.is_some()));
        assert_eq!(tree.shown("filter.d/common.conf"), "(built in) filter.d/common.conf");
        assert_eq!(tree.read("filter.d/nowhere.conf"), Ok(None));
    }

    #[test]
    fn includes_are_found_beside_the_file_that_names_them() {
        assert_eq!(beside("filter.d/a.conf", "common.conf"), "filter.d/common.conf");
        assert_eq!(beside("jail.conf", "paths-debian.conf"), "paths-debian.conf");
        assert_eq!(beside("filter.d/a.conf", "../x.conf"), "x.conf");
        assert_eq!(beside("filter.d/a.conf", "/etc/x.conf"), "/etc/x.conf");
    }
}
