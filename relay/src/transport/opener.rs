//! Opens records in place (RFC 8446 §5.2, §4.6.3, §6).

use std::fmt;
use std::ops::Range;

use super::fault::Fault;
use super::keys::TrafficKeys;
use super::limits::{
    EMPTY_RECORDS_MAX, KEY_UPDATES_PER_MINUTE_MAX, RECORD_HEADER_BYTES, RECORD_PLAIN_BYTES_MAX,
    RECORD_TAG_BYTES, RECORDS_OPENED_MAX,
};
use super::record::{ALERT, APPLICATION_DATA, HANDSHAKE, KEY_UPDATE};
use super::secrets::Suite;

const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;
const NS_PER_MINUTE: u64 = 60_000_000_000;

/// What stood at the front of the bytes given to [`Opener::open`]. `consumed` is the record's length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// No whole record: it will have `need_total` bytes, or 5 while its header is incomplete.
    Incomplete {
        /// Bytes from the front, header included.
        need_total: usize,
    },
    /// Application data, possibly empty.
    Data {
        /// Bytes of the record.
        consumed: usize,
        /// Where its plaintext stands in the bytes given.
        plain: Range<usize>,
    },
    /// The client's next record is under new keys; the opener has stepped to them.
    KeyUpdate {
        /// Bytes of the record.
        consumed: usize,
        /// The client wants the same of us: [`Sealer::request_update`](super::Sealer::request_update).
        answer_requested: bool,
    },
    /// A record that means nothing (the warning `user_canceled`).
    Ignored {
        /// Bytes of the record.
        consumed: usize,
    },
    /// close_notify: the client sends nothing more, and what follows is to be ignored.
    Closed {
        /// Bytes of the record.
        consumed: usize,
    },
}

/// Opens what the client sends. After a [`Fault`] the connection is over: its stream is spoilt.
pub struct Opener {
    keys: TrafficKeys,
    minute_started_ns: u64,
    key_updates_this_minute: u8,
    empty_records: u8,
    plain_max: u16,
}

impl Opener {
    pub(super) fn new(keys: TrafficKeys) -> Self {
        Self {
            keys,
            minute_started_ns: 0,
            key_updates_this_minute: 0,
            empty_records: 0,
            plain_max: RECORD_PLAIN_BYTES_MAX as u16,
        }
    }

    /// Opens the first record of `bytes` in place. `now_ns` is the time since any fixed moment.
    ///
    /// # Errors
    /// The client's faults, from the first byte that shows them: an unencrypted or too long record is
    /// refused at its header. The record's bytes are then undefined.
    #[inline]
    pub fn open(&mut self, bytes: &mut [u8], now_ns: u64) -> Result<Opened, Fault> {
        let Some(&header) = bytes.first_chunk::<RECORD_HEADER_BYTES>() else {
            return match bytes.first() {
                Some(&kind) if kind != APPLICATION_DATA => Err(Fault::UnexpectedRecord(kind)),
                Some(_) | None => Ok(Opened::Incomplete { need_total: RECORD_HEADER_BYTES }),
            };
        };
        let [kind, _, _, high, low] = header;
        if kind != APPLICATION_DATA {
            return Err(Fault::UnexpectedRecord(kind));
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > usize::from(self.plain_max) + 1 + RECORD_TAG_BYTES {
            return Err(Fault::RecordTooLong(length));
        }
        if length < 1 + RECORD_TAG_BYTES {
            return Err(Fault::BadRecord);
        }
        let consumed = RECORD_HEADER_BYTES + length;
        let Some(body) = bytes.get_mut(RECORD_HEADER_BYTES..consumed) else {
            return Ok(Opened::Incomplete { need_total: consumed });
        };
        if self.keys.sequence >= RECORDS_OPENED_MAX {
            return Err(Fault::TooManyRecords);
        }
        let inner = self.keys.open(header, body)?;
        // The content type is the last byte that is not zero; zeros behind it are padding.
        let end = inner.iter().rposition(|&byte| byte != 0).ok_or_else(|| Fault::NoContentType)?;
        let (kind, content) = (inner[end], &inner[..end]);
        if kind == APPLICATION_DATA {
            if end == 0 {
                self.count_empty()?;
            } else {
                self.empty_records = 0;
            }
            let plain = RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + end;
            return Ok(Opened::Data { consumed, plain });
        }
        match kind {
            HANDSHAKE => {
                let answer_requested = parse_key_update(content)?;
                self.update(now_ns)?;
                Ok(Opened::KeyUpdate { consumed, answer_requested })
            }
            ALERT => match content {
                [_, CLOSE_NOTIFY] => Ok(Opened::Closed { consumed }),
                [_, USER_CANCELED] => {
                    self.count_empty()?;
                    Ok(Opened::Ignored { consumed })
                }
                [_, description] => Err(Fault::PeerAlert(*description)),
                _ => Err(Fault::MalformedAlert),
            },
            _ => Err(Fault::NoContentType),
        }
    }

    fn update(&mut self, now_ns: u64) -> Result<(), Fault> {
        if now_ns.saturating_sub(self.minute_started_ns) >= NS_PER_MINUTE {
            self.minute_started_ns = now_ns;
            self.key_updates_this_minute = 0;
        }
        if self.key_updates_this_minute == KEY_UPDATES_PER_MINUTE_MAX {
            return Err(Fault::KeyUpdates);
        }
        self.key_updates_this_minute += 1;
        self.keys.update()
    }

    fn count_empty(&mut self) -> Result<(), Fault> {
        if self.empty_records == EMPTY_RECORDS_MAX {
            return Err(Fault::EmptyRecords);
        }
        self.empty_records += 1;
        Ok(())
    }

    /// Refuses records of more than `bytes` of content and padding from now on; 16 384 at first, which is
    /// also the most. A longer one is refused when its header arrives, before its bytes are waited for.
    pub fn limit_plain(&mut self, bytes: usize) {
        self.plain_max = bytes.min(RECORD_PLAIN_BYTES_MAX) as u16;
    }

    /// Forgets the AEAD context (640 bytes of heap) of an idle connection; the next record rebuilds it.
    pub fn compact(&mut self) {
        self.keys.compact();
    }

    /// Whether the AEAD context is absent.
    #[must_use]
    pub fn is_compact(&self) -> bool {
        self.keys.is_compact()
    }

    /// The suite that was negotiated.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.keys.suite()
    }

    pub(super) fn keys(&self) -> &TrafficKeys {
        &self.keys
    }
}

/// A KeyUpdate has to be alone in its record, for it ends the record's keys. A client that cuts its five
/// bytes over two records is refused: TLS allows it, nobody does it.
fn parse_key_update(content: &[u8]) -> Result<bool, Fault> {
    match *content {
        [KEY_UPDATE, 0, 0, 1, request @ (0 | 1)] => Ok(request == 1),
        [KEY_UPDATE, ..] => Err(Fault::MalformedKeyUpdate),
        [kind, ..] => Err(Fault::UnexpectedHandshake(kind)),
        [] => Err(Fault::UnexpectedHandshake(0)),
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("sequence", &self.keys.sequence).finish_non_exhaustive()
    }
}
