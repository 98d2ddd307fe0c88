//! The unpacked package: its filters as configuration trees, and its sample logs.

use bannkreis_filter::filter::Filter;
use bannkreis_filter::reading::{self, Host};
use bannkreis_filter::tree::MemoryTree;
use jiff::tz::TimeZone;
use std::path::{Path, PathBuf};

/// Where the package keeps its Python files, beside etc/fail2ban.
const PYTHON: &str = "../../usr/lib/python3/dist-packages/fail2ban";
/// Where, below it, the filters are that fail2ban has for its tests only.
const TEST_FILTERS: &str = "tests/config/filter.d";
/// And the labelled samples.
const SAMPLES: &str = "tests/files/logs";

/// An unpacked fail2ban package.
pub(crate) struct Package {
    configuration: PathBuf,
    python: PathBuf,
    filter_files: MemoryTree,
}

impl Package {
    /// The package that `BANNKREIS_FAIL2BAN_DIR` leads to, when it has the tests with it.
    pub(crate) fn find() -> Option<Package> {
        let configuration = PathBuf::from(std::env::var_os("BANNKREIS_FAIL2BAN_DIR")?);
        let python = configuration.join(PYTHON);
        if !python.join(SAMPLES).is_dir() {
            return None;
        }
        let directories = [configuration.join("filter.d"), python.join(TEST_FILTERS)];
        Some(Package { filter_files: filter_files(&directories), configuration, python })
    }

    /// Its version, such as `1.0.2`.
    pub(crate) fn version(&self) -> String {
        let text = read(&self.python.join("version.py"));
        let version = text.lines().find_map(|line| line.strip_prefix("version = "));
        version.map(|quoted| quoted.trim().trim_matches('"').to_owned()).unwrap_or_default()
    }

    /// The names of the filters that have labelled samples: all that are no part of another one.
    pub(crate) fn filters(&self) -> Vec<String> {
        let of = |directory: &Path| {
            let entries = std::fs::read_dir(directory).expect("filter.d is readable");
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            names.filter_map(|name| name.strip_suffix(".conf").map(str::to_owned)).collect::<Vec<_>>()
        };
        let mut names = of(&self.configuration.join("filter.d"));
        names.retain(|name| !name.ends_with("common"));
        names.extend(of(&self.python.join(TEST_FILTERS)).into_iter().filter(|name| name.starts_with("zzz-")));
        names.sort();
        names
    }

    /// The lines of a sample log.
    pub(crate) fn sample(&self, name: &str) -> Vec<String> {
        read(&self.python.join(SAMPLES).join(name))
            .split('\n')
            .map(|line| line.trim_end_matches('\r').to_owned())
            .collect()
    }

    /// Two filters of this name with its parameters; `more` are lines for the jails that have them.
    pub(crate) fn compile(&self, filter: &str, more: &str, zone: TimeZone) -> [Filter; 2] {
        let default = format!("[DEFAULT]\nenabled = true\nfindtime = 100y\nfilter = {filter}\n{more}");
        let tree = self.filter_files.clone().with("jail.conf", &format!("{default}[first]\n[second]\n"));
        let host =
            Host { zone, services: &|_| None, is_journal_instead: &|_| false, config_dir: String::new() };
        let reading = reading::read_tree(&tree, &host).expect("the configuration is well formed");
        let errors: Vec<String> = reading.errors.iter().map(ToString::to_string).collect();
        assert!(errors.is_empty(), "{filter}: {errors:?}");
        let mut filters = reading.jails.into_iter().map(|jail| jail.filter);
        [(); 2].map(|()| filters.next().expect("two jails"))
    }

    /// etc/fail2ban.
    pub(crate) fn configuration(&self) -> &Path {
        &self.configuration
    }

    /// Where Python finds the package.
    pub(crate) fn python_path(&self) -> PathBuf {
        self.python.join("..")
    }

    /// One of its programs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.configuration.join("../../usr/bin").join(name)
    }
}

fn filter_files(directories: &[PathBuf]) -> MemoryTree {
    let mut tree = MemoryTree::new("");
    for directory in directories {
        let entries = std::fs::read_dir(directory).expect("filter.d is readable").flatten();
        for entry in entries.filter(|entry| entry.path().is_file()) {
            // The tests' filters include the sources' own, by a path that the package does not have.
            let text = read(&entry.path()).replace("config/filter.d/", "").replace("../", "");
            tree = tree.with(&format!("filter.d/{}", entry.file_name().to_string_lossy()), &text);
        }
    }
    tree
}

fn read(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}
