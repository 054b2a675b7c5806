//! What goes with the bytes: segments, marks and addresses.

use std::net::{IpAddr, SocketAddr};

use hushwire_uring::limits;
use hushwire_uring::udp::{Inbox, Outgoing};

use crate::{ANY, ANY_V6, bound, next, next_one, nothing, peer, to};

const FAMILIES: [&str; 2] = [ANY, ANY_V6];

#[test]
fn segments_leave_in_one_send_and_arrive_as_datagrams() {
    const SEGMENT: usize = 1_200;
    const LAST: usize = 700;
    let contents: Vec<u8> = (0..9 * SEGMENT + LAST).map(|at| (at / SEGMENT) as u8).collect();
    for any in FAMILIES {
        let (ours, theirs) = (bound(any), bound(any));
        let outgoing = Outgoing { segment: Some(SEGMENT), ..to(theirs.address, &contents) };
        assert!(ours.socket.send(&outgoing).unwrap());
        // One receive finds them all: the kernel had them in one piece.
        let mut inbox = Inbox::new();
        assert!(theirs.socket.receive(&mut inbox).unwrap());
        let datagrams: Vec<_> = inbox.datagrams().map(|datagram| datagram.bytes).collect();
        assert_eq!(datagrams, contents.chunks(SEGMENT).collect::<Vec<_>>());
        assert_eq!((datagrams.len(), datagrams[9].len()), (10, LAST));
        nothing(&theirs.socket);
    }
}

#[test]
fn the_longest_send_fits_an_inbox() {
    // What IPv4 has room for, in as many segments as there may be.
    let contents = vec![7; 65_507];
    let (ours, theirs) = (bound(ANY), bound(ANY));
    let segment = contents.len().div_ceil(limits::SEGMENTS_MAX);
    let outgoing = Outgoing { segment: Some(segment), ..to(theirs.address, &contents) };
    assert!(ours.socket.send(&outgoing).unwrap());
    let arrived = next(&[theirs], &mut Inbox::new(), limits::SEGMENTS_MAX);
    assert_eq!(arrived.iter().map(|datagram| datagram.bytes.len()).sum::<usize>(), contents.len());
}

#[test]
fn an_inbox_takes_its_number_and_leaves_the_rest() {
    let (ours, peer) = (bound(ANY), peer());
    let mut inbox = Inbox::new();
    assert_eq!(inbox.bytes(), limits::INBOX_BUFFERS * limits::INBOX_BUFFER_BYTES);
    let count = limits::INBOX_BUFFERS + 3;
    for number in 0..count {
        peer.send_to(&[number as u8], ours.address).unwrap();
    }
    let mut numbers = Vec::new();
    for share in [limits::INBOX_BUFFERS, 3] {
        assert!(ours.socket.receive(&mut inbox).unwrap());
        assert_eq!(inbox.datagrams().count(), share);
        numbers.extend(inbox.datagrams().map(|datagram| usize::from(datagram.bytes[0])));
    }
    assert_eq!(numbers, (0..count).collect::<Vec<_>>());
    assert!(!ours.socket.receive(&mut inbox).unwrap());
    assert_eq!(inbox.datagrams().count(), 0, "nothing old is left in it");
}

#[test]
fn marks_arrive_as_they_were_sent() {
    for any in FAMILIES {
        let (ours, theirs) = (bound(any), bound(any));
        for (ecn, expect) in [
            (None, None),
            (Some(0), None),
            (Some(1), Some(1)),
            (Some(2), Some(2)),
            (Some(3), Some(3)),
        ] {
            let sent = Outgoing { ecn, ..to(theirs.address, b"there") };
            assert!(ours.socket.send(&sent).unwrap());
            let there = next_one(&theirs);
            assert_eq!((there.ecn, there.from), (expect, ours.address));
            let back = Outgoing { ecn, from: there.to, ..to(there.from, b"and back") };
            assert!(theirs.socket.send(&back).unwrap());
            assert_eq!(next_one(&ours).ecn, expect);
        }
    }
}

#[test]
fn marks_go_with_segments() {
    let (ours, theirs) = (bound(ANY), bound(ANY));
    let outgoing = Outgoing { ecn: Some(2), segment: Some(3), ..to(theirs.address, b"onetwo") };
    assert!(ours.socket.send(&outgoing).unwrap());
    let arrived = next(&[theirs], &mut Inbox::new(), 2);
    assert!(arrived.iter().all(|datagram| datagram.ecn == Some(2)));
}

#[test]
fn an_answer_comes_from_where_the_question_went_to() {
    #[track_caller]
    fn check(any: &str, asked: &str, seen_as: &str) {
        let ours = bound(any);
        let asked = SocketAddr::new(asked.parse().unwrap(), ours.address.port());
        let theirs = bound(if asked.is_ipv4() { ANY } else { ANY_V6 });
        assert!(theirs.socket.send(&Outgoing { ecn: Some(1), ..to(asked, b"?") }).unwrap());
        let question = next_one(&ours);
        assert_eq!(question.to, Some(seen_as.parse::<IpAddr>().unwrap()));
        assert_eq!(question.from.ip().to_canonical(), theirs.address.ip());
        assert_eq!(question.ecn, Some(1));
        let answer = Outgoing {
            from: question.to,
            ecn: Some(2),
            segment: Some(1),
            ..to(question.from, b"!!")
        };
        assert!(ours.socket.send(&answer).unwrap());
        for answer in next(&[theirs], &mut Inbox::new(), 2) {
            assert_eq!((answer.from, answer.ecn, answer.bytes), (asked, Some(2), b"!".to_vec()));
        }
    }
    check(ANY, "127.0.0.1", "127.0.0.1");
    check("0.0.0.0:0", "127.0.0.1", "127.0.0.1");
    check("0.0.0.0:0", "127.7.7.7", "127.7.7.7");
    check("[::]:0", "::1", "::1");
    check("[::]:0", "127.7.7.7", "::ffff:127.7.7.7");
}
