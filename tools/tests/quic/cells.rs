//! Cells of every class and lane, whichever transports their ends have.

use hushwire_wire::cell::{Class, Header, Kind};
use hushwire_wire::control::{Control, Request, RequestId, Transport};

use crate::support::raw::pair_by;

#[test]
fn cells_of_every_class_and_lane_pass_between_both_transports() {
    for shards in [1, 2] {
        let relay = crate::relay_of(shards);
        for (from, to) in [
            (Transport::Quic, Transport::Quic),
            (Transport::Quic, Transport::Tls),
            (Transport::Tls, Transport::Quic),
        ] {
            let (mut sender, mut receiver) = pair_by(&relay, from, to);
            for lane in 0..8 {
                for class in Class::ALL {
                    let body = format!("{class:?} on {lane}");
                    let header = Header::unicast(class, lane, 0, receiver.id);
                    sender.raw.send(header, body.as_bytes()).expect("the relay reads");
                    let (header, heard) = receiver.raw.receive().expect(&body);
                    assert_eq!((header.kind, header.class), (Kind::Unicast, class));
                    assert_eq!((header.lane, header.peer), (lane, sender.id));
                    assert!(heard.starts_with(body.as_bytes()), "{body}");
                }
            }
            let pong = sender.ask(9, Request::Ping);
            assert!(matches!(pong, Control::Pong { id: RequestId(9), .. }), "{pong:?}");
        }
        let totals = relay.status().expect("a status").totals;
        assert_eq!(totals["bugs"], 0, "{totals:?}");
        assert_eq!(totals["quic_accepted"], 4);
    }
}
