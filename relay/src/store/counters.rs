//! What the store counts, for metrics and tests.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident / $add:ident;)+) => {
        /// Live counters, shared by all threads of a store.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $($name: AtomicU64,)+
        }

        impl Counters {
            $(pub(super) fn $add(&self) {
                self.$name.fetch_add(1, Ordering::Relaxed);
            })+

            pub(super) fn snapshot(&self) -> StoreCounters {
                StoreCounters { $($name: self.$name.load(Ordering::Relaxed),)+ }
            }
        }

        /// How often things happened since the store was opened.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct StoreCounters {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }
    };
}

counters! {
    /// Transactions committed, each with one wait for the disk.
    commits / commit;
    /// Changes answered, refused ones included.
    changes / change;
    /// Reads answered.
    reads / read;
    /// Queries turned away because an inbox was full.
    busy / turned_away;
    /// Values that did not decode.
    corrupt_values / corrupt_value;
    /// Queries answered with a failure.
    failures / failure;
    /// Times the map was made larger.
    growths / growth;
}
