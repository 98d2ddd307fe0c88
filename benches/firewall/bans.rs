//! Bans: one with few and with a million others, whole rulesets, memory; beside programs that are run for each ban, or read
//! a file.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bannkreis_benches::sample::Sample;
use bannkreis_firewall::Firewall;
use bannkreis_tests::failed::{Context, Failed, Result, expect};
use bannkreis_tests::lab::netns::Netns;

use crate::{BACKENDS, NOW, Open, block, cpu, offender, ruleset, say};

const SIZES: [u32; 3] = [1_000, 100_000, 1_000_000];
const SINGLE: u32 = 3_000;
/// Programs are run so often.
const RUNS: u32 = 400;
/// The kernel tells of others' CPU time in these (USER_HZ, the same on all machines of today).
const TICK_MS: u64 = 10;
/// So many are in a file that a program reads.
const IN_FILE: u32 = 100_000;

pub(crate) fn measure() -> Result<()> {
    let (mut one_ban, mut in_a_flood) = (Duration::ZERO, Duration::ZERO);
    for (name, open) in BACKENDS {
        let netns = Netns::create()?;
        let costs = netns.run(|| of_backend(&netns, name, open))?;
        if name == "nftables" {
            (one_ban, in_a_flood) = costs;
        }
    }
    let spent = per_program()?;
    let ratio = spent.as_secs_f64() / one_ban.as_secs_f64();
    say(&format!(
        "`iptables -I` for each ban, a thousand rules there: {} µs of CPU, {ratio:.0} x one ban by nftables that comes \
         alone, with a million there",
        micros(spent)
    ));
    let ratio = spent.as_secs_f64() / in_a_flood.as_secs_f64();
    say(&format!(
        "and {ratio:.0} x one of a thousand that come at once ({} µs; aim 500)",
        micros(in_a_flood)
    ));
    from_files()
}

/// Gives what one ban costs with a million others, alone, and as one of a thousand.
fn of_backend(netns: &Netns, name: &str, open: Open) -> Result<(Duration, Duration)> {
    let mut firewall = open()?;
    let (mut p50s, mut in_a_flood) = (Vec::new(), Duration::ZERO);
    for n in SIZES {
        let wanted = ruleset(n);
        let before = kernel_bytes()?;
        let (began, cpu_before) = (Instant::now(), cpu());
        replace(firewall.as_mut(), &wanted)?;
        let (wall, spent) = (began.elapsed(), cpu().saturating_sub(cpu_before));
        drop(wanted);
        let grown = kernel_bytes()?.saturating_sub(before);
        let single = one_by_one(firewall.as_mut(), n)?;
        if name != "ipset" {
            let others = timed(|| feed(netns, &["nft", "list", "tables"], ""))?;
            say(&format!(
                "{name}: other people's `nft list tables` beside {n} bans takes {:.2} s of CPU",
                others.as_secs_f64()
            ));
        }
        say(&format!(
            "{name}, {n} bans: all at once in {:.3} s ({:.3} s of CPU), {} bytes of the kernel each; one more p50 {} µs, \
             p99 {} µs of CPU",
            wall.as_secs_f64(),
            spent.as_secs_f64(),
            grown / u64::from(n),
            micros(single.p50()),
            micros(single.p99()),
        ));
        p50s.push(single.p50());
        in_a_flood = a_thousand_at_once(firewall.as_mut(), n + SINGLE)? / 1_000;
        replace(firewall.as_mut(), &ruleset(0))?;
    }
    let (first, last) = (p50s[0], p50s[p50s.len() - 1]);
    let growth = last.as_secs_f64() / first.as_secs_f64();
    say(&format!("{name}: from a thousand to a million one ban costs {growth:.2} x as much (aim 2)"));
    Ok((last, in_a_flood))
}

fn replace(firewall: &mut dyn Firewall, wanted: &bannkreis_core::ruleset::Ruleset) -> Result<()> {
    firewall.replace(NOW, wanted).map_err(|error| Failed(error.to_string()))
}

fn one_by_one(firewall: &mut dyn Firewall, held: u32) -> Result<Sample> {
    let twice = |_| {
        let before = cpu();
        cpu().saturating_sub(before)
    };
    let reading = Sample::new((0..SINGLE).map(twice).collect());
    let mut spent = Vec::new();
    for n in held..held + SINGLE {
        let delta = [block(n)];
        let before = cpu();
        firewall.apply(NOW, &delta).map_err(|error| Failed(error.to_string()))?;
        // What it costs to read the clock is nobody's but the benchmark's.
        spent.push(cpu().saturating_sub(before).saturating_sub(reading.p50()));
    }
    Ok(Sample::new(spent))
}

/// What comes while the kernel is being told of something else is told together.
fn a_thousand_at_once(firewall: &mut dyn Firewall, held: u32) -> Result<Duration> {
    let deltas: Vec<_> = (held..held + 1_000).map(block).collect();
    let before = cpu();
    firewall.apply(NOW, &deltas).map_err(|error| Failed(error.to_string()))?;
    Ok(cpu().saturating_sub(before))
}

/// A program for each ban, as fail2ban's iptables actions do it, with a thousand rules there.
fn per_program() -> Result<Duration> {
    let netns = Netns::create()?;
    let rules: String = (0..1_000).map(|n| format!("-A f2b-sshd -s {} -j REJECT\n", offender(n))).collect();
    let text = format!("*filter\n:f2b-sshd - [0:0]\n-A INPUT -j f2b-sshd\n{rules}COMMIT\n");
    feed(&netns, &["iptables-restore"], &text)?;
    let before = children_cpu();
    for n in 1_000..1_000 + RUNS {
        let address = offender(n).to_string();
        let status = netns
            .command("iptables")
            .args(["-w", "-I", "f2b-sshd", "1", "-s", &address, "-j", "REJECT"])
            .status()
            .context(|| "cannot run iptables".to_owned())?;
        expect(status.success(), || "iptables refuses".to_owned())?;
    }
    Ok(children_cpu().saturating_sub(before) / RUNS)
}

/// The same bans by programs that read a file: what a restart of others costs.
fn from_files() -> Result<()> {
    let netns = Netns::create()?;
    let set: String = (0..IN_FILE).map(|n| format!("add b {} timeout 86400\n", offender(n))).collect();
    let text = format!("create b hash:ip timeout 0 maxelem 4000000\n{set}");
    let ipset = timed(|| feed(&netns, &["ipset", "restore"], &text))?;
    let elements: String = (0..IN_FILE).map(|n| format!("{} timeout 1d,\n", offender(n))).collect();
    let text = format!(
        "table inet b {{\n set b {{ type ipv4_addr; flags timeout; size 4000000;\n elements = {{ {elements} }}\n }}\n}}\n"
    );
    let nft = timed(|| feed(&netns, &["nft", "-f", "-"], &text))?;
    say(&format!(
        "{IN_FILE} bans by `ipset restore`: {:.3} s of CPU; by `nft -f`: {:.3} s",
        ipset.as_secs_f64(),
        nft.as_secs_f64()
    ));
    Ok(())
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let before = children_cpu();
    work()?;
    Ok(children_cpu().saturating_sub(before))
}

/// Runs a program with this on its standard input.
pub(crate) fn feed(netns: &Netns, program: &[&str], text: &str) -> Result<()> {
    let mut command: Command = netns.command(program[0]);
    command.args(&program[1..]).stdin(Stdio::piped()).stdout(Stdio::null());
    let run = || -> std::io::Result<bool> {
        let mut child = command.spawn()?;
        child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(text.as_bytes()))?;
        child.wait().map(|status| status.success())
    };
    let mut run = run;
    let is_done = run().context(|| format!("cannot run {program:?}"))?;
    expect(is_done, || format!("{program:?} refuses"))
}

/// CPU time of the programs that have been run and have ended.
fn children_cpu() -> Duration {
    // The fields of proc_pid_stat(5) behind the name: cutime and cstime are the 14th and 15th of them.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: u64 =
        fields.split_whitespace().skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * TICK_MS)
}

/// What the kernel has taken for itself: tables of elements are in its slabs and its large areas.
pub(crate) fn kernel_bytes() -> Result<u64> {
    let table = fs::read_to_string("/proc/meminfo").context(|| "cannot read /proc/meminfo".to_owned())?;
    let of = |line: &str| {
        let mut words = line.split_whitespace();
        let counts = matches!(words.next()?, "Slab:" | "VmallocUsed:");
        counts.then(|| words.next()?.parse::<u64>().ok()).flatten()
    };
    Ok(table.lines().filter_map(of).sum::<u64>() * 1_024)
}

fn micros(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1e6)
}
