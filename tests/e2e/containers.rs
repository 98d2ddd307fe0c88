//! What containers write, as logs: the files of a Kubernetes node and of Docker, with lines in parts, pods that come later, and
//! rotation as the kubelet does it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bannkreis_tests::failed::{Context, Result, expect};
use bannkreis_tests::lab::mounts;
use bannkreis_tests::seeds::Tree;
use jiff::Timestamp;
use rustix::mount::{MountFlags, mount};

use crate::inside::{in_lab, plan};

const SOON: Duration = Duration::from_secs(10);

const JAILS: &str = "[DEFAULT]\nenabled = true\nfilter = mine\nport = 25\nmaxretry = 2\nfindtime = 1h\n\
    [pods]\nlogpath = container://?namespace=mail&container=postfix\n\
    [docker]\nlogpath = container://?container=web-[0-9]\n";

#[test]
fn the_output_of_containers_is_read() -> Result<()> {
    let name = "containers::the_output_of_containers_is_read";
    // Its lines have no date: the runtime's counts.
    let tree = Tree::empty()
        .with("jail.local", JAILS)
        .with("filter.d/mine.conf", "[Definition]\nfailregex = ^\\S+ refused <HOST>$\n");
    in_lab(
        name,
        |_| vec![plan("mx1", tree)],
        |lab| {
            mounts::keep_here()?;
            mount("tmpfs", "/var/lib", "tmpfs", MountFlags::empty(), c"size=16m")
                .context(|| "cannot mount a /var/lib of this test's".to_owned())?;
            let log = lab.host("mx1").file("log");
            let first = Pod::new(&log, "mail", "mx-0", "postfix", 1)?;
            let address = |last: u8| IpAddr::from([198, 51, 100, last]);
            first.write("stdout F", &format!("x refused {}", address(1)))?;
            lab.form_cluster()?;

            // What was there before counts for nothing; a line in parts is one line.
            first.write("stderr F", &format!("x refused {}", address(1)))?;
            for _ in 0..2 {
                first.write("stdout P", "x refu")?;
                first.write("stderr F", "another line")?;
                first.write("stdout F", &format!("sed {}", address(2)))?;
            }
            lab.host("mx1").wait_banned(&[address(2)], SOON)?;

            // A pod that comes later, beside one that is not meant, and one of another namespace.
            let later = Pod::new(&log, "mail", "mx-1", "postfix", 2)?;
            let others = [("mail", "mx-1", "postfix-exporter", 3), ("web", "mx-1", "postfix", 4)];
            for (namespace, pod, container, id) in others {
                let other = Pod::new(&log, namespace, pod, container, id)?;
                for _ in 0..2 {
                    other.write("stdout F", &format!("x refused {}", address(3)))?;
                }
            }
            later.write("stdout F", &format!("x refused {}", address(4)))?;
            later.write("stdout F", &format!("x refused {}", address(4)))?;
            lab.host("mx1").wait_banned(&[address(4)], SOON)?;

            // Rotated, and the daemon dies between two parts of a line.
            first.write("stdout F", &format!("x refused {}", address(5)))?;
            first.write("stdout P", "x refused ")?;
            later.write("stdout F", &format!("x refused {}", address(6)))?;
            later.write("stdout F", &format!("x refused {}", address(6)))?;
            lab.host("mx1").wait_banned(&[address(6)], SOON)?;
            lab.host_mut("mx1").kill_9();
            first.write("stdout F", &address(5).to_string())?;
            later.rotate()?;
            later.write("stdout F", &format!("x refused {}", address(7)))?;
            lab.host_mut("mx1").start()?;
            later.write("stdout F", &format!("x refused {}", address(7)))?;
            lab.host("mx1").wait_banned(&[address(5), address(7)], SOON)?;

            // Docker's, which come into being while the daemon runs.
            let web = docker("web-1", 5)?;
            let admin = docker("web-admin", 6)?;
            for _ in 0..2 {
                write_docker(&web, &format!("x refused {}\n", address(8)))?;
                write_docker(&admin, &format!("x refused {}\n", address(9)))?;
            }
            let banned = lab.host("mx1").wait_banned(&[address(8)], SOON)?;
            for innocent in [1, 3, 9].map(address) {
                expect(!banned.contains(&innocent.to_string()), || {
                    format!("{innocent} is banned: {banned:?}")
                })?;
            }
            Ok(())
        },
    )
}

/// The file of a container in a pod.
struct Pod {
    file: PathBuf,
}

impl Pod {
    /// As the kubelet makes it: below pods, with a link to it in containers.
    fn new(log: &Path, namespace: &str, pod: &str, container: &str, id: u8) -> Result<Pod> {
        let directory = log.join(format!("pods/{namespace}_{pod}_uid{id}/{container}"));
        let link = log.join(format!("containers/{pod}_{namespace}_{container}-{id:064x}.log"));
        let target = format!("/var/log/pods/{namespace}_{pod}_uid{id}/{container}/0.log");
        let file = directory.join("0.log");
        let make = || {
            fs::create_dir_all(&directory)?;
            fs::create_dir_all(log.join("containers"))?;
            fs::write(&file, "")?;
            symlink(target, link)
        };
        make().context(|| format!("cannot make the files of {pod}"))?;
        Ok(Pod { file })
    }

    fn write(&self, tags: &str, text: &str) -> Result<()> {
        append(&self.file, &format!("{} {tags} {text}\n", now()))
    }

    fn rotate(&self) -> Result<()> {
        let rotated = self.file.with_file_name("0.log.20261130-100000");
        let rename = || {
            fs::rename(&self.file, rotated)?;
            fs::write(&self.file, "")
        };
        rename().context(|| "cannot rotate".to_owned())
    }
}

/// The file of a container of Docker's.
fn docker(name: &str, id: u8) -> Result<PathBuf> {
    let directory = PathBuf::from(format!("/var/lib/docker/containers/{id:064x}"));
    let file = directory.join(format!("{id:064x}-json.log"));
    let settings = format!(
        "{{\"HostConfig\":{{\"RestartPolicy\":{{\"Name\":\"no\"}}}},\"Name\":\"/{name}\",\"Driver\":\"x\"}}"
    );
    let make = || {
        fs::create_dir_all(&directory)?;
        fs::write(directory.join("config.v2.json"), settings)?;
        fs::write(&file, "")
    };
    make().context(|| format!("cannot make the files of {name}"))?;
    Ok(file)
}

fn write_docker(file: &Path, text: &str) -> Result<()> {
    let entry = serde_json::json!({ "log": text, "stream": "stdout", "time": now() });
    append(file, &format!("{entry}\n"))
}

fn append(file: &Path, text: &str) -> Result<()> {
    let append = || OpenOptions::new().append(true).open(file)?.write_all(text.as_bytes());
    append().context(|| format!("cannot write to {}", file.display()))
}

fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string()
}
