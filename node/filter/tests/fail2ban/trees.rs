//! Configuration directories to compare: Debian's with changes on top, and small ones of our own.

use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Files on top of Debian's configuration, or alone.
pub(crate) struct Tree {
    /// For people.
    pub(crate) name: String,
    on_debian: bool,
    files: Vec<(String, String)>,
}

impl Tree {
    fn alone(name: &str, files: &[(&str, &str)]) -> Tree {
        let own = |&(path, text): &(&str, &str)| (path.to_owned(), text.to_owned());
        Tree { name: name.to_owned(), on_debian: false, files: files.iter().map(own).collect() }
    }

    fn on_debian(name: &str, files: &[(&str, &str)]) -> Tree {
        Tree { on_debian: true, ..Tree::alone(name, files) }
    }

    /// Its own files, for people.
    pub(crate) fn text(&self) -> String {
        self.files.iter().fold(String::new(), |all, (path, text)| format!("{all}\n  -- {path}\n{text}"))
    }

    /// Makes the directory `at`; Debian's own files are linked into it.
    pub(crate) fn write(&self, at: &Path, debian: &Path) {
        let write = |path: &str, text: &str| {
            let path = at.join(path);
            fs::create_dir_all(path.parent().expect("below the directory")).expect("mkdir");
            // Never through a link into Debian's files.
            let _ = fs::remove_file(&path);
            fs::write(path, text).expect("write");
        };
        for directory in ["filter.d", "action.d", "jail.d"] {
            fs::create_dir_all(at.join(directory)).expect("mkdir");
        }
        if self.on_debian {
            for directory in ["", "filter.d", "action.d"] {
                for entry in fs::read_dir(debian.join(directory)).expect("Debian's files") {
                    let path = entry.expect("Debian's files").path();
                    if path.extension().is_some_and(|end| end == "conf") {
                        let name = path.file_name().expect("a file");
                        std::os::unix::fs::symlink(&path, at.join(directory).join(name)).expect("link");
                    }
                }
            }
        }
        for (path, text) in &self.files {
            write(path, text);
        }
    }
}

/// Debian's configuration with every jail on.
pub(crate) fn all_stock_jails(backend: &str) -> Tree {
    let backend = if backend == "systemd" { "backend = systemd\n" } else { "" };
    let local =
        format!("[DEFAULT]\nenabled = true\n{backend}blocklist_de_apikey = k\ncfemail = a@b\ncfapikey = k\n");
    Tree::on_debian(&format!("all stock jails {backend}"), &[("jail.local", &local)])
}

const JAIL: &str = "[j]\nenabled = true\nfilter = f\nlogpath = /l\naction =\n";
const FILTER: &str = "[Definition]\nfailregex = ^a <HOST>$\n";

/// Changes that people make, by hand.
pub(crate) fn written() -> Vec<Tree> {
    let own = |name: &str, jail: &str, filter: &str| {
        Tree::alone(name, &[("jail.conf", &format!("{JAIL}{jail}")), ("filter.d/f.conf", filter)])
    };
    let debian = |name: &str, jail: &str| Tree::on_debian(name, &[("jail.local", jail)]);
    vec![
        debian("mode", "[sshd]\nenabled = true\nmode = aggressive\n"),
        debian("filter with a mode", "[sshd]\nenabled = true\nfilter = sshd[mode=ddos]\n"),
        debian("journal", "[sshd]\nenabled = true\nbackend = systemd[journalflags=1]\n"),
        debian(
            "a jail of its own filter's expression and one more",
            "[sshd]\nenabled = true\nfailregex = %(known/failregex)s\n    ^more <HOST>$\n",
        ),
        debian(
            "two actions",
            "[sshd]\nenabled = true\naction = %(action_mwl)s\n  iptables-allports[name=all, blocktype=DROP]\n",
        ),
        debian(
            "one action twice",
            "[asterisk]\nenabled = true\n[sshd]\nenabled = true\nport = 22,2222\naction = %(default/action_)s[name=%(__name__)s-tcp, \
             protocol=\"tcp\"]\n    %(default/action_)s[name=%(__name__)s-udp, protocol=\"udp\"]\n",
        ),
        debian(
            "all shortcuts",
            "[DEFAULT]\ndestemail = x@y\ncfemail = e\ncfapikey = k\nblocklist_de_apikey = k\nabuseipdb_apikey = k\n\
             [sshd]\nenabled = true\naction = %(action_)s\n  %(action_mw)s\n  %(action_mwl)s\n  %(action_xarf)s\n\
             [dovecot]\nenabled = true\naction = %(action_cf_mwl)s\n  %(action_blocklist_de)s\n  %(action_abuseipdb)s\n",
        ),
        debian(
            "nftables and increments",
            "[DEFAULT]\nbanaction = nftables-multiport\nbanaction_allports = nftables-allports\n\
             bantime.increment = true\nbantime.factor = 2\nbantime.maxtime = 5w\nbantime.overalljails = yes\n\
             bantime.rndtime = 10m\nbantime.multipliers = 1 2 4\nbantime.formula = ban.Time * 2\nignoreself = no\n\
             ignoreip = 127.0.0.1/8 ::1, 192.0.2.0/24\n  host.example.org\nignorecommand = /x <ip>\n\
             ignorecache = key=\"<ip>\", max-count=1, max-time=2m\n\
             [sshd]\nenabled = true\n[recidive]\nenabled = true\n[postfix]\nenabled = true\nmode = extra\n",
        ),
        Tree::on_debian(
            "local files of filters, actions and their directories",
            &[
                ("jail.d/a.conf", "[sshd]\nenabled = true\nmaxretry = 7\n"),
                ("jail.d/b.local", "[sshd]\nmaxretry = 8\nfindtime = 1h\n[DEFAULT]\nmaxmatches = 3\n"),
                ("jail.local", "[sshd]\nmaxretry = 9\nbantime = 1d\n"),
                ("filter.d/sshd.local", "[Definition]\nignoreregex = ^x\n"),
                ("filter.d/sshd.d/more.conf", "[Init]\nmaxlines = 3\n"),
                ("filter.d/common.local", "[DEFAULT]\n_daemon = other\n"),
                (
                    "action.d/iptables.local",
                    "[Init]\nblocktype = DROP\n[Init?family=inet6]\nblocktype = DENY\n",
                ),
                ("paths-overrides.local", "[DEFAULT]\nsshd_log = /var/log/mine\n"),
            ],
        ),
        own("known of [Init]", "", "[Init]\nx = 1\n[Definition]\nfailregex = ^<x> <known/x> <HOST>$\n"),
        Tree::alone(
            "parameters above [Init]",
            &[
                ("jail.conf", "[j]\nenabled = true\nfilter = f[x=2, y=\"a, b\"][z='3']\naction =\n"),
                (
                    "filter.d/f.conf",
                    "[Init]\nx = 1\n[Definition]\nfailregex = ^<x> <known/x> <y> <z> <none> %(x)s <HOST>$\n",
                ),
            ],
        ),
        Tree::alone(
            "conditional sections",
            &[
                ("jail.conf", "[j]\nenabled = true\nfilter = f\naction = a[x=7]\n"),
                ("filter.d/f.conf", FILTER),
                (
                    "action.d/a.conf",
                    "[Definition]\nactionban = ban <ip> <x> <y> <matches>\nactionunban = %(actionban)s u\n\
                     norestored = 1\n[Init]\nx = 1\ny = 2\n[Init?family=inet6]\ny = 6\n",
                ),
            ],
        ),
        own(
            "sections by name",
            "maxretry = %(k/n)s\nfindtime = %(default/t)s\n[DEFAULT]\nt = 3m\n[k]\nn = 4\n",
            FILTER,
        ),
        own(
            "comments and continuation lines",
            "bantime = 1h ; one\n  # no\n\n  2h\nfindtime=1m;x\nmaxretry: 3\nIgnoreIP = 1.2.3.4\n ; no\n 5.6.7.8 ; why\n",
            FILTER,
        ),
        own(
            "an empty line in a value",
            "ignoreregex = ^a\n\n   ^b\n",
            "[Definition]\nfailregex =\n  ^a <HOST>$\n\n  ^b\n\n",
        ),
        own("an option twice", "maxretry = 1\nmaxretry = 2\n", FILTER),
        own("a section twice", "[j]\nmaxretry = 2\n", FILTER),
        own("an option twice in the filter", "", "[Definition]\nfailregex = a\nfailregex = b\n"),
        own("text before a section", "", "x = 1\n[Definition]\nfailregex = a\n"),
        own("no filter of that name", "filter = nosuch\n", FILTER),
        own("a filter in pieces", "filter = f[x\n", FILTER),
        own("a stray percent sign", "datepattern = %Y\n", FILTER),
        own("two percent signs", "datepattern = %%Y-%%m\n", "[Definition]\nfailregex = 5%% <HOST>\n"),
        own("a name that is not there", "bantime = %(nosuch)s\n", FILTER),
        own("a loop of names", "bantime = %(findtime)s\nfindtime = %(bantime)s\n", FILTER),
        own("a loop of tags", "", "[Definition]\nfailregex = <a>\na = <b>\nb = <a>\n"),
        own("ten levels", &levels(9), FILTER),
        own("eleven levels", &levels(10), FILTER),
        own("numbers that are none", "maxretry = many\nmaxlines = x\nbantime.increment = maybe\n", FILTER),
        own(
            "tags in tags",
            "",
            "[Definition]\nfailregex = <a-<m>>\na-x = ^X <HOST>\na-y = ^Y <HOST>\nm = y\n",
        ),
        own(
            "tags of other sections",
            "",
            "[Definition]\nfailregex = <s/x> <default/d> <HOST>\n[s]\nx = %(d)s\n[DEFAULT]\nd = 1\n",
        ),
        own(
            "usedns of the filter",
            "",
            "[Definition]\nusedns = no\nfailregex = ^a <HOST>$\njournalmatch = _A=b + _C=d\n",
        ),
        Tree::alone(
            "includes around, and known",
            &[
                ("jail.conf", JAIL),
                ("filter.d/b.conf", "[DEFAULT]\np = one\n[Definition]\nfailregex = ^b <HOST>$\nq = 1\n"),
                ("filter.d/b.local", "[DEFAULT]\np = two\n"),
                (
                    "filter.d/z.inc",
                    "[Definition]\nfailregex = %(known/failregex)s\n  ^z %(p)s %(q)s <HOST>$\n",
                ),
                ("filter.d/z.local", "[DEFAULT]\np = three\n"),
                (
                    "filter.d/f.conf",
                    "[INCLUDES]\nbefore = b.conf\n   missing.conf\nafter = z.inc\n[Definition]\nq = 2\n",
                ),
            ],
        ),
        Tree::alone(
            "files that include each other",
            &[
                ("jail.conf", JAIL),
                ("filter.d/f.conf", "[INCLUDES]\nbefore = g.conf\n[Definition]\nfailregex = ^f <HOST>$\n"),
                (
                    "filter.d/g.conf",
                    "[INCLUDES]\nbefore = f.conf\nafter = g.conf\n[Definition]\nfailregex = ^g <HOST>$\n",
                ),
            ],
        ),
        Tree::alone(
            "known from a tag",
            &[
                ("jail.conf", JAIL),
                ("filter.d/f.conf", "[Definition]\nfailregex = ^f <p> <HOST>$\np = a\n"),
                ("filter.d/f.local", "[Definition]\np = <known/p>b\n"),
            ],
        ),
    ]
}

/// A value that names another, so many times over.
fn levels(n: usize) -> String {
    let mut text = String::from("bantime = %(l0)s\n");
    for level in 0..n - 1 {
        let _ = writeln!(text, "l{level} = %(l{})s", level + 1);
    }
    let _ = writeln!(text, "l{} = 1h", n - 1);
    text
}

/// Numbers by chance, the same for a seed each time (Marsaglia's xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).expect("below n")
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

const WORDS: [&str; 8] = ["k", "q", "w", "v", "failregex", "bantime", "maxretry", "ignoreregex"];
const PIECES: [&str; 26] = [
    "1",
    "x y",
    "%(k)s",
    "%(q)s",
    "%(known/k)s",
    "%(default/q)s",
    "%(t/k)s",
    "%(__name__)s",
    "<k>",
    "<q>",
    "<w-<k>>",
    "<known/q>",
    "<t/q>",
    "<HOST>",
    "%%",
    "; c",
    " ;c",
    "# d",
    "\n   more",
    "\n\n   later",
    "\n# c\n   on",
    "a=b",
    "a:b",
    "[z]",
    "%",
    "\"1\"",
];
const SECTIONS: [&str; 6] = ["DEFAULT", "j", "t", "Definition", "Init", "Init?family=inet6"];

/// A small tree of files, made by chance.
pub(crate) fn by_chance(seed: u64) -> Tree {
    let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut tree = Tree::alone(&format!("seed {seed}"), &[("filter.d/f.conf", FILTER)]);
    let head = "[j]\nenabled = true\nfilter = f[m=%(__name__)s]\naction =\nlogpath = /l\n";
    tree.files
        .push(("jail.conf".to_owned(), format!("{head}{}", sections(&mut chance, &SECTIONS[..3], true))));
    for path in ["jail.local", "jail.d/x.conf", "jail.d/y.local"] {
        if chance.below(3) == 0 {
            tree.files.push((path.to_owned(), sections(&mut chance, &SECTIONS[..3], false)));
        }
    }
    for path in ["filter.d/f.conf", "filter.d/f.local", "filter.d/g.conf", "filter.d/g.local"] {
        if chance.below(2) == 0 {
            let includes =
                chance.of(&["", "", "[INCLUDES]\nbefore = g.conf\n", "[INCLUDES]\nafter = g.conf\n"]);
            let text =
                sections(&mut chance, &["DEFAULT", "Definition", "Init", "t", "Init?family=inet6"], false);
            tree.files.push((path.to_owned(), format!("{includes}{text}")));
        }
    }
    tree
}

/// Sections with options; `in_j` when [j] is open already.
fn sections(chance: &mut Chance, names: &[&str], in_j: bool) -> String {
    let mut text = String::new();
    let mut open: Vec<&str> = if in_j { vec!["j"] } else { Vec::new() };
    for n in 0..=chance.below(3) {
        if n > 0 || !in_j {
            let name = chance.of(names);
            // Twice is an error of the whole, which ends the comparison; rarely is enough.
            if open.contains(&name) && name != "DEFAULT" && chance.below(20) > 0 {
                continue;
            }
            open.push(name);
            let _ = writeln!(text, "[{name}]");
        }
        let mut used: Vec<&str> = Vec::new();
        for _ in 0..=chance.below(4) {
            let word = chance.of(&WORDS);
            if used.contains(&word) && chance.below(20) > 0 {
                continue;
            }
            used.push(word);
            let pieces: Vec<&str> = (0..=chance.below(3)).map(|_| chance.of(&PIECES)).collect();
            let _ = writeln!(
                text,
                "{word}{}{}",
                chance.of(&[" = ", "=", ": "]),
                pieces.join(chance.of(&["", " "]))
            );
        }
    }
    text
}
