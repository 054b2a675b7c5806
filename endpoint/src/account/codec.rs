//! Reading bytes from the front, without a panic whatever they are.

use hushwire_wire::id::DeviceId;

/// What has not been read yet.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    /// A device ID, which is not all zeros.
    pub(super) fn device(&mut self) -> Option<DeviceId> {
        self.array::<32>().filter(|bytes| *bytes != [0; 32]).map(DeviceId::new)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn length(&mut self) -> Option<usize> {
        self.array().map(u32::from_le_bytes).and_then(|length| usize::try_from(length).ok())
    }
}

/// A length in front of its bytes.
pub(super) fn put_length(out: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("every list of a log is bounded far below 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
}
