//! Readers and checks that several operations share.

use super::ControlError;
use crate::id::DeviceId;
use crate::map::Fields;

pub(super) fn device(map: &Fields<'_>) -> Result<DeviceId, ControlError> {
    map.array("device").map(DeviceId::new)
}

pub(super) fn named<T>(
    map: &Fields<'_>,
    key: &'static str,
    from_wire: impl FnOnce(&str) -> Option<T>,
) -> Result<T, ControlError> {
    from_wire(map.str(key)?).ok_or(ControlError::Field(key))
}

/// A field that the type does not keep in its range.
pub(super) fn need(holds: bool, key: &'static str) -> Result<(), ControlError> {
    if holds { Ok(()) } else { Err(ControlError::Field(key)) }
}

/// Zero means "none" in a header, and as an Ed25519 key it is a point of small order.
pub(super) fn need_device(device: &DeviceId) -> Result<(), ControlError> {
    need(!device.is_zero(), "device")
}
