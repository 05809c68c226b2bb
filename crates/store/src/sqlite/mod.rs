//! The store in one file, read and written by threads of its own. The file can be read with `sqlite3` meanwhile.

mod encoding;
mod file;
mod merge;
mod prune;
mod read;
mod schema;
mod series;
mod write;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::{io, thread};

use futures_util::future::{BoxFuture, ready};
use rusqlite::Connection;
use tokio::sync::oneshot;

use self::file::{Lock, Unusable};
use self::read::Window;
use self::write::{WriteError, Writing};
use super::{
    Batch, ChangeCursor, Changes, DeliveryLease, DeliveryState, ForgottenDevice, LoadSink, PruneStep,
    ReadDevices, ReadHistory, Retention, Store, StoreError, StoredDevice,
};
use presence::history::{EventPage, HistoryPosition, HistoryRow};
use presence::query::{Page, Scan, Total};
use presence::{DeviceName, UnixSeconds};

/// One file, open for as long as this lives.
pub struct SqliteStore {
    /// Ends before the writer: only a connection that may write moves the log into the file when it is the last to close.
    reader: WorkerThread<ReadWorker>,
    /// `None`: opened to be read only.
    writer: Option<WorkerThread<WriteWorker>>,
    /// Events received before are not shown, pruned yet or not.
    received_since: AtomicU32,
    retention: Retention,
}

impl SqliteStore {
    /// Opens the file, made if need be. A damaged one is set aside; the log says where.
    pub fn open(path: &Path, retention: Retention) -> Result<Self, StoreError> {
        let path = &*file::resolve(path)?;
        let lock = file::take(path)?;
        let writing = match Writing::open(path, retention) {
            Ok(writing) => writing,
            Err(Unusable::Refused(error)) => return Err(error),
            Err(Unusable::Damaged(why)) => {
                tracing::error!(path = %path.display(), why, "the store is damaged");
                begin_anew(path, retention)?.0
            }
        };
        let begun = Arc::new(AtomicU64::new(0));
        let path: Arc<Path> = path.into();
        let writer = WriteWorker {
            writing: Some(writing),
            path: Arc::clone(&path),
            retention,
            begun: Arc::clone(&begun),
            _lock: lock,
        };
        let reader = ReadWorker { connection: None, path: Arc::clone(&path), begun, opened_at: 0 };
        let cannot = |error: io::Error| StoreError::Open { path: path.to_path_buf(), why: error.to_string() };
        let writer = WorkerThread::start("store", writer).map_err(cannot)?;
        let reader = WorkerThread::start("store-read", reader).map_err(cannot)?;
        let writer = Some(writer);
        Ok(Self { writer, reader, received_since: AtomicU32::new(0), retention })
    }

    /// Opens a file that is there, to read it only; another process may write it meanwhile.
    pub fn open_to_read(path: &Path, retention: Retention) -> Result<Self, StoreError> {
        let cannot = |why: String| StoreError::Open { path: path.to_owned(), why };
        let path = &*file::resolve(path)?;
        let connection = file::check(path)?;
        let reader = ReadWorker {
            connection: Some(connection),
            path: path.into(),
            begun: Arc::default(),
            opened_at: 0,
        };
        let reader = WorkerThread::start("store-read", reader).map_err(|error| cannot(error.to_string()))?;
        Ok(Self { writer: None, reader, received_since: AtomicU32::new(0), retention })
    }

    fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Writing) -> Result<T, WriteError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        match &self.writer {
            Some(writer) => writer.ask(move |writer| writer.run(write)),
            None => Box::pin(ready(Err(StoreError::ReadOnly))),
        }
    }

    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, WriteError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        self.reader.ask(move |reader| reader.run(read))
    }
}

type Job<W> = Box<dyn FnOnce(&mut W) + Send>;

/// What a thread has for itself.
trait Worker: Send + 'static {
    /// Drops what a job that has failed may have left half done; the next job opens it again.
    fn reset(&mut self);
}

impl Worker for WriteWorker {
    fn reset(&mut self) {
        self.writing = None;
    }
}

impl Worker for ReadWorker {
    fn reset(&mut self) {
        self.connection = None;
    }
}

/// A thread with something that only it uses. Those who ask it wait for its answers, so what waits is bounded by them. A job that
/// fails has no answer, and the thread goes on with the next.
struct WorkerThread<W> {
    jobs: Option<mpsc::Sender<Job<W>>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl<W: Worker> WorkerThread<W> {
    fn start(name: &str, mut own: W) -> io::Result<Self> {
        let (sender, jobs) = mpsc::channel::<Job<W>>();
        let run = move || {
            for job in jobs {
                if catch_unwind(AssertUnwindSafe(|| job(&mut own))).is_err() {
                    own.reset();
                }
            }
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { jobs: Some(sender), thread: Some(thread) })
    }

    fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut W) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let (answer, answered) = oneshot::channel();
        if let Some(jobs) = &self.jobs {
            // An error drops the sender of the answer. Whoever asked may have gone.
            let _ = jobs.send(Box::new(move |own| drop(answer.send(job(own)))));
        }
        Box::pin(async { answered.await.unwrap_or(Err(StoreError::Ended)) })
    }
}

impl<W> Drop for WorkerThread<W> {
    /// Waits for the end of the last job, so that the file is free again.
    fn drop(&mut self) {
        self.jobs = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("internal error: a thread of the store ended unexpectedly");
        }
    }
}

fn begin_anew(path: &Path, retention: Retention) -> Result<(Writing, PathBuf), StoreError> {
    let cannot = |why: String| StoreError::Open { path: path.to_owned(), why };
    let aside = file::set_aside(path).map_err(|error| cannot(error.to_string()))?;
    tracing::error!(set_aside = %aside.display(), "a damaged store was set aside, and a new one is begun");
    match Writing::open(path, retention) {
        Ok(writing) => Ok((writing, aside)),
        Err(Unusable::Refused(error)) => Err(error),
        Err(Unusable::Damaged(why)) => Err(cannot(why)),
    }
}

/// What the writing thread holds.
struct WriteWorker {
    /// `None` while a new file could not be begun.
    writing: Option<Writing>,
    path: Arc<Path>,
    retention: Retention,
    /// How often a file was begun anew.
    begun: Arc<AtomicU64>,
    /// After the connection, so that it is closed before another process may come.
    _lock: Lock,
}

impl WriteWorker {
    fn run<T>(&mut self, write: impl FnOnce(&mut Writing) -> Result<T, WriteError>) -> Result<T, StoreError> {
        let writing = match &mut self.writing {
            Some(writing) => writing,
            none => none.insert(reopened(&self.path, self.retention)?),
        };
        match write(writing) {
            Ok(done) => Ok(done),
            Err(WriteError::Failed(error)) if file::is_refusal(&error) => {
                Err(StoreError::Refused(error.to_string()))
            }
            Err(WriteError::Failed(error)) => Err(StoreError::Write(error.to_string())),
            Err(WriteError::Damaged) => Err(self.begin_anew()),
        }
    }

    fn begin_anew(&mut self) -> StoreError {
        self.writing = None;
        match begin_anew(&self.path, self.retention) {
            Ok((writing, set_aside)) => {
                self.writing = Some(writing);
                self.begun.fetch_add(1, Ordering::Release);
                StoreError::BegunAnew { set_aside }
            }
            Err(error) => error,
        }
    }
}

fn reopened(path: &Path, retention: Retention) -> Result<Writing, StoreError> {
    match Writing::open(path, retention) {
        Ok(writing) => Ok(writing),
        Err(Unusable::Refused(error)) => Err(error),
        Err(Unusable::Damaged(why)) => Err(StoreError::Open { path: path.to_owned(), why }),
    }
}

/// What the reading thread holds.
struct ReadWorker {
    connection: Option<Connection>,
    path: Arc<Path>,
    begun: Arc<AtomicU64>,
    /// Of which beginning the connection is.
    opened_at: u64,
}

impl ReadWorker {
    fn run<T>(&mut self, read: impl FnOnce(&Connection) -> Result<T, WriteError>) -> Result<T, StoreError> {
        let begun = self.begun.load(Ordering::Acquire);
        let failed = |error: rusqlite::Error| StoreError::Read(error.to_string());
        let connection = match &mut self.connection {
            Some(connection) if self.opened_at == begun => connection,
            stale => {
                self.opened_at = begun;
                stale.insert(file::open_to_read(&self.path).map_err(failed)?)
            }
        };
        read(connection).map_err(|error| match error {
            WriteError::Failed(error) => failed(error),
            // The writer will find it, too, and then begins anew.
            WriteError::Damaged => StoreError::Read("the store is damaged".to_owned()),
        })
    }
}

impl ReadDevices for SqliteStore {
    fn read(&self, names: Vec<DeviceName>) -> BoxFuture<'_, Result<Vec<StoredDevice>, StoreError>> {
        self.read(move |connection| read::named(connection, names))
    }

    fn totals(&self) -> BoxFuture<'_, Result<Vec<Total>, StoreError>> {
        self.read(read::totals)
    }

    fn list(&self, scan: Scan) -> BoxFuture<'_, Result<Page<StoredDevice>, StoreError>> {
        self.read(move |connection| read::list(connection, &scan))
    }
}

impl ReadHistory for SqliteStore {
    fn history(
        &self,
        name: DeviceName,
        before: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<HistoryRow>, StoreError>> {
        let received_since = UnixSeconds(self.received_since.load(Ordering::Relaxed));
        let window = Window { before, limit, per_device: self.retention.per_device, received_since };
        self.read(move |connection| read::history(connection, &name, &window))
    }

    fn events(
        &self,
        after: HistoryPosition,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<EventPage>, StoreError>> {
        self.read(move |connection| read::events(connection, after, limit).map(Some))
    }
}

impl Store for SqliteStore {
    fn upsert(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.write(move |writing| writing.upsert(&batch))
    }

    fn load(&self, sink: Arc<dyn LoadSink>) -> BoxFuture<'_, Result<(), StoreError>> {
        match &self.writer {
            // By the writing thread, which sets a file aside that turns out to be damaged.
            Some(writer) => writer.ask(move |writer| {
                let path = Arc::clone(&writer.path);
                writer.run(|_| read::load(&path, &*sink))
            }),
            None => self.reader.ask(move |reader| {
                let path = Arc::clone(&reader.path);
                reader.run(|_| read::load(&path, &*sink))
            }),
        }
    }

    fn changes(&self, since: ChangeCursor, limit: usize) -> BoxFuture<'_, Result<Changes, StoreError>> {
        self.read(move |connection| read::changes(connection, &since, limit))
    }

    fn cursor(&self) -> BoxFuture<'_, Result<ChangeCursor, StoreError>> {
        self.read(read::cursor)
    }

    fn prune(&self, received_before: UnixSeconds) -> BoxFuture<'_, Result<PruneStep, StoreError>> {
        self.received_since.store(received_before.0, Ordering::Relaxed);
        self.write(move |writing| writing.prune(received_before))
    }

    fn retention_time(&self) -> BoxFuture<'_, Result<Option<UnixSeconds>, StoreError>> {
        self.write(Writing::retention_time)
    }

    fn set_retention_time(&self, time: UnixSeconds) -> BoxFuture<'_, Result<(), StoreError>> {
        self.write(move |writing| writing.set_retention_time(time))
    }

    fn delivery_states(&self) -> BoxFuture<'_, Result<Vec<DeliveryState>, StoreError>> {
        self.write(|writing| writing.delivery_states())
    }

    fn delivery_states_of(
        &self,
        names: Vec<String>,
    ) -> BoxFuture<'_, Result<Vec<DeliveryState>, StoreError>> {
        self.write(move |writing| writing.delivery_states_of(&names))
    }

    fn set_delivery_state(
        &self,
        _lease: &DeliveryLease,
        name: &str,
        state: Option<String>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let name = name.to_owned();
        self.write(move |writing| writing.set_delivery_state(&name, state.as_deref()).map(|()| true))
    }

    fn expire(&self, names: Vec<DeviceName>, before_nanos: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        self.write(move |writing| writing.expire(&names, before_nanos))
    }

    fn forget(&self, device: ForgottenDevice) -> BoxFuture<'_, Result<(), StoreError>> {
        self.write(move |writing| writing.forget(&device.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_that_fails_takes_nothing_from_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let store =
            SqliteStore::open(&directory.path().join("store.db"), Retention { per_device: 9 }).unwrap();
        let read = store.read(|_| -> Result<(), WriteError> { panic!("a test wants this job to fail") });
        assert!(matches!(read.await, Err(StoreError::Ended)));
        let written = store.write(|_| -> Result<(), WriteError> { panic!("a test wants this job to fail") });
        assert!(matches!(written.await, Err(StoreError::Ended)));
        assert_eq!(store.write(|_| Ok(7)).await.unwrap(), 7);
        assert!(store.read(read::totals).await.unwrap().is_empty());
    }
}
