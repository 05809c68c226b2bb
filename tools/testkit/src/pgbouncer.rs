//! Debian's PgBouncer on a port of loopback, in front of a PostgreSQL server of the rig.

use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::child::ChildProcess;
use super::port::Port;
use super::private_ca::PrivateCa;

pub struct PgBouncer {
    port: Port,
    _child: ChildProcess,
    _directory: TempDir,
}

impl PgBouncer {
    /// A pooler in one of the modes `session`, `transaction` or `statement`.
    pub fn start(postgres: u16, mode: &str) -> Self {
        Self::start_with(postgres, mode, None)
    }

    /// One that takes no connections but encrypted ones.
    pub fn start_encrypted(postgres: u16, ca: &PrivateCa) -> Self {
        Self::start_with(postgres, "session", Some(ca))
    }

    fn start_with(postgres: u16, mode: &str, ca: Option<&PrivateCa>) -> Self {
        let (port, directory) = (Port::take(), tempfile::tempdir().expect("a directory can be made"));
        let mut tls = String::new();
        if let Some(ca) = ca {
            tls.push_str("client_tls_sslmode = require\n");
            for (setting, from) in [("cert", &ca.certificate_file), ("key", &ca.key_file)] {
                let to = directory.path().join(setting);
                std::fs::copy(from, &to).expect("the authority has issued it");
                // Its own user must read it.
                let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
                std::fs::set_permissions(&to, readable).expect("it is ours");
                tls.push_str(&format!("client_tls_{setting}_file = {}\n", to.display()));
            }
        }
        let config = directory.path().join("pgbouncer.ini");
        let users = directory.path().join("users.txt");
        std::fs::write(&users, "\"devstatus\" \"\"\n").expect("a file can be written into the directory");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={postgres} user=devstatus\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = {mode}\n\
             default_pool_size = 30\n{tls}",
            port.number,
            users.display()
        );
        std::fs::write(&config, text).expect("a file can be written into the directory");
        open_to_all(directory.path());
        let mut command = Command::new("pgbouncer");
        // It refuses to run as root.
        if rustix::process::geteuid().is_root() {
            command.args(["--user", "nobody"]);
        }
        command.arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = ChildProcess::start(&mut command);
        assert!(child.listens(&[port.number]), "pgbouncer takes connections");
        Self { port, _child: child, _directory: directory }
    }

    pub fn port(&self) -> u16 {
        self.port.number
    }
}

/// So that another user can read what is there.
fn open_to_all(directory: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory, open).expect("it is ours");
}
