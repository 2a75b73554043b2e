//! The components that were uploaded: their bytes, what was found in them, and their names.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension};

use super::super::blobs::Hash;
use super::super::{Error, StoredComponent};
use super::SqliteStore;
use crate::task::Digest;

impl SqliteStore {
    /// Keeps a component; `names` are added to those it has, and taken from others. False if it was known.
    pub async fn keep_component(
        &self,
        component: StoredComponent,
        bytes: std::sync::Arc<[u8]>,
    ) -> Result<bool, Error> {
        // Always a file: it is read whole, and a page cache of the database has better uses.
        let bytes = self.keep_as_file(bytes).await?;
        let keep = move |db: &Connection| {
            let StoredComponent { tenant, digest, created_ms, names, about } = &component;
            let mut insert = db.prepare_cached(
                "INSERT INTO components VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET about = excluded.about,
                    bytes_blob = excluded.bytes_blob",
            )?;
            let known = db
                .prepare_cached("SELECT 1 FROM components WHERE tenant = ? AND digest = ?")?
                .exists((tenant, digest.as_bytes()))?;
            insert.execute((tenant, digest.as_bytes(), created_ms, about, bytes.hash()))?;
            for name in names {
                let mut move_name =
                    db.prepare_cached("INSERT OR REPLACE INTO component_names VALUES (?, ?, ?)")?;
                move_name.execute((tenant, name, digest.as_bytes()))?;
            }
            Ok(!known)
        };
        self.writer.write(keep).await
    }

    /// Forgets a component and its names.
    pub async fn remove_component(&self, tenant: &str, digest: Digest) -> Result<(), Error> {
        let tenant = tenant.to_owned();
        let remove = move |db: &Connection| {
            let key = (&tenant, digest.as_bytes());
            db.execute("DELETE FROM component_names WHERE tenant = ? AND digest = ?", key)?;
            let mut select =
                db.prepare_cached("SELECT bytes_blob FROM components WHERE tenant = ? AND digest = ?")?;
            let blobs =
                select.query_map(key, |row| row.get::<_, Hash>(0))?.collect::<rusqlite::Result<_>>()?;
            db.execute("DELETE FROM components WHERE tenant = ? AND digest = ?", key)?;
            Ok(blobs)
        };
        let blobs = self.writer.write(remove).await?;
        self.release(blobs).await.map(drop)
    }

    /// Every component of every tenant.
    pub async fn components(&self) -> Result<Vec<StoredComponent>, Error> {
        let read = |db: &Connection| {
            let mut names: HashMap<(String, [u8; 32]), Vec<String>> = HashMap::new();
            let mut select = db.prepare("SELECT tenant, digest, name FROM component_names ORDER BY name")?;
            let rows = select.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
            for row in rows {
                let (key, name) = row?;
                names.entry(key).or_default().push(name);
            }
            let mut select = db.prepare("SELECT tenant, digest, created, about FROM components")?;
            let rows = select.query_map([], |row| {
                let (tenant, digest): (String, [u8; 32]) = (row.get(0)?, row.get(1)?);
                Ok(StoredComponent {
                    names: names.get(&(tenant.clone(), digest)).cloned().unwrap_or_default(),
                    digest: Digest::from_bytes(digest),
                    tenant,
                    created_ms: row.get(2)?,
                    about: row.get(3)?,
                })
            })?;
            rows.collect()
        };
        self.readers.read(read).await
    }

    /// The bytes of a component, whoever uploaded them.
    pub async fn component_bytes(&self, digest: Digest) -> Result<Option<Vec<u8>>, Error> {
        let blobs = self.blobs.clone();
        let read = move |db: &Connection| {
            let select = "SELECT bytes_blob FROM components WHERE digest = ? LIMIT 1";
            let hash: Option<Hash> =
                db.query_row(select, [digest.as_bytes()], |row| row.get(0)).optional()?;
            Ok(hash.map(|hash| blobs.read(&hash)))
        };
        match self.readers.read(read).await? {
            None => Ok(None),
            Some(bytes) => bytes.map(Some).map_err(|error| Error::Unreadable(error.to_string())),
        }
    }
}
