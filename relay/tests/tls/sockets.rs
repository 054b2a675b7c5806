//! Over TCP: cells of every class through a real connection, both ways, cut as the network likes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use hushwire_relay::transport::{CarryPool, Event, Inbound, limits};
use hushwire_wire::cell::Class;
use rustls::StreamOwned;

use crate::support::{CHALLENGE, SUITES, both, cell, new_client, step};

#[test]
fn an_echo_of_cells() {
    for suite in SUITES {
        let (server, config) = both(suite);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let relay = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut handshake = server.handshake().unwrap();
            let (mut scratch, mut output) =
                (vec![0; limits::SCRATCH_BYTES], Vec::with_capacity(100_000));
            let (established, mut behind) = loop {
                let read = stream.read(&mut scratch).unwrap();
                assert!(read > 0, "the client left during the handshake");
                let done = step(&mut handshake, &scratch[..read], &mut output, &CHALLENGE).unwrap();
                let done = done.map(|(established, rest)| (established, rest.to_vec()));
                stream.write_all(&output).unwrap();
                output.clear();
                if let Some(done) = done {
                    break done;
                }
            };
            let mut sealer = established.sealer;
            let mut inbound = Inbound::new(established.opener, Class::C7);
            let mut pool = CarryPool::default();
            loop {
                let mut cursor = inbound.begin(&mut scratch, &mut pool);
                let end = cursor.end();
                if behind.is_empty() {
                    cursor.received(stream.read(&mut scratch[end..]).unwrap());
                } else {
                    scratch[end..end + behind.len()].copy_from_slice(&behind);
                    cursor.received(behind.len());
                    behind.clear();
                }
                assert!(cursor.end() > end, "the client left without close_notify");
                loop {
                    match inbound.next(&mut scratch, &mut cursor, 0).unwrap() {
                        Event::Cell(range) => sealer.seal(&scratch[range], &mut output).unwrap(),
                        Event::Framed(records) => {
                            sealer.seal_in_place(&mut scratch[records.clone()]).unwrap();
                            output.extend_from_slice(&scratch[records]);
                        }
                        Event::AnswerKeyUpdate => sealer.request_update(),
                        Event::Closed => return,
                        Event::NeedMore => break,
                    }
                }
                if sealer.update_due() {
                    sealer.key_update(256, &mut output).unwrap();
                }
                inbound.end(&scratch, &cursor, &mut pool, 0).unwrap();
                stream.write_all(&output).unwrap();
                output.clear();
            }
        });

        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut tls = StreamOwned::new(new_client(&config), stream);
        let mut challenge = [0; 256];
        tls.read_exact(&mut challenge).unwrap();
        assert_eq!(challenge, CHALLENGE);
        for round in 0..20_u8 {
            let cells: Vec<u8> = Class::ALL.iter().flat_map(|&class| cell(class, round)).collect();
            for &class in &Class::ALL {
                tls.write_all(&cell(class, round)).unwrap();
            }
            tls.flush().unwrap();
            let mut echo = vec![0; cells.len()];
            tls.read_exact(&mut echo).unwrap();
            assert!(echo == cells, "round {round}");
            if round % 5 == 4 {
                tls.conn.refresh_traffic_keys().unwrap();
            }
        }
        tls.conn.send_close_notify();
        tls.flush().unwrap();
        relay.join().unwrap();
    }
}
