//! `devstatus demo`: a broker, a simulated organisation and the service, all in this process. The service is the real one:
//! the same source, ingest and HTTP code as in production.

pub mod broker;
mod speech;

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::broker::EmbeddedBroker;
use self::speech::DemoSpeaker;
use crate::app::{self, NotifySource, StartSettings};
use cli::config::DemoSettings;
use formats::catalog::Formats;
use mqtt::settings::{Endpoint, Transport};
use server::http_settings::HttpSettings;
use server::sync::settings::{ApplicationKind, BrokerIdentity, SourceSettings};
use serving::api::MakeApi;
use simulator::message::Millis;
use simulator::publisher::{PublishError, Publisher};
use simulator::running::{Fleet, Showcase};
use store::settings::StoreSettings;
use system::clock;

/// The embedded broker sends its replay in one go, so a short silence is an end.
const QUIET_INTERVAL: Duration = Duration::from_millis(500);

/// Room between socket and decoder: the messages of some 200,000 devices at once.
const BACKLOG_MAX_BYTES: usize = 64 * 1024 * 1024;

/// How long the service may take to know every device before the demo says that it does not.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Time between two looks at whether the service is ready.
const READY_INTERVAL: Duration = Duration::from_millis(50);

/// Most bytes of an answer that are read when asking whether the service is ready.
const ANSWER_MAX_BYTES: u64 = 4_096;

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("cannot publish the simulated fleet")]
    Publish(#[from] PublishError),
    #[error("cannot start the service")]
    Service(#[from] app::ServeError),
    #[error("the service did not get ready within {} seconds", READY_TIMEOUT.as_secs())]
    NotReady,
    #[error("internal error: the simulated fleet ended unexpectedly")]
    Fleet,
}

/// Runs until shutdown; `say` gets the text for the user once the service knows every device.
pub async fn run(
    settings: DemoSettings,
    make_api: MakeApi,
    shutdown: CancellationToken,
    say: impl FnOnce(&str),
) -> Result<(), DemoError> {
    let broker = EmbeddedBroker::start();
    run_on(broker.address, settings, make_api, shutdown, say).await
}

async fn run_on(
    broker: SocketAddr,
    settings: DemoSettings,
    make_api: MakeApi,
    shutdown: CancellationToken,
    say: impl FnOnce(&str),
) -> Result<(), DemoError> {
    let organization = settings.fleet.organization.clone();
    let (formats, name) = (settings.formats, settings.source);
    let fleet = Fleet::new(settings.fleet, Millis(clock::now_millis()));
    let introduction = Introduction::of(&fleet, &formats, &name);
    // If the service ends, or does not start, the fleet has nobody to publish to.
    let shutdown = shutdown.child_token();
    let _end_all = shutdown.clone().drop_guard();
    let publisher_settings = source(broker, &organization, "fleet");
    let (publisher, populated) = Publisher::new(
        publisher_settings.connect(),
        publisher_settings.identity.client_id(),
        fleet,
        shutdown.clone(),
    );
    let publisher = if formats.are_platform_only() {
        publisher
    } else {
        let mut speaker = DemoSpeaker::of(name);
        publisher.speaking(Box::new(move |message| speaker.speak(&message)))
    };
    let publisher = tokio::spawn(publisher.run());
    // An error here means that the publisher has ended, which is looked into below.
    let started = populated.await.is_ok();
    if started && !shutdown.is_cancelled() {
        let http = HttpSettings { port: settings.port, ..HttpSettings::default() };
        let source = SourceSettings { formats, ..source(broker, &organization, "devstatus") };
        let settings = StartSettings {
            source,
            further: Vec::new(),
            http,
            store: StoreSettings::memory(),
            notify: NotifySource::default(),
        };
        let service = app::start(settings, make_api, shutdown.clone()).await?;
        let address = service.http_address;
        let spoken = tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            ready = timeout(READY_TIMEOUT, ready(address)) => match ready {
                Ok(()) => {
                    say(&introduction.text(address));
                    Ok(())
                }
                Err(_) => {
                    shutdown.cancel();
                    Err(DemoError::NotReady)
                }
            },
        };
        service.wait().await?;
        spoken?;
    }
    publisher.await.map_err(|_| DemoError::Fleet)??;
    Ok(())
}

/// The settings of one client of the embedded broker, told apart by the application's name.
fn source(broker: SocketAddr, organization: &str, application: &str) -> SourceSettings {
    let endpoint = Endpoint {
        transport: Transport::Tcp,
        host: broker.ip().to_string(),
        port: broker.port(),
        path: String::new(),
    };
    let identity = BrokerIdentity {
        organization: organization.to_owned(),
        application: application.to_owned(),
        kind: ApplicationKind::Standalone,
    };
    SourceSettings {
        quiet_interval: QUIET_INTERVAL,
        backlog_max_bytes: BACKLOG_MAX_BYTES,
        ..SourceSettings::new(endpoint, identity)
    }
}

/// What the user is told: a path for each answer there is.
struct Introduction {
    devices: u32,
    examples: Vec<(&'static str, String)>,
}

impl Introduction {
    fn of(fleet: &Fleet, formats: &Formats, source: &str) -> Self {
        let Showcase { connected, disconnected, never_connected } = fleet.showcase();
        let examples = [
            ("a connected device", connected),
            ("a disconnected device", disconnected),
            ("a device that was never connected", never_connected),
        ]
        .into_iter()
        .filter_map(|(what, index)| {
            let device = fleet.device(index?);
            if formats.are_platform_only() {
                return Some((what, format!("/{}/{}", device.device_type, device.device_id)));
            }
            // Of a source that retains nothing, devices become known as they change, and nothing happens to the examples.
            let is_known = !formats.lack_retained();
            speech::path(formats, source, &device.device_id).filter(|_| is_known).map(|path| (what, path))
        })
        .collect();
        Self { devices: fleet.len(), examples }
    }

    fn text(&self, address: SocketAddr) -> String {
        let mut text = format!("{} simulated devices. Ask about them:\n\n", self.devices);
        for (what, path) in &self.examples {
            writeln!(text, "  curl http://{address}{path}    # {what}")
                .expect("writing to a String cannot fail");
        }
        write!(text, "\nOr open http://{address}/ in a browser. Ctrl-C ends the demo.\n")
            .expect("writing to a String cannot fail");
        text
    }
}

/// Waits until the service says that it is ready, asked as a user would ask it.
async fn ready(address: SocketAddr) {
    while !matches!(asked_ready(address).await, Ok(true)) {
        sleep(READY_INTERVAL).await;
    }
}

async fn asked_ready(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let question = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(question.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX_BYTES).read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200 "))
}
