//! `devstatus import`: merges the lines of an export into a store, by the same rule as everything else. So it may be repeated,
//! and a store that knows something newer keeps it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use indicatif::ProgressBar;
use tokio::sync::mpsc::{Sender, channel};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{AT_ONCE, ExchangeError, line, shown};
use store::settings::StoreSettings;
use store::{self, Batch, StoredDevice};

/// Far longer than the line of any device: of such a line only the beginning is read, and then refused.
const LINE_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Batches that are read ahead.
const WAITING_MAX: usize = 4;

/// Merges every line of the file, or of standard input; returns how many there were. The first line that cannot be read
/// ends it; what stands before it is in the store by then.
pub async fn import(
    settings: &StoreSettings,
    file: Option<PathBuf>,
    bar: ProgressBar,
    shutdown: CancellationToken,
) -> Result<u64, ExchangeError> {
    let opened = store::open(settings).await?;
    let (batches, mut received) = channel(WAITING_MAX);
    let (done, read) = oneshot::channel();
    // Not of the runtime, which would wait for it at the end, and so for whoever writes the pipe.
    thread::spawn(move || drop(done.send(read_all(file.as_deref(), &batches, &bar))));
    let mut imported = 0;
    loop {
        let batch = tokio::select! {
            batch = received.recv() => batch,
            () = shutdown.cancelled() => return Err(ExchangeError::Interrupted),
        };
        let Some(devices) = batch else { break };
        imported += devices.len() as u64;
        opened.store.upsert(Arc::new(Batch { devices, ..Batch::default() })).await?;
    }
    read.await.map_err(|_| ExchangeError::Internal)??;
    Ok(imported)
}

fn read_all(
    file: Option<&Path>,
    batches: &Sender<Vec<StoredDevice>>,
    bar: &ProgressBar,
) -> Result<(), ExchangeError> {
    let name = shown(file.map(Path::to_owned).as_ref(), "standard input");
    let failed = |error| ExchangeError::Read(name.clone(), error);
    let mut input: Box<dyn BufRead> = match file {
        None => Box::new(io::stdin().lock()),
        Some(path) => {
            let file = File::open(path).map_err(failed)?;
            bar.set_length(file.metadata().map_err(failed)?.len());
            Box::new(BufReader::new(file))
        }
    };
    let (mut batch, mut text, mut number) = (Vec::new(), Vec::new(), 0);
    loop {
        text.clear();
        let len = input.by_ref().take(LINE_MAX_BYTES).read_until(b'\n', &mut text).map_err(failed)?;
        number += 1;
        let faulty = if len == 0 || text.trim_ascii().is_empty() {
            None
        } else {
            match line::read(&text) {
                Ok(device) => {
                    batch.push(device);
                    None
                }
                Err(why) => Some(ExchangeError::Line { number, why }),
            }
        };
        bar.inc(len as u64);
        let is_over = len == 0 || faulty.is_some();
        if (is_over || batch.len() >= AT_ONCE) && batches.blocking_send(std::mem::take(&mut batch)).is_err() {
            // The store has failed, and says so itself.
            return Ok(());
        }
        match faulty {
            Some(faulty) => return Err(faulty),
            None if is_over => return Ok(()),
            None => {}
        }
    }
}
