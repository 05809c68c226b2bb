//! Debian's PostgreSQL on a port of loopback, as a user that it accepts, in a directory of its own. It ends with the process
//! that started it, however that ends.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::port::Port;
use super::private_ca::PrivateCa;
use super::{PATIENCE, poll};

/// Waits for the word by which to end the server; without one, because the one to say it has gone, it ends it at once and
/// removes its directory. If the server ends by itself, so does this.
const KEEPER: &str = r#"
directory=$1; shift
exec 3<&0
"$@" </dev/null & server=$!
( read -r word <&3 || touch "$directory/abandoned"; kill -"${word:-QUIT}" $server ) & reader=$!
wait $server
kill $reader 2>/dev/null
[ ! -e "$directory/abandoned" ] || rm -rf "$directory"
"#;

/// Small, and nothing forced to the disk: a server that is killed loses nothing by that, only a machine does.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=32MB",
    "max_connections=80",
    "max_wal_size=64MB",
    "logging_collector=off",
];

/// A user that may run the server: nobody but root must be another.
#[derive(Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

/// How a server is to be started.
#[derive(Default)]
pub struct Setup<'a> {
    /// The only connections that it takes are encrypted, with this certificate.
    pub tls: Option<&'a PrivateCa>,
    /// The password of its user; `None` lets everybody in.
    pub password: Option<&'a str>,
}

pub struct PostgresServer {
    directory: PathBuf,
    port: Port,
    settings: Vec<String>,
    keeper: Option<Child>,
}

impl PostgresServer {
    /// A server with an empty database.
    pub fn start() -> Self {
        let mut server = Self::new();
        let template = template();
        let copied = as_server_user("cp").arg("-a").arg(&template).arg(&server.directory).status();
        assert!(copied.expect("cp is everywhere").success(), "the template can be copied");
        server.start_again();
        server
    }

    /// The same with a login or encryption.
    pub fn start_with(setup: &Setup<'_>) -> Self {
        let mut server = Self::start();
        if let Some(password) = setup.password {
            server.psql(&format!("ALTER USER devstatus PASSWORD '{password}'"));
        }
        server.stop();
        let connection = if setup.tls.is_some() { "hostssl" } else { "host" };
        let method = if setup.password.is_some() { "scram-sha-256" } else { "trust" };
        server.write("pg_hba.conf", &format!("{connection} all all 127.0.0.1/32 {method}\n"));
        if let Some(ca) = setup.tls {
            for (name, from) in [("server.crt", &ca.certificate_file), ("server.key", &ca.key_file)] {
                server.write(name, &fs::read_to_string(from).expect("the authority has issued it"));
            }
            server.settings.push("ssl=on".to_owned());
        }
        server.start_again();
        server
    }

    /// A standby that follows the server, and may fall behind it.
    pub fn standby_of(primary: &Self) -> Self {
        let mut server = Self::new();
        let mut copy = as_server_user(programs().join("pg_basebackup"));
        copy.args(["-h", "127.0.0.1", "-U", "devstatus", "-R", "-X", "stream", "-c", "fast", "--no-sync"]);
        copy.args(["-p", &primary.port.number.to_string(), "-D"]).arg(&server.directory);
        let copied = copy.output().expect("pg_basebackup is installed");
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        server.start_again();
        server
    }

    /// A directory that is not there yet, and a port.
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("devstatus-test-postgres-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&directory);
        Self { directory, port: Port::take(), settings: Vec::new(), keeper: None }
    }

    /// Writes a file that the server alone can read.
    fn write(&self, name: &str, text: &str) {
        let path = self.directory.join(name);
        let _ = fs::remove_file(&path);
        fs::write(&path, text).expect("a file can be written into its directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        if let Some(User { uid, gid }) = server_user() {
            chown(&path, Some(uid), Some(gid)).expect("root may give files away");
        }
    }

    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// For `--store`.
    pub fn url(&self) -> String {
        url(self.port.number)
    }

    /// Starts the server on the same port, and waits until it takes connections.
    pub fn start_again(&mut self) {
        assert!(self.keeper.is_none(), "the server is stopped before it is started again");
        // What is left of a server that was killed takes a moment to go, seconds on a busy machine.
        let started = poll(PATIENCE, || self.try_start().then_some(()));
        assert!(started.is_some(), "postgres did not start; its log:\n{}", self.log());
    }

    /// Asks the server to end, which breaks every connection.
    pub fn stop(&mut self) {
        self.end("INT");
    }

    /// Ends the server as a crash does.
    pub fn kill(&mut self) {
        self.end("KILL");
    }

    pub fn is_stopped(&self) -> bool {
        self.keeper.is_none()
    }

    fn end(&mut self, signal: &str) {
        let Some(mut keeper) = self.keeper.take() else { return };
        let mut word = keeper.stdin.take().expect("its input is a pipe");
        writeln!(word, "{signal}").expect("the keeper reads");
        keeper.wait().expect("the keeper ends with the server");
    }

    fn try_start(&mut self) -> bool {
        let log = File::options().create(true).append(true).open(self.log_file()).expect("a log can be made");
        let _ = fs::set_permissions(self.log_file(), fs::Permissions::from_mode(0o666));
        let mut command = as_server_user("sh");
        command.args(["-c", KEEPER, "keeper"]).arg(&self.directory);
        command.arg(programs().join("postgres")).arg("-D").arg(&self.directory);
        command.args(["-p", &self.port.number.to_string()]);
        for setting in SETTINGS.iter().copied().chain(self.settings.iter().map(String::as_str)) {
            command.args(["-c", setting]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        let keeper = self.keeper.insert(command.spawn().expect("a shell can be started"));
        let started = poll(PATIENCE * 3, || {
            // The keeper ends after the server has, which gives up if the remains of one that was killed are in its way.
            let ended = keeper.try_wait().expect("a child can be waited for").is_some();
            if ended { Some(false) } else { takes_connections(self.port.number).then_some(true) }
        });
        if started == Some(true) {
            return true;
        }
        self.keeper = None;
        false
    }

    /// What the server has written so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("test.log")
    }

    /// Runs SQL and returns what psql prints, unaligned.
    pub fn psql(&self, sql: &str) -> String {
        let mut command = Command::new(programs().join("psql"));
        command.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", &self.url(), "-c", sql]);
        let output = command.output().expect("psql is installed");
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("the server speaks UTF-8").trim().to_owned()
    }

    /// Somebody who does one thing after the other.
    pub fn session(&self) -> Session {
        let mut command = Command::new(programs().join("psql"));
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &self.url()]);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        Session { psql: command.spawn().expect("psql is installed") }
    }
}

/// A session in which one statement comes after the other; what it has begun is rolled back when it is dropped.
pub struct Session {
    psql: Child,
}

impl Session {
    /// Runs a statement; its effect shows when it has run.
    pub fn say(&mut self, sql: &str) {
        let stdin = self.psql.stdin.as_mut().expect("it is piped");
        writeln!(stdin, "{sql};").expect("psql reads what it is told");
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.psql.stdin.take());
        self.psql.wait().expect("psql ends with its input");
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        match self.keeper.take() {
            Some(mut keeper) => {
                drop(keeper.stdin.take());
                keeper.wait().expect("the keeper ends with the server");
            }
            None => {
                let _ = fs::remove_dir_all(&self.directory);
            }
        }
    }
}

/// The URL of the database that every test's server has.
pub fn url(port: u16) -> String {
    url_of(&[port])
}

/// The URL of several servers, one of which takes writes.
pub fn url_of(ports: &[u16]) -> String {
    let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    format!("postgres://devstatus@{}/postgres?sslmode=disable", hosts.join(","))
}

fn takes_connections(port: u16) -> bool {
    let mut ready = Command::new(programs().join("pg_isready"));
    ready.args(["-q", "-h", "127.0.0.1", "-U", "devstatus", "-p", &port.to_string()]);
    ready.status().expect("pg_isready is installed").success()
}

/// The newest of the installed versions.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("postgresql is installed");
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.filter_map(|entry| Some(entry.ok()?.path())).max_by_key(|path| version(path));
    newest.expect("postgresql is installed").join("bin")
}

/// What initdb makes, made once for each user and version: it takes a second, a copy a tenth of it.
fn template() -> PathBuf {
    let programs = programs();
    let version = programs.parent().and_then(Path::file_name).expect("it has a version").to_string_lossy();
    let own = fs::metadata("/proc/self").expect("/proc is mounted").uid();
    let template = std::env::temp_dir().join(format!("devstatus-test-postgres-{version}-small-of-{own}"));
    let lock = File::options().create(true).truncate(false).write(true).open(template.with_extension("lock"));
    let lock = lock.expect("a lock file can be made");
    lock.lock().expect("a file of ours can be locked");
    if !template.exists() {
        let fresh = template.with_extension("new");
        let _ = fs::remove_dir_all(&fresh);
        let mut initdb = as_server_user(programs.join("initdb"));
        initdb
            .args([
                "-U",
                "devstatus",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
                "--wal-segsize=1",
                "-D",
            ])
            .arg(&fresh);
        let made = initdb.output().expect("initdb is installed");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        fs::rename(&fresh, &template).expect("a directory of ours can be renamed");
    }
    template
}

/// A program run by the user that the server needs.
fn as_server_user(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(std::env::temp_dir());
    if let Some(User { uid, gid }) = server_user() {
        command.uid(uid).gid(gid);
    }
    command
}

/// `None`: the server does not refuse the user who runs the tests.
fn server_user() -> Option<User> {
    if fs::metadata("/proc/self").expect("/proc is mounted").uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("there are users");
    let line = users.lines().find(|line| line.starts_with("postgres:")).expect("the package has made a user");
    let mut fields = line.split(':').skip(2).map(|field| field.parse().expect("a number"));
    Some(User { uid: fields.next().expect("its id"), gid: fields.next().expect("its group") })
}
