//! What connections do, for somebody who has to find out why one is slow: one file of qlog each, on request.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use quinn_proto::{QlogConfig, QlogStream};

use super::limits::QLOG_FILES_MAX;

/// A directory for the files of one run.
#[derive(Debug)]
pub(crate) struct QlogFiles {
    directory: PathBuf,
    begun: AtomicUsize,
}

impl QlogFiles {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), begun: AtomicUsize::new(0) }
    }

    /// The file of the next connection of `shard`. `None` after [`QLOG_FILES_MAX`], or where it cannot be made, which is
    /// logged.
    pub(crate) fn next(&self, shard: usize, now: Instant) -> Option<QlogStream> {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        if number >= QLOG_FILES_MAX {
            return None;
        }
        let path =
            self.directory.join(format!("quic-{}-{shard}-{number}.sqlog", std::process::id()));
        match File::create_new(&path) {
            Ok(file) => {
                let mut config = QlogConfig::default();
                config
                    .writer(Box::new(BufWriter::new(file)))
                    .title(Some("hushwired".to_owned()))
                    .start_time(now);
                config.into_stream()
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a file of qlog cannot be made");
                None
            }
        }
    }
}
