//! From the settings to a store.

use std::sync::Arc;

use super::memory::MemoryStore;
use super::postgres::PostgresStore;
use super::settings::{Location, StoreSettings};
use super::sqlite::SqliteStore;
use super::valkey::ValkeyStore;
use super::{Retention, Store, StoreError};

/// A store that can be used.
pub struct Opened {
    pub store: Arc<dyn Store>,
    /// Whether other instances may write it, too, so that their changes are worth following.
    pub shared: bool,
    /// Whether it outlives the process, so that it is worth giving it the devices: a second copy of all of them in the
    /// same memory serves nobody.
    pub outlives: bool,
}

/// Opens a store that is there, to read it only. A file may be in use by another process meanwhile.
pub async fn open_to_read(settings: &StoreSettings) -> Result<Arc<dyn Store>, StoreError> {
    match &settings.location {
        Location::Sqlite(path) => Ok(Arc::new(SqliteStore::open_to_read(path, retention(settings))?)),
        Location::Memory | Location::Postgres(_) | Location::Valkey(_) => Ok(open(settings).await?.store),
    }
}

fn retention(settings: &StoreSettings) -> Retention {
    Retention { per_device: usize::try_from(settings.history_per_device).unwrap_or(usize::MAX) }
}

/// Opens or makes the store.
pub async fn open(settings: &StoreSettings) -> Result<Opened, StoreError> {
    let retention = retention(settings);
    Ok(match &settings.location {
        Location::Memory => {
            Opened { store: Arc::new(MemoryStore::new(retention)), shared: false, outlives: false }
        }
        Location::Sqlite(path) => {
            let store = SqliteStore::open(path, retention)?;
            Opened { store: Arc::new(store), shared: false, outlives: true }
        }
        Location::Postgres(server) => {
            let store = PostgresStore::open(server, settings, retention).await?;
            Opened { store: Arc::new(store), shared: true, outlives: true }
        }
        Location::Valkey(server) => {
            let ca_file = settings.ca_file.as_deref();
            let store = ValkeyStore::open(server, ca_file, &settings.schema, retention).await?;
            Opened { store: Arc::new(store), shared: true, outlives: true }
        }
    })
}
