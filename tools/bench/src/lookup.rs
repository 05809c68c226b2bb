//! Requests a second on `GET /{type}/{id}` with random devices, against nginx returning an answer of the same size. Both
//! get the same load from wrk, on the same machine, with the same number of workers.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::available_parallelism;
use std::time::Duration;

use tempfile::TempDir;

use crate::broker::Broker;
use crate::http::{Answer, Client};
use crate::messages::{TYPES, message, path};
use crate::process::{Process, free_port, until};
use crate::processors::{Processors, move_thread};
use crate::rounds::{Figures, print_ratio};
use crate::service::{Service, binary};
use crate::{Outcome, Size};

/// How long nginx may take to start.
const START_BOUND: Duration = Duration::from_secs(20);
/// So many devices are asked for before the load, and their answers compared with what was published.
const CHECKED: u32 = 500;

/// What wrk does.
#[derive(clap::Args, Clone)]
pub struct Load {
    /// Connections that are kept open.
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// Seconds of load in each round, for each side.
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Threads of wrk.
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// Workers of nginx; by default one for each core, as the service has.
    #[arg(long)]
    workers: Option<usize>,
    /// Over TLS, on both sides with the same certificate.
    #[arg(long)]
    tls: bool,
    /// The servers on one processor, each with one worker, and wrk on another.
    #[arg(long)]
    apart: bool,
}

impl Load {
    /// Where the servers and wrk run; `None`: on all processors.
    pub fn processors(&self) -> Outcome<Option<Processors>> {
        if !self.apart {
            return Ok(None);
        }
        Processors::two()?.map(Some).ok_or_else(|| "--apart takes two processors".into())
    }
}

/// The servers that are started next are measured.
pub fn place_servers(processors: Option<Processors>) -> Outcome<()> {
    processors.map_or(Ok(()), |processors| move_thread(&processors.measured()))
}

/// What is started next asks them.
pub fn place_clients(processors: Option<Processors>) -> Outcome<()> {
    processors.map_or(Ok(()), |processors| move_thread(&processors.others()))
}

/// A certificate that both servers show, and its key, in files.
pub struct Certificate {
    certificate: String,
    key: String,
    _directory: TempDir,
}

impl Certificate {
    fn create() -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let write = |name: &str, text: String| -> Outcome<String> {
            let path = directory.path().join(name);
            fs::write(&path, text)?;
            Ok(path.to_string_lossy().into_owned())
        };
        let (certificate, key) =
            (write("cert", made.cert.pem())?, write("key", made.signing_key.serialize_pem())?);
        Ok(Self { certificate, key, _directory: directory })
    }
}

pub fn run(size: &Size, load: &Load) -> Outcome<()> {
    let binary = binary(size)?;
    let broker = Broker::start(size.devices)?;
    let certificate = load.tls.then(Certificate::create).transpose()?;
    let mut arguments = vec!["--store", "memory:"];
    if let Some(Certificate { certificate, key, .. }) = &certificate {
        arguments.extend(["--tls-cert", certificate, "--tls-key", key]);
    }
    let processors = load.processors()?;
    place_servers(processors)?;
    let mut service = Service::start_with(&binary, &broker.url(), &arguments)?;
    service.wait_for_devices(size.devices)?;
    service.wait_until_ready()?;
    let typical = check(&service, size.devices)?;
    let workers = load.workers.unwrap_or(available_parallelism()?.get());
    let nginx = Nginx::start(workers, &typical, certificate.as_ref())?;
    place_clients(processors)?;
    let copy = Client::new().ask(&format!("{}{}", nginx.url, path(0)))?;
    for (side, answer) in [("devstatus", &typical), ("nginx", &copy)] {
        println!("{side}: {} bytes of headers, {} of body", answer.header_bytes(), answer.body.len());
    }
    if copy.body != typical.body {
        return Err("nginx returns another body than it was told to".into());
    }
    let mut ours = Figures::new("devstatus", "requests/s");
    let mut peer = Figures::new("nginx", "requests/s");
    let mut our_time = Figures::new("devstatus, processor", "ns/request");
    let mut peer_time = Figures::new("nginx, processor", "ns/request");
    for round in 1..=size.rounds {
        println!("round {round}");
        let asked = |url: &str| wrk(url, size.devices, load, round, None);
        measure(&nginx.process, &mut peer, &mut peer_time, || asked(&nginx.url))?;
        measure(&service.process, &mut ours, &mut our_time, || asked(&service.url))?;
    }
    print_ratio("processor time", &our_time, &peer_time);
    print_ratio("lookup", &ours, &peer);
    Ok(())
}

/// Requests a second of a server, and the processor time that it takes for each.
fn measure(
    server: &Process,
    rates: &mut Figures,
    times: &mut Figures,
    load: impl FnOnce() -> Outcome<Answered>,
) -> Outcome<()> {
    let before = server.processor_time_of_all()?;
    let answered = load()?;
    let after = server.processor_time_of_all()?;
    let each = |before: Duration, after: Duration| (after - before).as_nanos() as f64 / answered.requests;
    let (user, kernel) = (each(before.user, after.user), each(before.kernel, after.kernel));
    rates.push(answered.rate);
    times.push(user + kernel);
    println!("    of these {user:.0} ns in user code, {kernel:.0} ns in the kernel");
    Ok(())
}

/// Asks for devices from all over the range; returns the answer of middle length.
pub fn check(service: &Service, devices: u32) -> Outcome<Answer> {
    let client = Client::new();
    let mut answers = Vec::new();
    for device in (0..devices).step_by((devices / CHECKED).max(1) as usize) {
        let answer = client.ask(&format!("{}{}", service.url, path(device)))?;
        if answer.status != 200 || answer.body != message(device).payload {
            return Err(format!("{} is answered {} {}", path(device), answer.status, answer.body).into());
        }
        answers.push(answer);
    }
    answers.sort_by_key(|answer| answer.body.len());
    Ok(answers.swap_remove(answers.len() / 2))
}

/// A running nginx that gives one answer to everything.
pub struct Nginx {
    pub url: String,
    process: Process,
    _directory: TempDir,
}

impl Nginx {
    /// Starts it with the same body, and headers that take as many bytes.
    pub fn start(workers: usize, like: &Answer, certificate: Option<&Certificate>) -> Outcome<Self> {
        // A first start shows how many bytes its own headers take, the second one fills up what is missing.
        let plain = Self::start_padded(workers, like, certificate, None)?;
        let own = Client::new().ask(&plain.url)?.header_bytes();
        drop(plain);
        let missing = like.header_bytes().checked_sub(own + PAD_HEADER.len() + 4);
        Self::start_padded(workers, like, certificate, missing)
    }

    pub fn start_padded(
        workers: usize,
        like: &Answer,
        certificate: Option<&Certificate>,
        padding: Option<usize>,
    ) -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        let port = free_port()?;
        let configuration = directory.path().join("nginx.conf");
        let tls = certificate.map(|Certificate { certificate, key, .. }| {
            format!(" ssl;\nssl_certificate {certificate};\nssl_certificate_key {key}")
        });
        // A socket for each worker: with one for all, the first worker to wake takes most connections of a client that opens them at
        // once, and the others idle.
        let listen = format!("127.0.0.1:{port} reuseport{}", tls.as_deref().unwrap_or_default());
        fs::write(&configuration, configure(directory.path(), workers, &listen, like, padding)?)?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(directory.path()).arg("-c").arg(&configuration).args(["-e", "stderr"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = Process::start(&mut command)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://127.0.0.1:{port}");
        let client = Client::new();
        until("nginx to answer", START_BOUND, || {
            process.check_runs()?;
            Ok(client.ask(&url).is_ok_and(|answer| answer.status == 200))
        })?;
        Ok(Self { url, process, _directory: directory })
    }
}

const PAD_HEADER: &str = "X-Pad";

fn configure(
    directory: &Path,
    workers: usize,
    listen: &str,
    like: &Answer,
    padding: Option<usize>,
) -> Outcome<String> {
    // In nginx's quotes only these mean something else than themselves.
    if like.body.contains(['\'', '\\', '$']) {
        return Err("the answer holds characters that nginx would not return as they are".into());
    }
    let pad = padding.map(|bytes| format!("add_header {PAD_HEADER} '{}';", "x".repeat(bytes)));
    let content_type = like.headers.iter().find(|(name, _)| name == "content-type");
    let content_type = content_type.map_or("application/json", |(_, value)| value);
    let scratch: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|user| format!("{user}_temp_path {}/{user};\n", directory.display()))
        .concat();
    Ok(format!(
        "daemon off;\nworker_processes {workers};\npid {directory}/nginx.pid;\nerror_log stderr error;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\naccess_log off;\nkeepalive_requests 1000000000;\nserver_tokens off;\n{scratch}\
         server {{\nlisten {listen};\ndefault_type '{content_type}';\n{pad}\n\
         location / {{ return 200 '{body}'; }}\n}}\n}}\n",
        directory = directory.display(),
        pad = pad.unwrap_or_default(),
        body = like.body,
    ))
}

/// What a server answered under load.
pub struct Answered {
    pub requests: f64,
    /// Requests a second.
    pub rate: f64,
}

/// Puts load on a server.
pub fn wrk(
    url: &str,
    devices: u32,
    load: &Load,
    seed: u32,
    authorization: Option<&str>,
) -> Outcome<Answered> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/random_devices.lua");
    let number = |flag: &str, value: u32| format!("-{flag}{value}");
    let mut command = Command::new("wrk");
    command.args([number("t", load.threads), number("c", load.connections), number("d", load.seconds)]);
    if let Some(value) = authorization {
        command.args(["-H", &format!("Authorization: {value}")]);
    }
    command.arg("-s").arg(script).arg(url).arg("--");
    command.args([devices, TYPES, seed].map(|argument| argument.to_string()));
    let output = command.stdin(Stdio::null()).output()?;
    let report = String::from_utf8_lossy(&output.stdout);
    let figure = |key: &str| report.lines().find_map(|line| line.trim().strip_prefix(key));
    let failed = ["Non-2xx or 3xx responses:", "Socket errors:"].iter().find_map(|key| figure(key));
    let requests =
        report.lines().find_map(|line| line.trim().split_once(" requests in ")).map(|(number, _)| number);
    match (requests, figure("Requests/sec:"), failed) {
        (Some(requests), Some(rate), None) => {
            Ok(Answered { requests: requests.parse()?, rate: rate.trim().parse()? })
        }
        _ => Err(format!("wrk failed:\n{report}{}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}
