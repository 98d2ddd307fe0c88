//! `logpath = container://?pod=…&namespace=…&container=…`: the output of containers as a log.
//!
//! Not for finding the files in which a container runtime keeps it (`this_host`), and not for taking its lines out of them
//! (`node::source`).

const SCHEME: &str = "container://";

/// Which containers. Each part may have wildcards, and is `*` when it is not named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPath {
    /// The pod's name.
    pub pod: String,
    /// Its namespace.
    pub namespace: String,
    /// The container's name.
    pub container: String,
}

impl ContainerPath {
    /// Whether a `logpath` is one of containers.
    #[must_use]
    pub fn is_one(log_path: &str) -> bool {
        log_path.starts_with(SCHEME)
    }

    /// Reads a `logpath` of containers.
    ///
    /// # Errors
    /// A part that is not known, or that can be no name, with what to write instead.
    pub fn parse(log_path: &str) -> Result<ContainerPath, String> {
        let any = || "*".to_owned();
        let mut path = ContainerPath { pod: any(), namespace: any(), container: any() };
        let bad = |why: String| {
            format!(
                "`logpath = {log_path}`: {why}; write e.g. container://?namespace=mail&pod=postfix-*&container=postfix"
            )
        };
        let rest = log_path.strip_prefix(SCHEME).unwrap_or(log_path);
        let Some(query) = rest.strip_prefix('?') else {
            return Err(bad("it does not say which containers".to_owned()));
        };
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let is_name = |letter: char| letter.is_ascii_alphanumeric() || "-._*?[]!".contains(letter);
            if value.is_empty() || !value.chars().all(is_name) {
                return Err(bad(format!("`{part}` is no part=name")));
            }
            match key {
                "pod" => value.clone_into(&mut path.pod),
                "namespace" => value.clone_into(&mut path.namespace),
                "container" => value.clone_into(&mut path.container),
                other => {
                    return Err(bad(format!("`{other}` is not known, only pod, namespace and container")));
                }
            }
        }
        Ok(path)
    }

    /// The files that the kubelet links to the output of these containers.
    #[must_use]
    pub fn in_kubernetes(&self) -> String {
        // The id of a container: any name would take containers whose names go on behind a hyphen.
        let id = "[0-9a-f]".repeat(64);
        format!("/var/log/containers/{}_{}_{}-{id}.log", self.pod, self.namespace, self.container)
    }

    /// Whether a container of Docker's can be one, which is in no pod.
    #[must_use]
    pub fn may_be_dockers(&self) -> bool {
        self.pod == "*" && self.namespace == "*"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_are_not_named_are_any() {
        let path = ContainerPath::parse("container://?pod=mx-*&container=postfix").unwrap();
        let of = |pod: &str, namespace: &str, container: &str| ContainerPath {
            pod: pod.to_owned(),
            namespace: namespace.to_owned(),
            container: container.to_owned(),
        };
        assert_eq!(path, of("mx-*", "*", "postfix"));
        assert!(path.in_kubernetes().starts_with("/var/log/containers/mx-*_*_postfix-[0-9a-f][0-9a-f]"));
        assert!(
            !path.may_be_dockers()
                && ContainerPath::parse("container://?container=x").unwrap().may_be_dockers()
        );
        assert_eq!(ContainerPath::parse("container://?").unwrap(), of("*", "*", "*"));
    }

    #[test]
    fn what_names_no_containers_is_refused_by_name() {
        for (text, said) in [
            ("container://mx", "does not say which containers"),
            ("container://?pood=x", "`pood` is not known"),
            ("container://?pod", "`pod` is no part=name"),
            ("container://?pod=a/b", "`pod=a/b` is no part=name"),
        ] {
            let why = ContainerPath::parse(text).unwrap_err();
            assert!(why.contains(said) && why.contains(text), "{why}");
        }
    }
}
