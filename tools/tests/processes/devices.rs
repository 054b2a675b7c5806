//! What the relay remembers of a device from one run to the next: the day it was last there, nothing finer.

use hushwire_relay::control::admin::{Answer, Question};
use hushwire_tools::admin;
use hushwire_tools::relay_process::RelayProcess;

use crate::support;
use crate::support::raw::Device;

#[test]
fn the_day_of_the_last_connection_survives_a_restart() {
    let data = tempfile::tempdir().expect("a directory");
    let mut options = support::options();
    options.data_dir = Some(data.path().join("data"));

    let relay = RelayProcess::start(&options).expect("it starts");
    let device = Device::enrol(&relay);
    assert!(relay.stop().expect("it stops").success());

    let relay = RelayProcess::start(&options).expect("it starts again");
    let answer = admin::ask(relay.socket(), &Question::Devices { after: None }).expect("an answer");
    let Answer::Devices { devices, more: false } = answer else { panic!("{answer:?}") };
    assert_eq!(devices.len(), 1, "{devices:?}");
    assert_eq!(devices[0].device, device.id.to_text());
    // The first of January 2025 was day 20 089.
    assert!(devices[0].seen_day > 20_089, "{devices:?}");
}
