//! Devices by number, and logs of them.

use hushwire::account::{AccountLog, LogError, Merge, Proof};
use hushwire::identity::Identity;
use hushwire_wire::id::DeviceId;

pub(crate) fn identity(number: u8) -> Identity {
    Identity::from_secret(&[number; 32])
}

pub(crate) fn id(number: u8) -> DeviceId {
    identity(number).device_id()
}

/// A log of devices 1 to `count`, as the first one holds it.
pub(crate) fn log_of(count: u8) -> AccountLog {
    let mut log = AccountLog::begin(&identity(1), "device 1", 1).expect("a log");
    for number in 2..=count {
        add(&mut log, 1, number).expect("added");
    }
    log
}

pub(crate) fn add(log: &mut AccountLog, by: u8, number: u8) -> Result<(), LogError> {
    let proof = Proof::sign(&identity(number), &log.id());
    log.add(&identity(by), (id(number), proof), &format!("device {number}"), 7)
}

pub(crate) fn remove(log: &mut AccountLog, by: u8, number: u8) -> Result<(), LogError> {
    log.remove(&identity(by), id(number), 8)
}

/// The same log at another device.
pub(crate) fn copy(log: &AccountLog, at: u8) -> AccountLog {
    AccountLog::join(&log.entries_from(0), &id(at)).expect("a member")
}

/// Device `at` hears all that `from` has.
pub(crate) fn hear(log: &mut AccountLog, at: u8, from: &AccountLog) -> Merge {
    log.extend(&identity(at), &from.entries_from(0), 9).expect("entries of a member")
}

pub(crate) fn members(log: &AccountLog) -> Vec<DeviceId> {
    log.members().map(|member| member.device).collect()
}

pub(crate) fn sorted(numbers: &[u8]) -> Vec<DeviceId> {
    let mut devices: Vec<_> = numbers.iter().map(|&number| id(number)).collect();
    devices.sort();
    devices
}
