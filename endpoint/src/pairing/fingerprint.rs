//! A device ID as people compare it.

use std::fmt;

use hushwire_wire::id::DeviceId;

/// A device ID in groups of four characters: `mfzw a43u …`, 13 groups. It is the whole public key, not a hash of it, so
/// two devices with the same fingerprint are one. Compare it with what `hush id` prints on the other device, all
/// groups: somebody who makes keys until one suits gets the first and last few right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(DeviceId);

/// Characters between two spaces.
const GROUP: usize = 4;

impl Fingerprint {
    /// Of this device.
    #[must_use]
    pub const fn of(device: DeviceId) -> Self {
        Self(device)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, character) in self.0.to_text().chars().enumerate() {
            if at > 0 && at % GROUP == 0 {
                f.write_str(" ")?;
            }
            write!(f, "{character}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_four_hold_the_whole_id() {
        let device = DeviceId::new(std::array::from_fn(|at| at as u8));
        let text = Fingerprint::of(device).to_string();
        let groups: Vec<&str> = text.split(' ').collect();
        assert_eq!(groups.len(), 13);
        assert!(groups.iter().all(|group| group.len() == GROUP));
        assert_eq!(groups.concat(), device.to_text());
    }
}
