//! Records as bytes: `version(1) ‖ fields ‖ check(4)`, integers little-endian, layouts fixed.
//!
//! The check is the low half of SipHash-1-3 over table, key and everything before it. It is no
//! protection against an attacker (who could write the file) but finds values that were damaged on
//! disk or stand under a wrong key.

use std::hash::Hasher;

use hushwire_wire::id::{AccountId, DeviceId, RelayId};
use siphasher::sip::SipHasher13;

use super::Name;
use super::query::Day;

/// Version of every layout below.
const VERSION: u8 = 1;
/// Keys of the check; part of the format.
const CHECK_KEYS: (u64, u64) = (0x6875_7368_7769_7265, 0x2073_746f_7265_2031);
const CHECK_BYTES: usize = 4;

/// A named database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Accounts and their counts.
    Accounts,
    /// Which devices an account has, revoked ones included.
    AccountDevices,
    /// Devices.
    Devices,
    /// Who may send to a device of another account.
    Grants,
    /// Single-use invites.
    Invites,
    /// The installation itself.
    Meta,
}

impl Table {
    /// Every table.
    pub(super) const ALL: [Self; 6] = [
        Self::Accounts,
        Self::AccountDevices,
        Self::Devices,
        Self::Grants,
        Self::Invites,
        Self::Meta,
    ];

    /// Its name in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::AccountDevices => "account_devices",
            Self::Devices => "devices",
            Self::Grants => "grants",
            Self::Invites => "invites",
            Self::Meta => "meta",
        }
    }

    /// Its number in checks; part of the format.
    const fn tag(self) -> u8 {
        match self {
            Self::Accounts => 1,
            Self::AccountDevices => 2,
            Self::Devices => 3,
            Self::Grants => 4,
            Self::Invites => 5,
            Self::Meta => 6,
        }
    }
}

/// Key of the schema number in [`Table::Meta`]: readable by every version.
pub(super) const KEY_SCHEMA: &[u8] = b"schema";
/// Key of [`Installation`] in [`Table::Meta`].
pub(super) const KEY_INSTALLATION: &[u8] = b"installation";

/// A value that can be written to and parsed from its table.
pub(super) trait Record: Sized {
    const TABLE: Table;
    fn write(&self, out: &mut Vec<u8>);
    fn read(fields: &mut Fields<'_>) -> Option<Self>;
}

/// The bytes of a record under its key.
pub(super) fn encode<R: Record>(key: &[u8], record: &R) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.push(VERSION);
    record.write(&mut out);
    let check = check(R::TABLE, key, &out);
    out.extend_from_slice(&check);
    out
}

/// The record, or `None` when a single byte is not as it was written.
pub(super) fn decode<R: Record>(key: &[u8], value: &[u8]) -> Option<R> {
    let (body, found) = value.split_last_chunk::<CHECK_BYTES>()?;
    if check(R::TABLE, key, body) != *found {
        return None;
    }
    let mut fields = Fields(body);
    if fields.byte()? != VERSION {
        return None;
    }
    let record = R::read(&mut fields)?;
    fields.0.is_empty().then_some(record)
}

fn check(table: Table, key: &[u8], body: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hasher = SipHasher13::new_with_keys(CHECK_KEYS.0, CHECK_KEYS.1);
    hasher.write(&[table.tag()]);
    hasher.write(&(key.len() as u64).to_le_bytes());
    hasher.write(key);
    hasher.write(body);
    let [a, b, c, d, ..] = hasher.finish().to_le_bytes();
    [a, b, c, d]
}

/// What is left of a body.
pub(super) struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn name(&mut self) -> Option<Name> {
        let len = usize::from(self.byte()?);
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Name::new(str::from_utf8(text).ok()?).ok()
    }
}

/// `accounts`: account → counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// Devices that are not revoked.
    pub(super) devices: u16,
    /// Grants given by all of them together.
    pub(super) grants: u16,
    /// Revoked devices that are remembered.
    pub(super) revoked: u16,
    /// Revocations ever made; orders them.
    pub(super) revocations: u32,
}

impl Record for Account {
    const TABLE: Table = Table::Accounts;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.devices.to_le_bytes());
        out.extend_from_slice(&self.grants.to_le_bytes());
        out.extend_from_slice(&self.revoked.to_le_bytes());
        out.extend_from_slice(&self.revocations.to_le_bytes());
    }

    fn read(f: &mut Fields<'_>) -> Option<Self> {
        Some(Self { devices: f.u16()?, grants: f.u16()?, revoked: f.u16()?, revocations: f.u32()? })
    }
}

/// `account_devices`: account ‖ device → when it was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// 0: active; else the account's number of this revocation.
    pub(super) revocation: u32,
}

impl Record for Member {
    const TABLE: Table = Table::AccountDevices;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.revocation.to_le_bytes());
    }

    fn read(f: &mut Fields<'_>) -> Option<Self> {
        Some(Self { revocation: f.u32()? })
    }
}

/// `devices`: device → row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) account: AccountId,
    pub(super) revoked: bool,
    pub(super) native_only: bool,
    pub(super) presence_hidden: bool,
    pub(super) seen_day: Day,
    pub(super) name: Name,
}

impl Record for Device {
    const TABLE: Table = Table::Devices;

    fn write(&self, out: &mut Vec<u8>) {
        let flags = u8::from(self.revoked)
            | u8::from(self.native_only) << 1
            | u8::from(self.presence_hidden) << 2;
        out.push(flags);
        out.extend_from_slice(self.account.as_bytes());
        out.extend_from_slice(&self.seen_day.to_le_bytes());
        let name = self.name.as_str().as_bytes();
        // A name has at most 64 bytes.
        out.push(name.len() as u8);
        out.extend_from_slice(name);
    }

    fn read(f: &mut Fields<'_>) -> Option<Self> {
        let flags = f.byte()?;
        if flags > 0b111 {
            return None;
        }
        Some(Self {
            account: AccountId::new(f.array()?),
            revoked: flags & 1 != 0,
            native_only: flags & 2 != 0,
            presence_hidden: flags & 4 != 0,
            seen_day: f.u32()?,
            name: f.name()?,
        })
    }
}

/// `grants`: recipient ‖ sender → nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant;

impl Record for Grant {
    const TABLE: Table = Table::Grants;

    fn write(&self, _out: &mut Vec<u8>) {}

    fn read(_f: &mut Fields<'_>) -> Option<Self> {
        Some(Self)
    }
}

/// `invites`: SHA-256 of the secret → invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Invite {
    pub(super) account: AccountId,
    /// The account is made when the invite is redeemed.
    pub(super) makes_account: bool,
    pub(super) expires_unix_s: u64,
    pub(super) used_by: Option<DeviceId>,
}

impl Record for Invite {
    const TABLE: Table = Table::Invites;

    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.makes_account) | u8::from(self.used_by.is_some()) << 1);
        out.extend_from_slice(self.account.as_bytes());
        out.extend_from_slice(&self.expires_unix_s.to_le_bytes());
        out.extend_from_slice(self.used_by.unwrap_or(DeviceId::ZERO).as_bytes());
    }

    fn read(f: &mut Fields<'_>) -> Option<Self> {
        let flags = f.byte()?;
        if flags > 0b11 {
            return None;
        }
        let account = AccountId::new(f.array()?);
        let expires_unix_s = f.u64()?;
        let user = DeviceId::new(f.array()?);
        let used_by = (flags & 2 != 0).then_some(user);
        Some(Self { account, makes_account: flags & 1 != 0, expires_unix_s, used_by })
    }
}

/// `meta`, key `schema`: which set of tables and layouts this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Schema(pub(super) u32);

impl Record for Schema {
    const TABLE: Table = Table::Meta;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_le_bytes());
    }

    fn read(f: &mut Fields<'_>) -> Option<Self> {
        f.u32().map(Self)
    }
}

/// `meta`, key `installation`: what was drawn at the first start.
pub(super) struct Installation {
    pub(super) relay_id: RelayId,
    pub(super) home_key: [u8; 16],
    pub(super) steering: u32,
}

impl Record for Installation {
    const TABLE: Table = Table::Meta;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.relay_id.as_bytes());
        out.extend_from_slice(&self.home_key);
        out.extend_from_slice(&self.steering.to_le_bytes());
    }

    fn read(f: &mut Fields<'_>) -> Option<Self> {
        let relay_id = RelayId::new(f.array()?);
        let home_key = f.array()?;
        let steering = f.u32()?;
        (steering % 2 == 1).then_some(Self { relay_id, home_key, steering })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Device {
        Device {
            account: AccountId::new([7; 16]),
            revoked: false,
            native_only: true,
            presence_hidden: false,
            seen_day: 20_000,
            name: Name::new("laptop").unwrap(),
        }
    }

    #[test]
    fn records_round_trip() {
        let device = sample();
        assert_eq!(decode(b"key", &encode(b"key", &device)), Some(device));
        let account = Account { devices: 3, grants: 4, revoked: 5, revocations: 6 };
        assert_eq!(decode(b"key", &encode(b"key", &account)), Some(account));
        for used_by in [None, Some(DeviceId::new([1; 32]))] {
            let invite = Invite {
                account: AccountId::new([9; 16]),
                makes_account: used_by.is_none(),
                expires_unix_s: u64::MAX,
                used_by,
            };
            assert_eq!(decode(b"key", &encode(b"key", &invite)), Some(invite));
        }
        assert_eq!(decode(b"k", &encode(b"k", &Grant)), Some(Grant));
        assert_eq!(decode(b"k", &encode(b"k", &Schema(1))), Some(Schema(1)));
    }

    #[test]
    fn the_layout_is_pinned() {
        let bytes = encode(&[1; 32], &sample());
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "0102".to_owned() + &"07".repeat(16) + "204e0000" + "066c6170746f70" + "bab0483f"
        );
    }

    #[test]
    fn every_damaged_byte_cut_and_wrong_key_is_found() {
        let good = encode(b"key", &sample());
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert_eq!(decode::<Device>(b"key", &bad), None, "byte {at} bit {bit}");
            }
            assert_eq!(decode::<Device>(b"key", &good[..at]), None, "cut at {at}");
        }
        assert_eq!(decode::<Device>(b"other", &good), None);
        assert_eq!(decode::<Account>(b"key", &good), None);
    }
}
