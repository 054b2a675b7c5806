//! Frames inside a cell: layouts, contradictions, and any bytes at all.

use hushwire::fuzzing;
use hushwire::suite::frame_types::{
    Ack, AckRange, AckRanges, Data, Frame, FrameError, FrameWriter, Frames, Full, Stream,
};
use proptest::prelude::*;

fn written(frames: &[Frame<'_>]) -> Vec<u8> {
    let mut buffer = vec![0xff; 32_672];
    let mut writer = FrameWriter::new(&mut buffer);
    for frame in frames {
        writer.push(frame).expect("fits");
    }
    let length = writer.len();
    buffer.truncate(length);
    buffer
}

fn ranges(list: &[(u32, u32)]) -> AckRanges {
    let mut ranges = AckRanges::default();
    for &(from_next, count) in list {
        ranges.push(AckRange { from_next, count }).expect("a range that fits");
    }
    ranges
}

fn data(offset: u32, total: u32, expiry_s: Option<u64>, bytes: &[u8]) -> Frame<'_> {
    Frame::Data(Data { slot: 0x0201, sequence: 0x03, offset, total, expiry_s, bytes })
}

#[test]
fn layouts_are_those_of_the_annex() {
    let check = |frame: Frame<'_>, expect: &[u8]| {
        assert_eq!(written(&[frame]), expect, "{frame:?}");
        let read: Vec<_> = Frames::new(expect).collect();
        assert_eq!(read, [Ok(frame)]);
    };
    check(Frame::Padding { length: 2 }, &[0x00, 0, 0]);
    let head = [0x10, 1, 1, 2, 2, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0];
    check(data(0, 2, None, b"hi"), &[&head[..], b"hi"].concat());
    let head = [0x10, 2, 1, 2, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 9, 0, 0, 0, 0, 0];
    check(data(4, 9, Some(5), b"x"), &[&head[..], &[5, 0, 0, 0, 0, 0, 0, 0], b"x"].concat());
    let stream = Stream { stream: 6, offset: 7, fin: true, bytes: b"end" };
    let head = [0x11, 1, 3, 0, 6, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0];
    check(Frame::Stream(stream), &[&head[..], b"end"].concat());
    let ack = Ack { slot: 1, next: 2, ranges: ranges(&[(0, 1), (3, 2)]) };
    let head = [0x12, 2, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0];
    let tail = [0, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0];
    check(Frame::Ack(ack), &[&head[..], &tail].concat());
    let open =
        Frame::Open { slot: 1, conversation: [9; 16], incarnation: 2, first_held: 3, next: 4 };
    let tail = [2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0];
    check(open, &[&[0x13, 0, 1, 0][..], &[9; 16], &tail].concat());
    let tail = [2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
    let state = Frame::State { slot: 1, incarnation: 2, next_expected: 3 };
    check(state, &[&[0x14, 0, 1, 0][..], &tail].concat());
    let gap = Frame::Gap { slot: 1, from: 2, to: 3 };
    check(gap, &[&[0x15, 0, 1, 0][..], &tail].concat());
    let reject = Frame::Reject { slot: 1, sequence: 2, reason: 3 };
    check(reject, &[0x16, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0]);
    check(Frame::Reset { reason: 1, stream: 2 }, &[0x17, 0, 1, 0, 2, 0, 0, 0]);
    let window = Frame::Window { stream: 1, limit: 2 };
    check(window, &[0x18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    check(Frame::Handshake { message: b"hs" }, &[0x19, 0, 2, 0, b'h', b's']);
    check(Frame::Close { reason: 0x0102 }, &[0x1a, 0, 2, 1]);
}

#[test]
fn contradictions_are_the_peers_fault() {
    let check = |frame: Frame<'_>, at: usize, value: u8| {
        let mut bytes = written(&[frame]);
        let kind = bytes[0];
        bytes[at] = value;
        let read: Vec<_> = Frames::new(&bytes).collect();
        assert_eq!(read, [Err(FrameError::Field(kind))], "{frame:?} byte {at}");
    };
    check(Frame::Padding { length: 5 }, 3, 1);
    let whole = data(0, 2, None, b"hi");
    check(whole, 1, 0);
    check(whole, 1, 5);
    check(whole, 14, 1);
    check(whole, 18, 1);
    check(whole, 18, 3);
    check(whole, 22, 1);
    check(whole, 23, 1);
    check(data(0, 9, None, b"h"), 4, 0);
    check(data(u32::MAX - 1, u32::MAX, None, b"h"), 4, 2);
    let stream =
        Frame::Stream(Stream { stream: 1, offset: u64::MAX - 2, fin: false, bytes: b"ab" });
    check(stream, 1, 2);
    check(stream, 2, 3);
    let ack = Frame::Ack(Ack { slot: 1, next: 2, ranges: ranges(&[(1, 2), (3, 2)]) });
    check(ack, 12, 2);
    check(ack, 16, 0);
    check(ack, 20, 2);
    check(Frame::Gap { slot: 1, from: 2, to: 3 }, 12, 2);
    for frame in [
        Frame::Open { slot: 1, conversation: [9; 16], incarnation: 2, first_held: 3, next: 4 },
        Frame::State { slot: 1, incarnation: 2, next_expected: 3 },
        Frame::Gap { slot: 1, from: 2, to: 3 },
        Frame::Reject { slot: 1, sequence: 2, reason: 3 },
        Frame::Reset { reason: 1, stream: 2 },
        Frame::Window { stream: 1, limit: 2 },
        Frame::Handshake { message: b"hs" },
        Frame::Close { reason: 1 },
    ] {
        check(frame, 1, 1);
    }
    check(Frame::Window { stream: 1, limit: 2 }, 3, 1);
}

#[test]
fn every_frame_but_padding_notices_its_missing_end() {
    for frame in [
        data(0, 2, Some(1), b"hi"),
        Frame::Stream(Stream { stream: 1, offset: 2, fin: false, bytes: b"ab" }),
        Frame::Ack(Ack { slot: 1, next: 2, ranges: ranges(&[(1, 1)]) }),
        Frame::Open { slot: 1, conversation: [9; 16], incarnation: 2, first_held: 3, next: 4 },
        Frame::State { slot: 1, incarnation: 2, next_expected: 3 },
        Frame::Gap { slot: 1, from: 2, to: 3 },
        Frame::Reject { slot: 1, sequence: 2, reason: 3 },
        Frame::Reset { reason: 1, stream: 2 },
        Frame::Window { stream: 1, limit: 2 },
        Frame::Handshake { message: b"hs" },
        Frame::Close { reason: 1 },
    ] {
        let bytes = written(&[frame]);
        for length in 1..bytes.len() {
            let read: Vec<_> = Frames::new(&bytes[..length]).collect();
            assert_eq!(read, [Err(FrameError::Truncated(bytes[0]))], "{frame:?} cut to {length}");
        }
    }
}

#[test]
fn reading_ends_behind_the_first_error() {
    let mut bytes = written(&[Frame::Close { reason: 1 }]);
    bytes.extend_from_slice(&[0x1b, 0x1a, 0, 1, 0]);
    let read: Vec<_> = Frames::new(&bytes).collect();
    assert_eq!(read, [Ok(Frame::Close { reason: 1 }), Err(FrameError::Unknown(0x1b))]);
    assert_eq!(Frames::new(&[]).count(), 0);
    for unknown in (0x01..0x10).chain(0x1b..=0xff) {
        let content = [unknown, 0, 0];
        let read: Vec<_> = Frames::new(&content).collect();
        assert_eq!(read, [Err(FrameError::Unknown(unknown))]);
    }
}

#[test]
fn a_full_cell_takes_nothing_more() {
    let mut buffer = [0; 10];
    let mut writer = FrameWriter::new(&mut buffer);
    assert!(writer.is_empty());
    writer.push(&Frame::Reset { reason: 1, stream: 2 }).expect("fits");
    assert_eq!(writer.push(&Frame::Close { reason: 1 }), Err(Full { needed: 4, left: 2 }));
    writer.push(&Frame::Padding { length: 1 }).expect("fits");
    assert_eq!((writer.len(), writer.left()), (10, 0));
}

#[test]
fn a_message_of_136_bytes_fits_the_smallest_cell() {
    assert_eq!(data(0, 136, None, &[1; 136]).encoded_len(), 160);
}

#[test]
fn acknowledged_ranges_ascend_and_stay_apart() {
    let mut ranges = ranges(&[(0, 1), (1, 3), (10, 1)]);
    for (from_next, count) in [(10, 1), (9, 1), (20, 0), (u32::MAX, 1)] {
        assert_eq!(ranges.push(AckRange { from_next, count }), None, "{from_next} {count}");
    }
    for number in 0..12 {
        ranges.push(AckRange { from_next: 20 + number, count: 1 }).expect("up to fifteen");
    }
    assert_eq!(ranges.push(AckRange { from_next: 100, count: 1 }), None);
    assert_eq!(ranges.as_slice().len(), 15);
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let bytes = proptest::collection::vec(any::<u8>(), 1..64);
    prop_oneof![
        (any::<u16>(), any::<u64>(), 0u32..1_000, 0u32..1_000, any::<Option<u64>>(), bytes.clone())
            .prop_map(|(slot, sequence, offset, rest, expiry_s, bytes)| {
                let total = offset + bytes.len() as u32 + rest;
                let bytes = bytes.as_slice();
                written(&[Frame::Data(Data { slot, sequence, offset, total, expiry_s, bytes })])
            }),
        (any::<u32>(), 0..u64::MAX / 2, any::<bool>(), bytes).prop_map(
            |(stream, offset, fin, bytes)| {
                written(&[Frame::Stream(Stream { stream, offset, fin, bytes: &bytes })])
            }
        ),
        (any::<u16>(), any::<u64>(), any::<u16>()).prop_map(|(slot, sequence, reason)| written(&[
            Frame::Reject { slot, sequence, reason }
        ])),
        (any::<u32>(), any::<u64>())
            .prop_map(|(stream, limit)| written(&[Frame::Window { stream, limit }])),
    ]
}

proptest! {
    #[test]
    fn any_frames_are_read_as_written(frames in proptest::collection::vec(any_frame(), 0..8)) {
        let content = frames.concat();
        let read: Result<Vec<_>, _> = Frames::new(&content).collect();
        prop_assert_eq!(written(&read.expect("valid")), content);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(data in proptest::collection::vec(any::<u8>(), 0..256)) {
        fuzzing::frames(&data);
    }

    #[test]
    fn any_bytes_behind_a_known_type_are_read_without_a_panic(
        kind in 0x10u8..=0x1a,
        mut data in proptest::collection::vec(0u8..4, 1..256),
    ) {
        data[0] = kind;
        fuzzing::frames(&data);
    }
}
