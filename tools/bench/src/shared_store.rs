//! A store that several instances share, on loopback: Debian's PostgreSQL or a redis-server, in a directory of its own, and what
//! the system tells of it. The commands say what is measured with it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::Outcome;
use crate::process::{CLOCK_TICKS_PER_SECOND, Process, free_port, until};

const START_BOUND: Duration = Duration::from_secs(60);

/// A running server, empty at first.
pub struct SharedStore {
    process: Process,
    /// For `--store`.
    pub url: String,
    /// On loopback.
    pub port: u16,
    directory: TempDir,
}

impl SharedStore {
    pub fn postgres() -> Outcome<Self> {
        let programs = postgres_programs()?;
        let user = server_user()?;
        let directory = tempfile::tempdir()?;
        if let Some((uid, gid)) = user {
            chown(directory.path(), Some(uid), Some(gid))?;
        }
        let data = directory.path().join("data");
        let mut initdb = as_user(programs.join("initdb"), user);
        initdb
            .args(["-U", "devstatus", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data);
        let made = initdb.stdin(Stdio::null()).output()?;
        if !made.status.success() {
            return Err(format!("initdb: {}", String::from_utf8_lossy(&made.stderr)).into());
        }
        let port = free_port()?;
        let mut server = as_user(programs.join("postgres"), user);
        server.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        server.args([
            "-c",
            "unix_socket_directories=",
            "-c",
            "shared_buffers=128MB",
            "-c",
            "log_min_messages=fatal",
        ]);
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Process::start(&mut server)?;
        until("PostgreSQL to take connections", START_BOUND, || {
            process.check_runs()?;
            let mut ready = Command::new(programs.join("pg_isready"));
            ready.args(["-q", "-h", "127.0.0.1", "-U", "devstatus", "-p", &port.to_string()]);
            Ok(ready.status()?.success())
        })?;
        let url = format!("postgres://devstatus@127.0.0.1:{port}/postgres?sslmode=disable");
        Ok(Self { process, url, port, directory })
    }

    pub fn redis() -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        let port = free_port()?;
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--appendonly",
            "yes",
        ]);
        command.arg("--dir").arg(directory.path()).args(["--loglevel", "warning"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = Process::start(&mut command)?;
        until("redis-server to listen", START_BOUND, || {
            process.check_runs()?;
            Ok(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())
        })?;
        Ok(Self { process, url: format!("valkey://127.0.0.1:{port}"), port, directory })
    }

    /// Seconds that all processes of the server have spent computing.
    pub fn cpu_seconds(&mut self) -> Outcome<f64> {
        let server = self.process.child().id();
        let mut ticks = 0;
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // One that has ended meanwhile is counted by its parent.
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            // The name, which may hold anything, is in parentheses.
            let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
            let fields: Vec<u64> = rest.split(' ').skip(1).map(|field| field.parse().unwrap_or(0)).collect();
            let [parent, .., user, system, children_user, children_system] = fields[..14.min(fields.len())]
            else {
                continue;
            };
            if pid == server {
                ticks += user + system + children_user + children_system;
            } else if parent == u64::from(server) {
                ticks += user + system;
            }
        }
        Ok(ticks as f64 / CLOCK_TICKS_PER_SECOND as f64)
    }

    /// Bytes of all its files; what is kept in memory alone is not among them.
    pub fn file_bytes(&self) -> Outcome<u64> {
        bytes_below(self.directory.path())
    }

    pub fn resident_bytes(&self) -> Outcome<u64> {
        Ok(self.process.resident_bytes()?.now)
    }
}

fn bytes_below(directory: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // A server may remove a file at any moment.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

/// Those of the newest version that is installed.
fn postgres_programs() -> Outcome<PathBuf> {
    let versions =
        fs::read_dir("/usr/lib/postgresql").map_err(|_| "postgresql is not installed: ./test --install")?;
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.filter_map(|entry| Some(entry.ok()?.path())).max_by_key(|path| version(path));
    Ok(newest.ok_or("postgresql is not installed: ./test --install")?.join("bin"))
}

/// The user to run PostgreSQL, which refuses root; `None`: this one will do.
fn server_user() -> Outcome<Option<(u32, u32)>> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let line = users.lines().find(|line| line.starts_with("postgres:")).ok_or("there is no user postgres")?;
    let mut fields = line.split(':').skip(2).map(str::parse);
    let (Some(Ok(uid)), Some(Ok(gid))) = (fields.next(), fields.next()) else {
        return Err("the user postgres has no number".into());
    };
    Ok(Some((uid, gid)))
}

fn as_user(program: impl AsRef<OsStr>, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(std::env::temp_dir());
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}
