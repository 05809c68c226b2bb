//! Listens for the database's notifications, on a connection of its own that is made again whenever it breaks.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, NoTls, Socket};

use super::connect::SESSION;
use super::statements::quoted;
use super::tls::Encryption;

/// Between two attempts to connect; meanwhile everybody looks from time to time.
const RETRY: Duration = Duration::from_secs(1);

/// How often something is sent over the connection: proxies end one on which nothing happens, many after 30 or 60 s.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Connections that were lost within [`PING_INTERVAL`], one after the other, until the log tells of it.
const SHORT_MAX: u32 = 3;

/// Passes the change notifications of the database on until it is dropped.
pub struct ChangeListener {
    notify: Arc<Notify>,
    listening: JoinHandle<()>,
}

impl ChangeListener {
    pub fn new(config: tokio_postgres::Config, encryption: Option<Encryption>, channel: &str) -> Self {
        let notify = Arc::new(Notify::new());
        let (notified, listen) = (Arc::clone(&notify), format!("LISTEN {}", quoted(channel)));
        let listening = tokio::spawn(async move {
            let mut short = 0;
            loop {
                let began_at = Instant::now();
                let ended = match &encryption {
                    Some(encryption) => {
                        listen_until_it_breaks(&config, encryption.clone(), &listen, &notified).await
                    }
                    None => listen_until_it_breaks(&config, NoTls, &listen, &notified).await,
                };
                if let Err(error) = ended {
                    tracing::debug!(%error, "no notifications from the database at present");
                }
                // One that could not be made at all ends at once, and is told of by those who write.
                let is_short = (RETRY..PING_INTERVAL).contains(&began_at.elapsed());
                short = if is_short { short + 1 } else { 0 };
                if short == SHORT_MAX {
                    let seconds = began_at.elapsed().as_secs();
                    tracing::warn!(
                        seconds,
                        "connections to the database on which nothing happens are ended soon, as by a proxy's timeout: what \
                         other instances change is found by asking every half second"
                    );
                }
                sleep(RETRY).await;
            }
        });
        Self { notify, listening }
    }

    /// Waits for the next notification; one that came while nobody waited counts.
    pub async fn wait(&self) {
        self.notify.notified().await;
    }
}

impl Drop for ChangeListener {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen_until_it_breaks<T>(
    config: &tokio_postgres::Config,
    tls: T,
    listen: &str,
    notified: &Notify,
) -> Result<(), tokio_postgres::Error>
where
    T: MakeTlsConnect<Socket>,
{
    let (client, mut connection) = config.connect(tls).await?;
    let messages = async {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(_) = message? {
                notified.notify_one();
            }
        }
        Ok(())
    };
    let listening = async {
        for setting in SESSION {
            // A server that does not know it is used all the same.
            client.batch_execute(setting).await.ok();
        }
        client.batch_execute(listen).await?;
        // Changes before this moment came with no notification.
        notified.notify_one();
        loop {
            sleep(PING_INTERVAL).await;
            client.batch_execute("").await?;
        }
    };
    // The connection is what carries the statement, so both go on together.
    tokio::select! {
        ended = messages => ended,
        refused = listening => refused,
    }
}
