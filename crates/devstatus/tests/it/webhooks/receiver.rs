//! An endpoint of webhooks that records what it is sent and answers as it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use testkit::{PATIENCE, peers, poll};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The secret of every test.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// One request, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub path: String,
    pub id: String,
    timestamp: String,
    signature: String,
    pub content_type: String,
    /// The lines of its head.
    pub head: Vec<String>,
    pub body: String,
}

/// The value of a header; empty: there is none.
fn header(head: &[String], name: &str) -> String {
    let lines = head.iter().skip(1).filter_map(|line| line.split_once(": "));
    let found = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    found.map(str::to_owned).next().unwrap_or_default()
}

impl Delivery {
    /// A request with these lines of its head.
    pub fn of(head: Vec<String>, body: String) -> Self {
        Self {
            path: head[0].clone(),
            id: header(&head, "webhook-id"),
            timestamp: header(&head, "webhook-timestamp"),
            signature: header(&head, "webhook-signature"),
            content_type: header(&head, "content-type"),
            head,
            body,
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a body is JSON")
    }

    /// How many signatures it has.
    pub fn signatures(&self) -> usize {
        self.signature.split(' ').count()
    }

    /// Type, device and time, shortly.
    pub fn summary(&self) -> String {
        let body = self.json();
        let event_type = body["type"].as_str().unwrap_or_default();
        match body["data"]["id"].as_str() {
            Some(id) => {
                format!("{event_type} {id} {}", &body["timestamp"].as_str().unwrap_or_default()[14..19])
            }
            None => format!("{event_type} {}", body["data"]["reason"].as_str().unwrap_or_default()),
        }
    }
}

/// What is answered.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    Status(u16),
    /// A status with a line of its head.
    With(u16, &'static str),
    /// Half of a head, and the end of the connection.
    CutInHead,
    /// Success with half of its body, and the end of the connection.
    CutInBody,
    /// Success, a second later or once the endpoint is released.
    Slow,
    /// Nothing, until the endpoint is released.
    Held,
}

type Script = Box<dyn Fn(&Delivery, usize) -> Reply + Send>;

struct Shared {
    deliveries: Vec<Delivery>,
    /// Those of them that were answered with success.
    taken: Vec<Delivery>,
    script: Script,
    is_released: bool,
}

/// The endpoint; it listens until the test ends.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<(Mutex<Shared>, Condvar)>,
}

impl Receiver {
    /// Answers each request as the script says, which is given the request and its number from 0.
    pub fn start(script: impl Fn(&Delivery, usize) -> Reply + Send + 'static) -> Self {
        Self::start_over(None, script)
    }

    /// The same over TLS with that configuration.
    pub fn start_over(
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(&Delivery, usize) -> Reply + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Shared {
            deliveries: Vec::new(),
            taken: Vec::new(),
            script: Box::new(script),
            is_released: false,
        };
        let shared = Arc::new((Mutex::new(shared), Condvar::new()));
        let of_listener = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, tls) = (Arc::clone(&of_listener), tls.clone());
                // A connection that the service has left is of no interest.
                thread::spawn(move || match tls {
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).expect("a configuration is in order");
                        drop(serve(StreamOwned::new(connection, stream), &shared));
                    }
                    None => drop(serve(stream, &shared)),
                });
            }
        });
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook?token=a%20b", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn set_script(&self, script: impl Fn(&Delivery, usize) -> Reply + Send + 'static) {
        self.shared.0.lock().expect("no holder has failed").script = Box::new(script);
    }

    /// Ends the waiting of all requests that are held, now and later.
    pub fn release(&self) {
        self.shared.0.lock().expect("no holder has failed").is_released = true;
        self.shared.1.notify_all();
    }

    /// Every request so far.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.0.lock().expect("no holder has failed").deliveries.clone()
    }

    /// Those that were answered with success.
    pub fn taken(&self) -> Vec<Delivery> {
        self.shared.0.lock().expect("no holder has failed").taken.clone()
    }

    /// Waits for so many requests.
    pub fn wait_for(&self, number: usize) -> Vec<Delivery> {
        let found = poll(PATIENCE, || Some(self.deliveries()).filter(|found| found.len() >= number));
        found.unwrap_or_else(|| panic!("{number} deliveries, not {:#?}", self.deliveries()))
    }

    /// Waits for so many requests that were answered with success.
    pub fn wait_for_taken(&self, number: usize) -> Vec<Delivery> {
        let found = poll(PATIENCE, || Some(self.taken()).filter(|found| found.len() >= number));
        found.unwrap_or_else(|| panic!("{number} deliveries taken, not {:#?}", self.taken()))
    }
}

/// Has the official package verify all of these.
pub fn verify(deliveries: &[Delivery]) {
    verify_with(SECRET, deliveries);
}

/// The same with another secret.
pub fn verify_with(secret: &str, deliveries: &[Delivery]) {
    let verdicts = verdicts(secret, deliveries);
    assert_eq!(verdicts, vec!["verified"; deliveries.len()], "{deliveries:#?}");
}

/// What the official package says of each.
pub fn verdicts(secret: &str, deliveries: &[Delivery]) -> Vec<String> {
    let asked: Vec<_> = deliveries
        .iter()
        .map(|delivery| {
            let headers = json!({
                "webhook-id": delivery.id,
                "webhook-timestamp": delivery.timestamp,
                "webhook-signature": delivery.signature,
            });
            json!({"secret": secret, "headers": headers, "body": delivery.body})
        })
        .collect();
    let verdicts = peers::run("verify_webhooks.py", &json!(asked).to_string());
    verdicts.lines().map(str::to_owned).collect()
}

fn serve(stream: impl Read + Write, shared: &(Mutex<Shared>, Condvar)) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(delivery) = read(&mut reader)? {
        let mut guard = shared.0.lock().expect("no holder has failed");
        let reply = (guard.script)(&delivery, guard.deliveries.len());
        guard.deliveries.push(delivery.clone());
        let (status, more) = match reply {
            Reply::Status(status) => (status, ""),
            Reply::With(status, more) => (status, more),
            Reply::CutInHead => {
                drop(guard);
                reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Le")?;
                return Ok(());
            }
            Reply::CutInBody => {
                guard.taken.push(delivery);
                drop(guard);
                reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")?;
                return Ok(());
            }
            Reply::Slow => {
                let is_held = |shared: &mut Shared| !shared.is_released;
                let waited = shared.1.wait_timeout_while(guard, Duration::from_secs(1), is_held);
                guard = waited.expect("no holder has failed").0;
                (200, "")
            }
            Reply::Held => {
                drop(shared.1.wait_while(guard, |shared| !shared.is_released).expect("no holder has failed"));
                return Ok(());
            }
        };
        if status / 100 == 2 {
            guard.taken.push(delivery);
        }
        drop(guard);
        let head = format!("HTTP/1.1 {status} Some Reason\r\n{more}Content-Length: 2\r\n\r\nok");
        reader.get_mut().write_all(head.as_bytes())?;
    }
    Ok(())
}

/// The next request of a connection; `None` at its end.
fn read(reader: &mut impl BufRead) -> std::io::Result<Option<Delivery>> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let mut body = vec![0; header(&head, "content-length").parse().unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok(Some(Delivery::of(head, String::from_utf8(body).expect("a body is text"))))
}
