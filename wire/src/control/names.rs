//! The closed vocabularies of control cells. Their texts are on the wire and are never reused.

use core::fmt;

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant),+
        }

        impl $name {
            /// All values, in the order of the specification.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The text on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            pub(crate) fn from_wire(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use names;

names! {
    /// What went wrong, for a program. Each error carries a sentence for a person beside it.
    ErrorCode {
        /// The peer broke the protocol; the connection closes.
        Malformed = "malformed",
        /// The proof, the device or its token was not accepted.
        Unauthenticated = "unauthenticated",
        /// Known, but not allowed.
        Forbidden = "forbidden",
        /// No such device in the asker's own account.
        UnknownDevice = "unknown_device",
        /// Try again later; nothing was kept.
        Busy = "busy",
        /// A named limit was hit; the wait is given.
        RateLimited = "rate_limited",
        /// Larger than the limit.
        TooLarge = "too_large",
        /// An invite, code or token is past its time.
        Expired = "expired",
        /// Somebody else was first.
        Conflict = "conflict",
        /// An operation or version that this side does not have.
        Unsupported = "unsupported",
        /// The relay is stopping; connect again after the delay.
        Draining = "draining",
    }
}

names! {
    /// Why a unicast cell was not delivered: a hint, never an end state.
    Undelivered {
        /// The recipient has no connection.
        Offline = "offline",
        /// The sender's share of the recipient's queue is full.
        Busy = "busy",
        /// Unknown, ungranted or silent: always the same answer.
        Refused = "refused",
        /// Larger than the recipient's slots.
        TooLarge = "too_large",
    }
}

names! {
    /// Why a relay ends a connection.
    GoawayReason {
        /// A newer connection of the same device won; do not reconnect by yourself.
        Superseded = "superseded",
        /// The relay is stopping; reconnect after the delay.
        Draining = "draining",
        /// The device was revoked.
        Revoked = "revoked",
        /// Nothing was heard for the idle time.
        Idle = "idle",
    }
}

/// How a device reached the relay; part of what its proof covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Transport {
    /// TLS 1.3 over TCP.
    Tls = 1,
    /// QUIC v1.
    Quic = 2,
    /// WebSocket over TLS.
    WebSocket = 3,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "TLS",
            Self::Quic => "QUIC",
            Self::WebSocket => "WebSocket",
        })
    }
}
