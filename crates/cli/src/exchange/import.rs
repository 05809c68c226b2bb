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
use presence::DeviceName;
use store::settings::StoreSettings;
use store::{self, Batch, Store, StoreError, StoredDevice};

/// Far longer than the line of any device: of such a line only the beginning is read, and then refused.
const LINE_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Batches that are read ahead.
const WAITING_MAX: usize = 4;

/// Devices that the store refuses which the log names; all are counted.
const REFUSED_LOGGED_MAX: u64 = 10;

/// What has become of the devices so far.
#[derive(Default)]
struct ImportProgress {
    imported: u64,
    refused: u64,
    /// The first device that was refused, and why.
    first_refused: Option<(DeviceName, String)>,
}

impl ImportProgress {
    fn refuse(&mut self, name: &DeviceName, why: String) {
        self.refused += 1;
        if self.refused <= REFUSED_LOGGED_MAX {
            let (device_type, id) = (&*name.device_type, &*name.id);
            tracing::warn!(device_type, id, why, "the store refuses a device");
        }
        self.first_refused.get_or_insert_with(|| (name.clone(), why));
    }

    /// Merges devices. Those that the store refuses keep no other from being merged.
    async fn merge(&mut self, store: &dyn Store, devices: Vec<StoredDevice>) -> Result<(), StoreError> {
        let (refused, devices): (Vec<_>, Vec<_>) =
            devices.into_iter().partition(|device| store.refuses(device.name.device()).is_some());
        for device in refused {
            let why = store.refuses(device.name.device()).unwrap_or_default().to_owned();
            self.refuse(&device.name, why);
        }
        let mut parts = vec![devices];
        while let Some(devices) = parts.pop() {
            if devices.is_empty() {
                continue;
            }
            let batch = Arc::new(Batch { devices, ..Batch::default() });
            match store.upsert(Arc::clone(&batch)).await {
                Ok(()) => self.imported += batch.devices.len() as u64,
                Err(StoreError::Refused(why)) => match &*batch.devices {
                    [device] => self.refuse(&device.name, why),
                    devices => {
                        let (first, second) = devices.split_at(devices.len() / 2);
                        parts.extend([second.to_vec(), first.to_vec()]);
                    }
                },
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Merges every line of the file, or of standard input; returns how many there were. The first line that cannot be read
/// ends it; what comes before it is in the store by then. Devices that the store refuses are an error, once all others are in it.
pub async fn import(
    settings: &StoreSettings,
    file: Option<PathBuf>,
    bar: ProgressBar,
    shutdown: CancellationToken,
) -> Result<u64, ExchangeError> {
    let opened = store::open(settings).await?;
    let (batches, mut received) = channel(WAITING_MAX);
    let (done, read) = oneshot::channel();
    // Not of the runtime, which would wait for it at the end, and so for the writer of the pipe.
    thread::spawn(move || drop(done.send(read_all(file.as_deref(), &batches, &bar))));
    let mut progress = ImportProgress::default();
    loop {
        let batch = tokio::select! {
            batch = received.recv() => batch,
            () = shutdown.cancelled() => return Err(ExchangeError::Interrupted),
        };
        let Some(devices) = batch else { break };
        progress.merge(&*opened.store, devices).await?;
    }
    read.await.map_err(|_| ExchangeError::Internal)??;
    let ImportProgress { imported, refused, first_refused } = progress;
    match first_refused {
        Some((DeviceName { device_type, id }, why)) => {
            Err(ExchangeError::Refused { imported, refused, first: format!("{device_type}/{id}: {why}") })
        }
        None => Ok(imported),
    }
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
