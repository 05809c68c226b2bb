//! Several measurements one after the other, of this commit alone or of two commits in turns: what a change costs or gains.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use tempfile::TempDir;

use crate::rounds::median;
use crate::service::binary;
use crate::{Outcome, Size};

/// What is measured unless `--only` says otherwise: what every change can touch, some ten minutes for one round of both sides.
const USUAL: [&str; 5] = ["lookup", "ingest", "restart", "memory", "population"];
/// What comes before the figure in the last line of a measurement.
const MEDIANS: &str = ", medians: ";
const RATIO: &str = " ratio, ";

/// What is compared.
#[derive(clap::Args, Clone)]
pub struct Options {
    /// A commit to compare with: it is built, and both are measured in turns.
    #[arg(long)]
    compare: Option<String>,
    /// The measurements, by their names, separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = USUAL.map(str::to_owned))]
    only: Vec<String>,
}

/// The ratios to the peer that one side has reached, round by round, by what was measured.
type Ratios = BTreeMap<String, Vec<f64>>;

pub fn run(size: &Size, options: &Options) -> Outcome<()> {
    let ours = binary(size)?;
    let other = options.compare.as_deref().map(build).transpose()?;
    let (mut now, mut before) = (Ratios::new(), Ratios::new());
    for round in 1..=size.rounds {
        for name in &options.only {
            println!("round {round}: {name}");
            // An earlier commit may not read the store that `restart` fills, or lack what is measured.
            if let Some(other) = &other
                && let Err(error) = measure(name, size, &other.binary, &mut before)
            {
                println!("  the other commit cannot be measured: {error}");
            }
            measure(name, size, &ours, &mut now)?;
        }
    }
    println!();
    for (name, ratios) in &now {
        let ratio = median(ratios);
        match before.get(name).map(|ratios| median(ratios)) {
            Some(before) => {
                let change = ratio / before;
                println!("{name:<24} {ratio:>8.2} of the peer, before {before:.2}: {change:.2} of it");
            }
            None => println!("{name:<24} {ratio:>8.2} of the peer"),
        }
    }
    Ok(())
}

/// Runs one measurement in a process of its own, for one round, and takes its ratios.
fn measure(name: &str, size: &Size, devstatus: &Path, ratios: &mut Ratios) -> Outcome<()> {
    let mut command = Command::new(env::current_exe()?);
    command.args([name, "--rounds", "1", "--devices"]).arg(size.devices.to_string());
    command.arg("--devstatus").arg(devstatus).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output()?;
    let report = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("{name} ended with {}:\n{report}", output.status).into());
    }
    let found = ratios_in(&report);
    if found.is_empty() {
        return Err(format!("{name} printed no ratio:\n{report}").into());
    }
    for (what, ratio) in found {
        println!("  {what:<24} {ratio:>8.2}");
        ratios.entry(what).or_default().push(ratio);
    }
    Ok(())
}

fn ratios_in(report: &str) -> Vec<(String, f64)> {
    let ratio = |line: &str| {
        let (what, rest) = line.split_once(RATIO)?;
        let (_, figure) = rest.rsplit_once(MEDIANS)?;
        Some((what.to_owned(), figure.trim().parse().ok()?))
    };
    report.lines().filter_map(ratio).collect()
}

/// The binary of another commit.
struct Built {
    binary: PathBuf,
    _directory: TempDir,
}

/// Builds a commit with a checkout of its own, so that nothing of the one that is worked on is touched.
fn build(commit: &str) -> Outcome<Built> {
    let directory = tempfile::tempdir()?;
    let (checkout, repository) = (directory.path().join("checkout"), Path::new(env!("CARGO_MANIFEST_DIR")));
    let mut add = Command::new("git");
    add.current_dir(repository).args(["worktree", "add", "--quiet", "--detach"]).arg(&checkout).arg(commit);
    succeed(&mut add)?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = directory.path().join("target");
    let mut build = Command::new(cargo);
    build.current_dir(&checkout).args([
        "build",
        "--quiet",
        "--release",
        "--locked",
        "--package",
        "devstatus",
    ]);
    build.args(["--bin", "devstatus", "--target-dir"]).arg(&target);
    println!("building {commit}");
    let built = succeed(&mut build);
    let mut remove = Command::new("git");
    remove.current_dir(repository).args(["worktree", "remove", "--force"]).arg(&checkout);
    succeed(&mut remove)?;
    built?;
    let binary = directory.path().join("devstatus");
    fs::rename(target.join("release/devstatus"), &binary)?;
    fs::remove_dir_all(target)?;
    Ok(Built { binary, _directory: directory })
}

fn succeed(command: &mut Command) -> Outcome<()> {
    let status = command.stdin(Stdio::null()).status()?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{} ended with {status}", command.get_program().to_string_lossy()).into())
}

#[cfg(test)]
mod tests {
    use super::ratios_in;

    #[test]
    fn every_ratio_of_a_report_is_found_and_nothing_else() {
        let report = "round 1\n  nginx 1.0 requests/s\n\
                      processor time ratio, devstatus, processor : nginx, processor, medians: 1.21\n\
                      lookup ratio, devstatus : nginx, medians: 0.80\nratio of nothing\n";
        let expected = [("processor time".to_owned(), 1.21), ("lookup".to_owned(), 0.8)];
        assert_eq!(ratios_in(report), expected);
    }
}
