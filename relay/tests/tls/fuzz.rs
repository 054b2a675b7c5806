//! Whatever arrives, at whatever moment: an answer, never a panic.

use hushwire_relay::transport::{Blame, Progress, limits};
use hushwire_wire::cell::Class;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::{RawClient, Reader, SUITES, both, cell, new_client, pull};

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let record = (0..40_u16, vec(any::<u8>(), 0..300)).prop_map(|(length, body)| {
        let [high, low] = length.to_be_bytes();
        [&[23, 3, 3, high, low][..], &body].concat()
    });
    prop_oneof![vec(any::<u8>(), 0..600), record]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_bytes_instead_of_a_handshake(pieces in vec(bytes(), 1..6), as_handshake: bool) {
        let (server, _) = both(SUITES[0]);
        let mut handshake = server.handshake().unwrap();
        let mut output = Vec::new();
        for (index, mut piece) in pieces.into_iter().enumerate() {
            if as_handshake && index == 0 && piece.len() > 5 {
                piece[..3].copy_from_slice(&[22, 3, 1]);
            }
            if let Err(fault) = handshake.advance(&piece, &mut output) {
                prop_assert_eq!(fault.blame(), Blame::Peer, "{}", fault);
                break;
            }
        }
        prop_assert!(output.len() < limits::HANDSHAKE_BYTES_MAX);
    }

    #[test]
    fn a_client_hello_damaged_and_cut_into_records(
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        record in 1..2_000_usize,
        twice: bool,
        behind in bytes(),
    ) {
        let (server, client) = both(SUITES[0]);
        let mut message = pull(&mut new_client(&client)).split_off(5);
        for (at, value) in damage {
            let at = at.index(message.len());
            message[at] = value;
        }
        if twice {
            message.extend_from_within(..);
        }
        let mut stream = Vec::new();
        for part in message.chunks(record) {
            let [high, low] = u16::try_from(part.len()).unwrap().to_be_bytes();
            stream.extend_from_slice(&[22, 3, 1, high, low]);
            stream.extend_from_slice(part);
        }
        stream.extend_from_slice(&behind);
        let mut handshake = server.handshake().unwrap();
        let (mut rest, mut output) = (&stream[..], Vec::new());
        while !rest.is_empty() {
            match handshake.advance(rest, &mut output) {
                Ok(Progress::More { consumed } | Progress::Flight { consumed }) => {
                    rest = &rest[consumed..];
                }
                Ok(Progress::Done { .. }) => prop_assert!(false, "a handshake without Finished"),
                Err(fault) => {
                    prop_assert_eq!(fault.blame(), Blame::Peer, "{}", fault);
                    break;
                }
            }
        }
    }

    #[test]
    fn random_bytes_behind_the_first_flight(pieces in vec(bytes(), 1..6)) {
        let (server, client) = both(SUITES[0]);
        let mut handshake = server.handshake().unwrap();
        let mut output = Vec::new();
        handshake.advance(&pull(&mut new_client(&client)), &mut output).unwrap();
        for piece in pieces {
            if let Err(fault) = handshake.advance(&piece, &mut output) {
                prop_assert_eq!(fault.blame(), Blame::Peer, "{}", fault);
                break;
            }
        }
    }

    #[test]
    fn random_bytes_after_the_handshake(good in 0..3_usize, pieces in vec(bytes(), 1..6)) {
        let (server, mut client) = RawClient::connect(SUITES[good]);
        let mut reader = Reader::new(server.opener, Class::C7);
        let cells: Vec<u8> = (0..good).flat_map(|_| client.cell(&cell(Class::C0, 1))).collect();
        prop_assert_eq!(reader.push(&cells).unwrap().0.len(), good);
        for piece in pieces {
            if let Err(fault) = reader.push(&piece) {
                prop_assert_eq!(fault.blame(), Blame::Peer, "{}", fault);
                break;
            }
        }
    }

    #[test]
    fn well_sealed_nonsense(inner in vec(any::<u8>(), 1..400), kind in 20..25_u8, padding in 0..40_usize) {
        let (server, mut client) = RawClient::connect(SUITES[0]);
        let mut reader = Reader::new(server.opener, Class::C7);
        let records = [client.seal(kind, &inner, padding), client.seal_inner(&inner)].concat();
        if let Err(fault) = reader.push(&records) {
            prop_assert_eq!(fault.blame(), Blame::Peer, "{}", fault);
        }
    }

    #[test]
    fn damaged_streams(at in 0..2_000_usize, flip in 1..=255_u8, piece in 1..700_usize) {
        let (server, mut client) = RawClient::connect(SUITES[2]);
        let mut reader = Reader::new(server.opener, Class::C7);
        let mut stream: Vec<u8> = (0..6).flat_map(|seed| client.cell(&cell(Class::C0, seed))).collect();
        let at = at % stream.len();
        stream[at] ^= flip;
        let mut cells = 0;
        for piece in stream.chunks(piece) {
            match reader.push(piece) {
                Ok((whole, _)) => cells += whole.len(),
                Err(fault) => {
                    prop_assert_eq!(fault.blame(), Blame::Peer, "{}", fault);
                    break;
                }
            }
        }
        // What came before the damage is delivered at most, what follows never.
        prop_assert!(cells <= at / 278);
    }
}
