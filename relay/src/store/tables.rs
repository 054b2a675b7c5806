//! The open LMDB environment and its tables, typed.

use heed::types::Bytes;
use heed::{CommitOrAbort, Env, EnvOpenOptions, RoTxn, RwTxn, WithoutTls};
use hushwire_wire::id::{AccountId, DeviceId, RelayId};

use super::codec::{self, Installation, KEY_INSTALLATION, KEY_SCHEMA, Record, Schema, Table};
use super::directory::{Directory, system};
use super::error::{Fault, is_structural};
use super::verify::{Flaw, verify};
use super::{Meta, StoreError};

/// The schema this program writes.
const SCHEMA: u32 = 1;
/// Room for tables of later versions, which [`StoreError::Newer`] is then told apart by.
const DATABASES_MAX: u32 = 32;
/// Reader slots: two readers, the writer's own reads, one spare.
const READERS_MAX: u32 = 8;

type Raw<'t> = heed::Database<'t, Bytes, Bytes>;
/// A key and its record, `None` if that is damaged.
pub(super) type Entry<'t, R> = Result<(&'t [u8], Option<R>), Fault>;
pub(super) type ReadTxn<'e> = RoTxn<'e, WithoutTls>;

/// An open environment. Dropping it closes the file; no transaction may then be alive, which the
/// borrows of heed's transactions guarantee.
pub(super) struct Tables {
    env: Env<WithoutTls>,
    tables: [Raw<'static>; Table::ALL.len()],
    map_bytes: usize,
}

impl Tables {
    /// Checks the file page by page, then opens it with a map of at least `map_bytes`.
    ///
    /// `random` is called only when the file is new.
    pub(super) fn open_checked(
        directory: &Directory,
        map_bytes: usize,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(Self, Meta), StoreError> {
        if directory.has_data()? {
            verify(&directory.data()).map_err(|flaw| match flaw {
                Flaw::Foreign(what) => StoreError::Foreign { path: directory.data(), what },
                Flaw::Damaged(what) => StoreError::Corrupt { path: directory.data(), what },
                Flaw::System(error) => error,
            })?;
        }
        let tables = Self::open(directory, map_bytes, random)?;
        let meta = tables.meta(directory)?;
        Ok((tables, meta))
    }

    /// Opens without the check: for a file that this process has had open already.
    pub(super) fn open(
        directory: &Directory,
        map_bytes: usize,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Self, StoreError> {
        let env = map(directory, map_bytes).map_err(|error| blame(directory, error))?;
        let map_bytes = env.info().map_size;
        let tables = create_tables(&env, directory, random).map_err(|fault| match fault {
            Fault::Lmdb(error) => blame(directory, error),
            Fault::Value(table) => StoreError::CorruptValue { table },
            Fault::Store(error) => error,
        })?;
        Ok(Self { env, tables, map_bytes })
    }

    fn meta(&self, directory: &Directory) -> Result<Meta, StoreError> {
        let read = || -> Result<Option<Installation>, Fault> {
            let txn = self.read()?;
            self.get::<Installation>(&txn, KEY_INSTALLATION)
        };
        match read() {
            Ok(Some(Installation { relay_id, home_key, steering })) => {
                Ok(Meta { schema: SCHEMA, relay_id, home_key, steering })
            }
            Ok(None) => Err(StoreError::Corrupt {
                path: directory.data(),
                what: "the keys of the installation are missing".into(),
            }),
            Err(Fault::Value(table)) => Err(StoreError::CorruptValue { table }),
            Err(Fault::Lmdb(error)) => Err(blame(directory, error)),
            Err(Fault::Store(error)) => Err(error),
        }
    }

    pub(super) fn read(&self) -> Result<ReadTxn<'_>, heed::Error> {
        self.env.read_txn()
    }

    pub(super) fn write(&self) -> Result<RwTxn<'_>, heed::Error> {
        self.env.write_txn()
    }

    /// Size of the map, in bytes.
    pub(super) const fn map_bytes(&self) -> usize {
        self.map_bytes
    }

    /// Bytes of all pages in use by tables: free pages inside the file are not counted.
    pub(super) fn used_bytes(&self, txn: &ReadTxn<'_>) -> Result<u64, heed::Error> {
        // The two roots, and the table of tables.
        let mut pages = 3;
        let mut page_bytes = 0;
        for table in &self.tables {
            let stat = table.stat(txn)?;
            pages += stat.branch_pages + stat.leaf_pages + stat.overflow_pages;
            page_bytes = u64::from(stat.page_size);
        }
        Ok(pages as u64 * page_bytes)
    }

    pub(super) fn len(&self, txn: &ReadTxn<'_>, table: Table) -> Result<u64, heed::Error> {
        self.raw(table).len(txn)
    }

    pub(super) fn get<R: Record>(&self, txn: &ReadTxn<'_>, key: &[u8]) -> Result<Option<R>, Fault> {
        match self.raw(R::TABLE).get(txn, key)? {
            None => Ok(None),
            Some(value) => codec::decode(key, value).map(Some).ok_or(Fault::Value(R::TABLE)),
        }
    }

    pub(super) fn put<R: Record>(
        &self,
        txn: &mut RwTxn<'_>,
        key: &[u8],
        record: &R,
    ) -> Result<(), Fault> {
        Ok(self.raw(R::TABLE).put(txn, key, &codec::encode(key, record))?)
    }

    /// Whether there was one.
    pub(super) fn delete(
        &self,
        txn: &mut RwTxn<'_>,
        table: Table,
        key: &[u8],
    ) -> Result<bool, Fault> {
        Ok(self.raw(table).delete(txn, key)?)
    }

    /// Every record whose key starts with `prefix`, in order; a damaged one is `None`.
    pub(super) fn under<'t, R: Record>(
        &self,
        txn: &'t ReadTxn<'_>,
        prefix: &[u8],
    ) -> Result<impl Iterator<Item = Entry<'t, R>> + use<'t, R>, Fault> {
        let entries = self.raw(R::TABLE).prefix_iter(txn, prefix)?;
        Ok(entries.map(|entry| {
            let (key, value) = entry?;
            Ok((key, codec::decode(key, value)))
        }))
    }

    /// Every record behind `after`, in order; a damaged one is `None`.
    pub(super) fn behind<'t, R: Record>(
        &self,
        txn: &'t ReadTxn<'_>,
        after: Option<&[u8]>,
    ) -> Result<impl Iterator<Item = Entry<'t, R>> + use<'t, R>, Fault> {
        use std::ops::Bound;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.raw(R::TABLE).range(txn, &(start, Bound::Unbounded))?;
        Ok(entries.map(|entry| {
            let (key, value) = entry?;
            Ok((key, codec::decode(key, value)))
        }))
    }

    fn raw(&self, table: Table) -> &Raw<'static> {
        let [accounts, account_devices, devices, grants, invites, meta] = &self.tables;
        match table {
            Table::Accounts => accounts,
            Table::AccountDevices => account_devices,
            Table::Devices => devices,
            Table::Grants => grants,
            Table::Invites => invites,
            Table::Meta => meta,
        }
    }
}

/// Key of a grant.
pub(super) fn grant_key(recipient: &DeviceId, sender: &DeviceId) -> Vec<u8> {
    [recipient.as_bytes().as_slice(), sender.as_bytes()].concat()
}

/// Key of a device of an account.
pub(super) fn member_key(account: &AccountId, device: &DeviceId) -> Vec<u8> {
    [account.as_bytes().as_slice(), device.as_bytes()].concat()
}

/// The one call that maps the file.
fn map(directory: &Directory, map_bytes: usize) -> Result<Env<WithoutTls>, heed::Error> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(map_bytes).max_dbs(DATABASES_MAX).max_readers(READERS_MAX);
    // SAFETY: LMDB requires that nobody changes the file behind its back. `Directory` holds an
    // exclusive lock on a directory that only this user can enter, no flag weakens LMDB's own
    // locking, and the file is opened nowhere else for writing. Damage from before was looked for
    // by `verify`.
    #[expect(unsafe_code, reason = "mapping a file is unsafe; this is the only place that does")]
    unsafe {
        options.open(directory.path())
    }
}

/// Opens the tables; makes them in a new file, in one transaction.
fn create_tables(
    env: &Env<WithoutTls>,
    directory: &Directory,
    random: &mut dyn FnMut(&mut [u8]),
) -> Result<[Raw<'static>; Table::ALL.len()], Fault> {
    let txn = env.write_txn()?;
    let tables = env.create_databases_and_commit(txn, |opener, txn| {
        let main = opener.open_database::<Bytes, Bytes>(txn, None)?;
        let is_new = match main {
            Some(main) => main.is_empty(txn)?,
            None => true,
        };
        if !is_new {
            let foreign = |what| StoreError::Foreign { path: directory.data(), what };
            let meta = opener
                .open_database::<Bytes, Bytes>(txn, Some(Table::Meta.name()))
                .ok()
                .flatten()
                .ok_or_else(|| foreign("it has no table `meta`"))?;
            let schema = meta.get(txn, KEY_SCHEMA)?.ok_or_else(|| foreign("it has no schema"))?;
            let Schema(found) =
                codec::decode(KEY_SCHEMA, schema).ok_or(Fault::Value(Table::Meta))?;
            if found > SCHEMA {
                let path = directory.data();
                return Err(Fault::Store(StoreError::Newer { path, found, known: SCHEMA }));
            }
        }
        let mut create = |table: Table| opener.create_database(txn, Some(table.name()));
        let [a, b, c, d, e, f] = Table::ALL;
        let tables = [create(a)?, create(b)?, create(c)?, create(d)?, create(e)?, create(f)?];
        if is_new {
            let [.., meta] = tables;
            let value = codec::encode(KEY_SCHEMA, &Schema(SCHEMA));
            meta.put(txn, KEY_SCHEMA, value.as_slice())?;
            let value = codec::encode(KEY_INSTALLATION, &draw(random));
            meta.put(txn, KEY_INSTALLATION, value.as_slice())?;
        }
        Ok(CommitOrAbort::<_, ()>::Commit(tables))
    })?;
    tables.commit().ok_or(Fault::Store(StoreError::Closed))
}

/// The keys of a new installation.
fn draw(random: &mut dyn FnMut(&mut [u8])) -> Installation {
    let (mut relay_id, mut home_key, mut steering) = ([0; RelayId::LEN], [0; 16], [0; 4]);
    random(&mut relay_id);
    random(&mut home_key);
    random(&mut steering);
    Installation {
        relay_id: RelayId::new(relay_id),
        home_key,
        steering: u32::from_le_bytes(steering) | 1,
    }
}

/// An error of LMDB as a sentence with a remedy.
pub(super) fn blame(directory: &Directory, error: heed::Error) -> StoreError {
    let structural = is_structural(&error);
    let path = directory.data();
    match error {
        heed::Error::Io(error) => system(directory.path(), &error),
        heed::Error::Mdb(heed::MdbError::Panic) => StoreError::Fatal { path },
        heed::Error::Mdb(heed::MdbError::Invalid | heed::MdbError::VersionMismatch) => {
            StoreError::Foreign { path, what: "LMDB does not know its format" }
        }
        heed::Error::Mdb(error) if structural => {
            StoreError::Corrupt { path, what: error.to_string() }
        }
        heed::Error::EnvAlreadyOpened => StoreError::InUse { path: directory.path().to_owned() },
        error @ (heed::Error::Mdb(_) | heed::Error::Encoding(_) | heed::Error::Decoding(_)) => {
            StoreError::System { path: directory.path().to_owned(), what: error.to_string() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> (tempfile::TempDir, Directory) {
        let parent = tempfile::tempdir().unwrap();
        let directory = Directory::claim(&parent.path().join("store")).unwrap();
        (parent, directory)
    }

    fn open_fails(directory: &Directory) -> StoreError {
        match Tables::open_checked(directory, 1 << 20, &mut |_| {}) {
            Ok(_) => panic!("it was opened"),
            Err(error) => error,
        }
    }

    #[test]
    fn another_programs_lmdb_file_is_foreign() {
        for table in ["orders", "meta"] {
            let (_parent, directory) = directory();
            let env = map(&directory, 1 << 20).unwrap();
            let txn = env.write_txn().unwrap();
            env.create_databases_and_commit(txn, |opener, txn| {
                let table = opener.create_database::<Bytes, Bytes>(txn, Some(table))?;
                table.put(txn, b"key", b"value")?;
                Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(table))
            })
            .unwrap();
            drop(env);
            let error = open_fails(&directory);
            assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
        }
    }

    #[test]
    fn a_newer_schema_is_left_alone() {
        let (_parent, directory) = directory();
        let (tables, _) = Tables::open_checked(&directory, 1 << 20, &mut |_| {}).unwrap();
        let mut txn = tables.write().unwrap();
        tables.put(&mut txn, KEY_SCHEMA, &Schema(SCHEMA + 1)).unwrap();
        txn.commit().unwrap();
        drop(tables);
        let path = directory.data();
        let newer = StoreError::Newer { path, found: SCHEMA + 1, known: SCHEMA };
        assert_eq!(open_fails(&directory), newer);
    }

    #[test]
    fn a_damaged_installation_is_told() {
        let (_parent, directory) = directory();
        let (tables, _) = Tables::open_checked(&directory, 1 << 20, &mut |_| {}).unwrap();
        let mut txn = tables.write().unwrap();
        tables.raw(Table::Meta).put(&mut txn, KEY_INSTALLATION, b"damage").unwrap();
        txn.commit().unwrap();
        drop(tables);
        assert_eq!(open_fails(&directory), StoreError::CorruptValue { table: Table::Meta });
    }
}
