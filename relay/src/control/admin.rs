//! What `hushctl` and the relay say to each other over the admin socket: one JSON object a line, one
//! answer a question. Whoever may open the socket (mode 0600, the relay's own user and root) may ask.

use serde::{Deserialize, Serialize};

/// Longest line either side accepts, in bytes.
pub const LINE_BYTES_MAX: usize = 256 * 1024;

/// A question of the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
    /// How the relay is.
    Status,
    /// Makes an invite for one device.
    Invite {
        /// The account it joins, in text form; a new one where absent.
        account: Option<String>,
        /// Life of the invite in seconds.
        ttl_s: u32,
    },
    /// Lists devices, a page at a time.
    Devices {
        /// The last device of the page before, in text form.
        after: Option<String>,
    },
    /// Ends a device for good, and its connection with it.
    Revoke {
        /// The device, in text form.
        device: String,
    },
    /// Stops the relay gently.
    Drain,
}

/// The relay's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// To [`Question::Status`].
    Status(Box<Status>),
    /// To [`Question::Invite`].
    Invite {
        /// The text to hand over: secret, works once.
        invite: String,
        /// When it ends, seconds since 1970.
        expires_unix_s: u64,
    },
    /// To [`Question::Devices`].
    Devices {
        /// A page, in the order of their IDs.
        devices: Vec<Device>,
        /// Whether another page follows.
        more: bool,
    },
    /// Carried out.
    Done,
    /// Not carried out.
    Failed {
        /// Why, and what to do.
        sentence: String,
    },
}

/// How the relay is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the software.
    pub version: String,
    /// The installation, in text form.
    pub relay_id: String,
    /// SHA-256 of the certificate's SubjectPublicKeyInfo, in hexadecimal.
    pub pin: String,
    /// Addresses listened on.
    pub listen: Vec<String>,
    /// Address written into invites.
    pub public_address: String,
    /// Address of metrics and health.
    pub control: String,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Whether the relay is stopping.
    pub draining: bool,
    /// Resident memory of the process in bytes.
    pub resident_bytes: u64,
    /// Largest resident memory so far in bytes.
    pub resident_bytes_max: u64,
    /// What the memory bill promises not to exceed, in bytes.
    pub memory_bill_bytes: u64,
    /// Totals over all shards, by the name of the metric.
    pub totals: std::collections::BTreeMap<String, u64>,
    /// The store's tables.
    pub store: StoreStatus,
}

/// The store in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// Accounts.
    pub accounts: u64,
    /// Devices, revoked ones included.
    pub devices: u64,
    /// Grants.
    pub grants: u64,
    /// Invites not used yet.
    pub invites: u64,
    /// Bytes of the map in use.
    pub map_used_bytes: u64,
    /// Size of the map.
    pub map_bytes: u64,
}

/// A device as the relay knows it: this is all there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its ID in text form.
    pub device: String,
    /// Its account in text form.
    pub account: String,
    /// Its name for people.
    pub name: String,
    /// Whether it was revoked.
    pub revoked: bool,
    /// Day of its last connection, days since 1970; zero where there was none.
    pub seen_day: u32,
}
