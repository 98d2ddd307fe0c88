//! `bannkreis`: see the library beside this file.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(bannkreis_cli::run::run(std::env::args_os()).code())
}
