//! What connections write of themselves, where that is asked for.

use hushwire_tools::relay_process::RelayProcess;
use hushwire_wire::cell::Class;

use crate::support::{self, files_below};
use crate::{exchange, pair};

#[test]
fn each_connection_writes_what_it_does_and_neither_content_nor_addresses() {
    let place = tempfile::tempdir().expect("a directory");
    let directory = format!("{:?}", place.path().display().to_string());
    let options = support::options().set("log", "qlog_dir", directory);
    let relay = RelayProcess::start(&options).expect("it starts");
    let (mut a, mut b) = pair(&relay);
    exchange(&mut a, &mut b, &[Class::C0, Class::C7]);
    a.raw.quic().close();
    b.raw.quic().close();
    // What is buffered is written when the connection goes, at the latest with the relay.
    relay.stop().expect("it stops");
    let files = files_below(place.path());
    assert_eq!(files.len(), 2, "one for each connection");
    for file in files {
        let text = std::fs::read_to_string(file).expect("a text");
        assert!(text.contains("packet_sent") && text.contains("packet_received"), "{text}");
        assert!(!text.contains("127.0.0.1"), "an address is in {text}");
        for record in text.split('\x1e').filter(|record| !record.trim().is_empty()) {
            serde_json::from_str::<serde_json::Value>(record).expect("a record of JSON");
        }
    }
}
