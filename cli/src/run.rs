//! From what was typed to an exit code: reads the arguments, runs the command, shows what came of it.

use crate::args::{
    AllowCommand, Cli, ClusterCommand, Color, Command, Output, PkiCommand, SettingsCommand, TokenCommand,
};
use crate::commands::regex::Printer;
use crate::commands::regex::args::RegexArgs;
use crate::failure::{Exit, Failure};
use crate::text::Style;
use crate::{client, commands, remote};
use bannkreis_core::time::Timestamp;
use bannkreis_proto::v1::RestoreStep;
use clap::Parser;
use jiff::tz::TimeZone;
use serde_json::Value;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// What has become of a command that was understood.
#[derive(Clone, Debug)]
enum Ended {
    /// There is something to show.
    With(Shown),
    /// It has shown everything itself.
    Shown(Exit),
}

/// What a command has to show.
#[derive(Clone, Debug)]
pub struct Shown {
    /// How it ends.
    pub exit: Exit,
    /// For people: lines, each ended.
    pub text: String,
    /// For programs.
    pub json: Value,
}

/// Runs the command line `arguments`, the program's name first.
pub fn run(arguments: impl Iterator<Item = OsString>) -> Exit {
    let arguments: Vec<OsString> = arguments.collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, wants_json(&arguments)),
    };
    let style = Style { color: is_coloured(cli.color), zone: TimeZone::system() };
    let result = execute(&cli, &style);
    match (result, cli.output) {
        (Ok(Ended::With(shown)), Output::Table) => print(&shown.text, shown.exit),
        (Ok(Ended::With(shown)), Output::Json) => print_json(&shown.json, shown.exit),
        (Ok(Ended::Shown(exit)), _) => exit,
        (Err(failure), Output::Json) => print_json(&failure.json(), failure.exit),
        (Err(failure), Output::Table) => {
            complain(&format!("bannkreis: {}", crate::text::shown(&failure.message)));
            failure.exit
        }
    }
}

fn execute(cli: &Cli, style: &Style) -> Result<Ended, Failure> {
    if let Command::Check { config_dir } = &cli.command {
        return commands::check::run(config_dir.as_deref(), style).map(Ended::With);
    }
    if let Command::Regex(args) = &cli.command {
        return regex(args, cli.output, style).map(Ended::Shown);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::new(Exit::Refused, format!("this system gives us no event queue: {error}"))
    })?;
    runtime.block_on(async {
        let mut client = match &cli.connect {
            Some(address) => remote::connect(address, &cli.keys).await?,
            None => client::connect(&cli.socket).await?,
        };
        match &cli.command {
            Command::Status { jail } => {
                commands::status::run(&mut client, jail.as_deref(), style).await.map(Ended::With)
            }
            Command::Ban(args) if args.local => {
                commands::local::ban(&mut client, args, style).await.map(Ended::With)
            }
            Command::Unban(args) if args.local => {
                commands::local::unban(&mut client, args, style).await.map(Ended::With)
            }
            Command::Ban(args) => commands::ban::run(&mut client, args, style).await.map(Ended::With),
            Command::Unban(args) => commands::unban::run(&mut client, args, style).await.map(Ended::With),
            Command::Bans { jail, node, since } => {
                let request =
                    commands::bans::request(jail.as_ref(), node.as_deref(), since.as_deref(), style)?;
                commands::bans::run(&mut client, request, cli.output, style).await.map(Ended::Shown)
            }
            Command::Why { target } => commands::why::run(&mut client, *target, style).await.map(Ended::With),
            Command::History(args) => {
                let request = commands::history::request(
                    args.target,
                    args.jail.as_ref(),
                    args.since.as_deref(),
                    args.limit,
                    style,
                )?;
                commands::history::run(&mut client, request, style).await.map(Ended::With)
            }
            Command::Import(args) => commands::import::run(&mut client, args, style).await.map(Ended::With),
            Command::Export(args) => commands::export::run(&mut client, args).await.map(Ended::Shown),
            Command::Forget(args) => commands::forget::run(&mut client, args, style).await.map(Ended::With),
            Command::Allow(AllowCommand::Add(args)) => {
                commands::allow::add(&mut client, args, style).await.map(Ended::With)
            }
            Command::Allow(AllowCommand::Remove(args)) => {
                commands::allow::remove(&mut client, args, style).await.map(Ended::With)
            }
            Command::Allow(AllowCommand::List) => {
                commands::allow::list(&mut client, style).await.map(Ended::With)
            }
            Command::Pause { length, reason, end } => {
                let length = (!end).then_some(*length);
                commands::pause::run(&mut client, length, reason.as_deref(), style).await.map(Ended::With)
            }
            Command::Firewall => commands::firewall::run(&mut client, style).await.map(Ended::With),
            Command::Cluster(ClusterCommand::Status) => {
                commands::cluster::status(&mut client, style).await.map(Ended::With)
            }
            Command::Cluster(ClusterCommand::Join { address, token, token_file }) => {
                let token = commands::cluster::token(token.as_deref(), token_file.as_deref())?;
                commands::cluster::join(&mut client, address, token, style).await.map(Ended::With)
            }
            Command::Cluster(ClusterCommand::Backup { file, check: true, .. }) => {
                let step = RestoreStep::Check;
                commands::recovery::send(&mut client, file, step, style).await.map(Ended::With)
            }
            Command::Cluster(ClusterCommand::Backup { file, with_keys, .. }) => {
                let shown = commands::recovery::backup(&mut client, file, *with_keys, style).await?;
                if file != Path::new("-") {
                    return Ok(Ended::With(shown));
                }
                // Standard output is the backup's.
                complain(shown.text.trim_end());
                Ok(Ended::Shown(shown.exit))
            }
            Command::Cluster(ClusterCommand::Restore { file, yes }) => {
                let step = if *yes { RestoreStep::Do } else { RestoreStep::Plan };
                commands::recovery::send(&mut client, file, step, style).await.map(Ended::With)
            }
            Command::Cluster(ClusterCommand::Recover { yes, force, now }) => {
                let now = now.as_deref();
                commands::recovery::recover(&mut client, *yes, *force, now, style).await.map(Ended::With)
            }
            Command::Cluster(ClusterCommand::Settings { order: None }) => {
                commands::settings::list(&mut client, style).await.map(Ended::With)
            }
            Command::Cluster(ClusterCommand::Settings { order: Some(SettingsCommand::Set(args)) }) => {
                commands::settings::set(&mut client, args, style).await.map(Ended::With)
            }
            Command::Cluster(ClusterCommand::Trust(args)) => {
                commands::members::trust(&mut client, args, style).await.map(Ended::With)
            }
            Command::Cluster(ClusterCommand::Leave { force }) => {
                commands::members::leave(&mut client, *force, style).await.map(Ended::With)
            }
            Command::Cluster(order) => match commands::members::order_in(order) {
                Some((order, node)) => {
                    commands::members::order(&mut client, order, node, style).await.map(Ended::With)
                }
                None => unreachable!("every other command of the cluster has an arm of its own"),
            },
            Command::Pki(PkiCommand::Show) => commands::pki::show(&mut client, style).await.map(Ended::With),
            Command::Pki(PkiCommand::Renew) => {
                commands::pki::renew(&mut client, style).await.map(Ended::With)
            }
            Command::Pki(PkiCommand::Issue(args)) => {
                commands::pki::issue(&mut client, args, style).await.map(Ended::With)
            }
            Command::Token(TokenCommand::Create { ttl }) => {
                commands::token::create(&mut client, *ttl, style).await.map(Ended::With)
            }
            Command::Token(TokenCommand::List) => {
                commands::token::list(&mut client, style).await.map(Ended::With)
            }
            Command::Token(TokenCommand::Revoke { id }) => {
                commands::token::revoke(&mut client, id, style).await.map(Ended::With)
            }
            Command::Check { .. } | Command::Regex(_) => {
                unreachable!("what needs no daemon has returned")
            }
        }
    })
}

/// Prints as it goes: a log can be long.
fn regex(args: &RegexArgs, output: Output, style: &Style) -> Result<Exit, Failure> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp(u64::try_from(since_1970.as_millis()).unwrap_or_default());
    let mut printer = Printer { out: &mut io::stdout().lock(), hints: &mut io::stderr().lock(), output };
    commands::regex::run(args, now, style, &mut printer)
}

/// clap's own text, or the same as JSON. Help and version are no errors.
fn usage(error: &clap::Error, as_json: bool) -> Exit {
    if as_json && error.use_stderr() {
        let message = error.to_string();
        let message = message.trim().trim_start_matches("error: ");
        return print_json(&Failure::new(Exit::Usage, message).json(), Exit::Usage);
    }
    // A terminal that is gone can not be told so.
    let _ = error.print();
    if error.use_stderr() { Exit::Usage } else { Exit::Done }
}

/// Whether JSON is asked for, when the arguments as a whole can not be understood.
fn wants_json(arguments: &[OsString]) -> bool {
    let is_json = |pair: &[OsString]| pair[0] == "--output" && pair[1] == "json";
    arguments.iter().any(|argument| argument == "--output=json") || arguments.windows(2).any(is_json)
}

fn is_coloured(color: Color) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            // https://no-color.org: set and not empty.
            let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            io::stdout().is_terminal() && !is_unwanted
        }
    }
}

fn print_json(json: &Value, exit: Exit) -> Exit {
    print(&crate::text::shown_json(&format!("{json:#}\n")), exit)
}

/// Writes to standard output. When whoever reads has gone (`| head`), there is nobody left to tell.
fn print(text: &str, exit: Exit) -> Exit {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("bannkreis: the answer can not be written: {error}"));
            if exit == Exit::Done { Exit::Refused } else { exit }
        }
        _ => exit,
    }
}

fn complain(text: &str) {
    // Standard error that is gone can not be told so.
    let _ = writeln!(io::stderr().lock(), "{text}");
}
