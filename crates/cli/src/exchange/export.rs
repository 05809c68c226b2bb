//! `devstatus export`: everything that a store keeps of the devices, as lines. A file of SQLite may be in use by the service
//! meanwhile.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use indicatif::ProgressBar;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::settings::ExportFormat;
use super::{ExchangeError, csv, line, shown};
use presence::csv::Cells;
use store::settings::StoreSettings;
use store::{self, LoadSink, StoredDevice};
use system::files::Replacement;

/// Batches that wait to be written; then the store is read no faster than that.
const WAITING_MAX: usize = 4;

/// Writes every device to the file, or to standard output; returns how many there were. A reader that ends early, as `head`
/// does, is no fault.
///
/// A regular file is replaced once all is written, so that under its name there is all or nothing; a pipe or a device is written
/// to directly.
pub async fn export(
    settings: &StoreSettings,
    format: ExportFormat,
    file: Option<PathBuf>,
    bar: ProgressBar,
    shutdown: CancellationToken,
) -> Result<u64, ExchangeError> {
    let store = store::open_to_read(settings).await?;
    let (devices, received) = sync_channel(WAITING_MAX);
    let sink = Arc::new(ToWriter { devices, bar: bar.clone() });
    let (done, written) = oneshot::channel();
    // Not of the runtime, which would wait for it at the end, and so for the reader of the pipe.
    thread::spawn(move || drop(done.send(write_all(&received, format, file.as_deref(), &bar))));
    let (loaded, written) = tokio::select! {
        // The sink goes with the loading, and with it what the writer waits for.
        ended = async { tokio::join!(store.load(sink), written) } => ended,
        () = shutdown.cancelled() => return Err(ExchangeError::Interrupted),
    };
    let ExportOutput { devices, file } = written.map_err(|_| ExchangeError::Internal)??;
    loaded?;
    if let Some((path, replacement)) = file {
        replacement.commit().map_err(|error| ExchangeError::Write(path.display().to_string(), error))?;
    }
    Ok(devices)
}

struct ToWriter {
    devices: SyncSender<Vec<StoredDevice>>,
    bar: ProgressBar,
}

impl LoadSink for ToWriter {
    fn expect(&self, devices: usize) {
        self.bar.set_length(devices as u64);
    }

    fn take(&self, devices: Vec<StoredDevice>) {
        // A writer that has ended says why itself.
        let _ = self.devices.send(devices);
    }
}

/// What was written: how many devices, and the file that waits to be put in force.
struct ExportOutput {
    devices: u64,
    file: Option<(PathBuf, Replacement)>,
}

fn write_all(
    batches: &Receiver<Vec<StoredDevice>>,
    format: ExportFormat,
    file: Option<&Path>,
    bar: &ProgressBar,
) -> Result<ExportOutput, ExchangeError> {
    let name = shown(file.map(Path::to_owned).as_ref(), "standard output");
    let failed = |error| ExchangeError::Write(name.clone(), error);
    let mut written = ExportOutput { devices: 0, file: None };
    let out: &mut dyn Write = match file {
        None => &mut io::stdout().lock(),
        Some(path) => {
            let replacement = Replacement::begin(path).map_err(failed)?;
            &mut written.file.insert((path.to_owned(), replacement)).1
        }
    };
    let mut out = BufWriter::new(out);
    let mut count = 0;
    let done = write_lines(&mut out, batches, format, |devices| {
        count += devices;
        bar.set_position(count);
    });
    let done = done.and_then(|()| out.flush().map_err(ExportEnd::Io));
    drop(out);
    written.devices = count;
    match done {
        Ok(()) => Ok(written),
        Err(ExportEnd::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(written),
        Err(ExportEnd::Io(error)) => Err(failed(error)),
        Err(ExportEnd::NotText(device)) => Err(ExchangeError::NotText(device)),
    }
}

enum ExportEnd {
    Io(io::Error),
    NotText(String),
}

fn write_lines(
    out: &mut impl Write,
    batches: &Receiver<Vec<StoredDevice>>,
    format: ExportFormat,
    mut written: impl FnMut(u64),
) -> Result<(), ExportEnd> {
    if format != ExportFormat::JsonLines {
        out.write_all(csv::HEAD.as_bytes()).map_err(ExportEnd::Io)?;
    }
    for batch in batches {
        for device in &batch {
            let line = match format {
                ExportFormat::JsonLines => line::write(device),
                ExportFormat::Csv => csv::write(device, Cells::Exact),
                ExportFormat::CsvForSpreadsheet => csv::write(device, Cells::WithoutFormulas),
            };
            let line = line.ok_or_else(|| {
                ExportEnd::NotText(format!("{}/{}", device.name.device_type, device.name.id))
            })?;
            out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")).map_err(ExportEnd::Io)?;
        }
        written(batch.len() as u64);
    }
    Ok(())
}
