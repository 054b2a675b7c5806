//! A relay that was killed and comes back: devices hear of it at once.

use std::time::Duration;

use hushwire_tools::relay_process::RelayProcess;
use hushwire_wire::control::{Control, Request, RequestId, Transport};
use quinn_proto::ConnectionError;

use crate::support::raw::Device;
use crate::support::{free_port, total};

/// Far less than a minute, after which the device would have noticed by itself.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn devices_of_a_relay_that_was_killed_hear_that_their_connections_are_gone() {
    const DEVICES: usize = 8;
    let data = tempfile::tempdir().expect("a directory");
    let address = format!("\"127.0.0.1:{}\"", free_port());
    for shards in [1, 4] {
        let mut options = crate::options_of(shards).set("listen", "address", &address);
        options.data_dir = Some(data.path().join("data"));
        let relay = RelayProcess::start(&options).expect("it starts");
        let mut devices: Vec<Device> =
            (0..DEVICES).map(|_| Device::enrol_by(&relay, Transport::Quic)).collect();
        relay.kill().expect("it dies");
        let relay = RelayProcess::start(&options).expect("it starts again");
        for mut device in devices.drain(..) {
            let ping = Control::Request { id: RequestId(1), request: Request::Ping };
            // The first packets may meet a port that nobody has yet.
            let _lost = device.raw.say(&ping);
            let quic = device.raw.quic();
            let error = quic.until(PATIENCE, |_| false).expect_err("the connection is gone");
            assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
            assert!(matches!(quic.lost(), Some(ConnectionError::Reset)), "{:?}", quic.lost());
            let mut device = Device::connect_by(&relay, device.identity, Transport::Quic);
            assert!(matches!(device.ask(1, Request::Ping), Control::Pong { .. }));
        }
        assert_eq!(total(&relay, "bugs"), 0);
        relay.stop().expect("it stops");
    }
}
