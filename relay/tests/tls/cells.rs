//! Cells from records that arrive cut anywhere, and what is no cell.

use std::io::Write;

use hushwire_relay::transport::{
    Blame, Carry, CarryPool, CellFault, Cursor, Event, Fault, Inbound, PoolEmpty, Sealer, limits,
    record_len,
};
use hushwire_wire::cell::Class;
use proptest::collection::vec;
use proptest::prelude::*;
use rustls::{ClientConnection, SupportedCipherSuite};

use crate::support::{Link, RawClient, Reader, SUITES, Wire, both, cell, connect, pull, push};

fn reader(class_max: Class) -> (Reader, RawClient) {
    let (server, client) = RawClient::connect(SUITES[0]);
    (Reader::new(server.opener, class_max), client)
}

#[test]
fn cells_of_every_class_in_one_read() {
    for suite in SUITES {
        let (server, mut client) = RawClient::connect(suite);
        let mut reader = Reader::new(server.opener, Class::C7);
        let cells: Vec<_> = Class::ALL.map(|class| cell(class, class as u8)).into();
        let stream: Vec<u8> = cells.iter().flat_map(|cell| client.cell(cell)).collect();
        assert_eq!(reader.push(&stream).unwrap(), (cells, vec![]));
        assert!(reader.inbound.carry().is_empty());
    }
}

#[test]
fn the_largest_cell_cut_anywhere() {
    let (mut reader, mut client) = reader(Class::C7);
    let (large, small) = (cell(Class::C7, 3), cell(Class::C0, 4));
    let record = record_len(16_384);
    let edges = [0, record, 2 * record];
    for at in 0..=2 * record {
        // Every byte near the ends of records, every 97th elsewhere.
        if !edges.iter().any(|edge| at.abs_diff(*edge) < 40) && at % 97 != 0 {
            continue;
        }
        let stream = [client.cell(&large), client.cell(&small)].concat();
        let (mut cells, _) = reader.push(&stream[..at]).unwrap();
        let carried = reader.inbound.carry();
        assert_eq!(carried.opened(), if (record..2 * record).contains(&at) { 16_384 } else { 0 });
        cells.extend(reader.push(&stream[at..]).unwrap().0);
        assert_eq!(cells, [&large[..], &small], "cut at {at}");
    }
}

#[test]
fn other_records_between_the_halves() {
    for at in [0, 5, 30, 300, 16_000] {
        let (server, config) = both(SUITES[0]);
        let mut link = connect(&server, &config, b"", Wire::Whole);
        let mut reader = Reader::new(link.server.opener, Class::C7);
        let large = cell(Class::C7, 1);
        link.client.writer().write_all(&large[..16_384]).unwrap();
        assert_eq!(reader.push(&pull(&mut link.client)).unwrap(), (vec![], vec![]));
        link.client.refresh_traffic_keys().unwrap();
        link.client.writer().write_all(&large[16_384..]).unwrap();
        let rest = pull(&mut link.client);
        let (front, back) = rest.split_at(at);
        let (mut cells, mut events) = reader.push(front).unwrap();
        let behind = reader.push(back).unwrap();
        cells.extend(behind.0);
        events.extend(behind.1);
        assert_eq!((cells, events), (vec![large], vec![Event::AnswerKeyUpdate]), "cut at {at}");
    }
}

#[test]
fn closing_ends_the_cells() {
    let (mut reader, mut client) = reader(Class::C7);
    let small = cell(Class::C1, 1);
    let stream =
        [client.cell(&small), client.seal(21, &[1, 0], 0), b"whatever follows".to_vec()].concat();
    assert_eq!(reader.push(&stream).unwrap(), (vec![small], vec![Event::Closed]));
}

#[test]
fn malformed_cells() {
    let check = |records: &[&[u8]], expect: CellFault| {
        let (mut reader, mut client) = reader(Class::C7);
        let stream: Vec<u8> = records.iter().flat_map(|plain| client.seal(23, plain, 0)).collect();
        let fault = reader.push(&stream).unwrap_err();
        assert_eq!((fault.blame(), fault), (Blame::Peer, Fault::Malformed(expect)));
    };
    let of = |class| cell(class, 1);
    let split = |cell, record| CellFault::NotOneRecord { cell, record };
    check(&[b""], CellFault::Short(0));
    check(&[b"x"], CellFault::Short(1));
    check(&[&of(Class::C0)[..63]], CellFault::Short(63));
    check(&[&{ of(Class::C0) }[..255]], split(256, 255));
    check(&[&[of(Class::C0), vec![0]].concat()], split(256, 257));
    // Two cells in one record, and one over two.
    check(&[&[of(Class::C0), of(Class::C0)].concat()], split(256, 512));
    check(&[&of(Class::C3)[..1_024], &of(Class::C3)[1_024..]], split(2_048, 1_024));
    // The 32 KiB cell in halves of another size, or followed by something else.
    let largest = of(Class::C7);
    check(&[&largest[..16_000], &largest[16_000..]], split(32_768, 16_000));
    check(&[&largest[..16_384], &of(Class::C0)], split(32_768, 16_640));
    check(&[&largest[..16_384], &largest[16_384..32_767]], split(32_768, 32_767));
    check(&[&largest[..16_384], b""], split(32_768, 16_384));
    for class in [8, 9, 255] {
        let mut cell = of(Class::C0);
        cell[1] = class;
        check(&[&cell], CellFault::Class(class));
    }
}

#[test]
fn before_welcome_only_small_cells() {
    let (mut reader, mut client) = reader(Class::C3);
    let allowed = cell(Class::C3, 1);
    assert_eq!(reader.push(&client.cell(&allowed)).unwrap().0, [&allowed[..]]);
    // A larger one is refused at its header.
    let fault = reader.push(&client.cell(&cell(Class::C4, 1))[..5]).unwrap_err();
    assert_eq!(fault, Fault::RecordTooLong(4_096 + 17));

    let (mut reader, mut client) = self::reader(Class::C3);
    let mut lying = cell(Class::C3, 1);
    lying[1] = 7;
    let fault = reader.push(&client.cell(&lying)).unwrap_err();
    assert_eq!(fault, Fault::Malformed(CellFault::TooLarge(7)));

    let (mut reader, mut client) = self::reader(Class::C3);
    reader.inbound.allow(Class::C7);
    let large = cell(Class::C7, 1);
    assert_eq!(reader.push(&client.cell(&large)).unwrap().0, [&large[..]]);
}

#[test]
fn the_pool_is_bounded_and_shared_by_its_classes() {
    let sizes = limits::CARRY_CLASS_BYTES;
    let mut pool = CarryPool::new(sizes[3] + sizes[0]);
    let mut carries: Vec<Carry> = (0..3).map(|_| Carry::default()).collect();
    let [largest, small, other] = &mut carries[..] else { unreachable!() };
    largest.store(&[1; 16_384], &[2; 9], record_len(16_384), 7, &mut pool).unwrap();
    small.store(&[], &[3; 4], 5, 9, &mut pool).unwrap();
    assert_eq!(pool.bytes(), sizes[3] + sizes[0]);
    assert_eq!((largest.partial_since_ns(), small.partial_since_ns()), (Some(7), Some(9)));
    let empty = other.store(&[], &[4; 4], record_len(256), 9, &mut pool);
    assert_eq!(empty, Err(PoolEmpty { bytes: sizes[0] }));
    assert!(other.is_empty());

    // The one that has been partial longest goes; its buffer makes way for smaller ones.
    largest.release(&mut pool);
    assert_eq!((largest.len(), largest.partial_since_ns()), (0, None));
    other.store(&[], &[4; 4], record_len(256), 9, &mut pool).unwrap();
    assert_eq!((other.bytes(), small.bytes()), (&[4; 4][..], &[3; 4][..]));
    assert_eq!(pool.bytes(), 2 * sizes[0]);
}

#[test]
fn a_partial_record_without_room_can_be_tried_again() {
    let (mut reader, mut client) = reader(Class::C7);
    let stream = client.cell(&cell(Class::C0, 1));
    let mut none = CarryPool::new(0);
    let mut scratch = vec![0; limits::SCRATCH_BYTES];
    scratch[..100].copy_from_slice(&stream[..100]);
    let mut cursor = Cursor::over(100);
    assert_eq!(reader.inbound.next(&mut scratch, &mut cursor, 0).unwrap(), Event::NeedMore);
    assert!(reader.inbound.end(&scratch, &cursor, &mut none, 0).is_err());
    reader.inbound.end(&scratch, &cursor, &mut reader.pool, 3).unwrap();
    assert_eq!(reader.inbound.carry().partial_since_ns(), Some(3));
    assert_eq!(reader.push(&stream[100..]).unwrap().0, [cell(Class::C0, 1)]);
}

#[test]
fn carried_bytes_move_to_another_shard() {
    for at in [3, 200, 16_406, 16_406 + 7, 32_000] {
        let (mut reader, mut client) = reader(Class::C7);
        let large = cell(Class::C7, 5);
        let stream = client.cell(&large);
        reader.push(&stream[..at]).unwrap();
        let carried = reader.inbound.take_carried(&mut reader.pool);
        assert!(reader.inbound.carry().is_empty());
        reader.pool = CarryPool::default();
        reader.inbound.put_carried(&carried, &mut reader.pool).unwrap();
        assert_eq!(reader.push(&stream[at..]).unwrap().0, [large]);
    }
}

/// A relay that sends every cell back to its client, from where it stands where it can be.
struct Echo {
    client: ClientConnection,
    inbound: Inbound,
    sealer: Sealer,
    pool: CarryPool,
    scratch: Vec<u8>,
    /// Cells that had to be copied.
    copied: usize,
}

impl Echo {
    fn new(suite: SupportedCipherSuite) -> Self {
        let (server, config) = both(suite);
        let Link { client, server, .. } = connect(&server, &config, b"", Wire::Whole);
        Self {
            client,
            inbound: Inbound::new(server.opener, Class::C7),
            sealer: server.sealer,
            pool: CarryPool::default(),
            scratch: vec![0; 2 * limits::SCRATCH_BYTES],
            copied: 0,
        }
    }

    /// The records of cells as the client sends them.
    fn sent(&mut self, cells: &[Vec<u8>]) -> Vec<u8> {
        let mut stream = Vec::new();
        for cell in cells {
            self.client.writer().write_all(cell).unwrap();
            stream.extend(pull(&mut self.client));
        }
        stream
    }

    /// What the client reads of what comes back for these bytes.
    fn back(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut cursor = self.inbound.begin(&mut self.scratch, &mut self.pool);
        let end = cursor.end();
        self.scratch[end..end + bytes.len()].copy_from_slice(bytes);
        cursor.received(bytes.len());
        let mut output = Vec::new();
        loop {
            let records = match self.inbound.next(&mut self.scratch, &mut cursor, 0).unwrap() {
                Event::Framed(records) => records,
                Event::Cell(cell) => {
                    self.copied += 1;
                    self.sealer.seal(&self.scratch[cell], &mut output).unwrap();
                    continue;
                }
                Event::NeedMore => break,
                other @ (Event::AnswerKeyUpdate | Event::Closed) => panic!("{other:?}"),
            };
            self.sealer.seal_in_place(&mut self.scratch[records.clone()]).unwrap();
            output.extend_from_slice(&self.scratch[records]);
        }
        self.inbound.end(&self.scratch, &cursor, &mut self.pool, 0).unwrap();
        let mut plain = Vec::new();
        for part in output.chunks(4_096) {
            plain.extend(push(&mut self.client, part).unwrap());
        }
        plain
    }
}

#[test]
fn large_cells_are_sealed_again_where_they_stand() {
    for suite in SUITES {
        let mut echo = Echo::new(suite);
        let cells: Vec<_> = Class::ALL.map(|class| cell(class, class as u8)).into();
        for _ in 0..3 {
            let stream = echo.sent(&cells);
            assert_eq!(echo.back(&stream), cells.concat());
        }
        assert_eq!(echo.copied, 3 * 6, "those of less than 16 KiB");
    }
}

#[test]
fn what_does_not_fill_records_that_follow_each_other_is_copied() {
    // The first half of it came earlier.
    let mut echo = Echo::new(SUITES[0]);
    let largest = cell(Class::C7, 1);
    let stream = echo.sent(std::slice::from_ref(&largest));
    let (first, second) = stream.split_at(record_len(16_384) + 9);
    assert_eq!(echo.back(first), b"");
    assert_eq!((echo.back(second), echo.copied), (largest, 1));

    // Another record stands between the halves; and cells that fill their records, of a size that is copied, or padded.
    let (server, mut client) = RawClient::connect(SUITES[0]);
    let mut inbound = Inbound::new(server.opener, Class::C7);
    let largest = cell(Class::C7, 2);
    let small = cell(Class::C0, 3);
    let mut stream = [
        client.seal(23, &largest[..16_384], 0),
        client.seal(21, &[1, 90], 0),
        client.seal(23, &largest[16_384..], 0),
        client.seal(23, &small, 1),
        client.seal(23, &small, 0),
    ]
    .concat();
    let mut cursor = Cursor::over(stream.len());
    for expect in [&largest, &small, &small] {
        let Event::Cell(cell) = inbound.next(&mut stream, &mut cursor, 0).unwrap() else {
            panic!("a cell in one piece")
        };
        assert_eq!(&stream[cell.clone()], &expect[..]);
    }
    // Padding does not fit behind a full one.
    let mut padded = client.seal(23, &cell(Class::C6, 4), 1);
    let mut cursor = Cursor::over(padded.len());
    let fault = inbound.next(&mut padded, &mut cursor, 0).unwrap_err();
    assert_eq!(fault, Fault::RecordTooLong(16_384 + 1 + 17));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_cells_in_any_pieces(
        classes in vec(0..8_u8, 1..12),
        pieces in vec(1..70_000_usize, 1..8),
    ) {
        let (mut reader, mut client) = reader(Class::C7);
        let cells: Vec<_> = classes
            .iter()
            .map(|&number| cell(Class::from_wire(number).unwrap(), number))
            .collect();
        let stream: Vec<u8> = cells.iter().flat_map(|cell| client.cell(cell)).collect();
        let (mut got, mut rest, mut sizes) = (Vec::new(), &stream[..], pieces.iter().cycle());
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((*sizes.next().unwrap()).min(65_536).min(rest.len()));
            got.extend(reader.push(piece).unwrap().0);
            rest = behind;
        }
        prop_assert_eq!(got, cells);
        prop_assert!(reader.inbound.carry().is_empty());
    }

    #[test]
    fn any_cells_in_any_pieces_come_back(
        classes in vec(0..8_u8, 1..12),
        pieces in vec(1..70_000_usize, 1..8),
    ) {
        let mut echo = Echo::new(SUITES[0]);
        let cells: Vec<_> = classes
            .iter()
            .map(|&number| cell(Class::from_wire(number).unwrap(), number))
            .collect();
        let stream = echo.sent(&cells);
        let (mut got, mut rest, mut sizes) = (Vec::new(), &stream[..], pieces.iter().cycle());
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((*sizes.next().unwrap()).min(65_536).min(rest.len()));
            got.extend(echo.back(piece));
            rest = behind;
        }
        prop_assert_eq!(got, cells.concat());
        prop_assert!(echo.copied <= classes.iter().filter(|&&class| class != 6).count());
    }
}
