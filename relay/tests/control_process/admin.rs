//! The admin socket: what it answers, and what it does to those who misuse it.

use hushwire_relay::control::admin::{Answer, LINE_BYTES_MAX, Question};
use hushwire_relay::control::limits::ADMIN_CLIENTS_MAX;
use hushwire_wire::code::{Invite, Trust};

use crate::support::{Home, Line, ask};

#[track_caller]
fn sentence(answer: Answer) -> String {
    let Answer::Failed { sentence } = answer else { panic!("{answer:?}") };
    sentence
}

#[test]
fn status_tells_who_and_where() {
    let home = Home::new();
    let daemon = home.start();
    let status = daemon.status();
    assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
    assert_eq!((status.relay_id.len(), status.pin.len()), (52, 64));
    assert_eq!(status.public_address, status.listen[0], "an address that can be dialled");
    assert!(!status.draining);
    assert!(status.resident_bytes > 0 && status.resident_bytes_max >= status.resident_bytes);
    assert!(status.memory_bill_bytes > status.resident_bytes);
    assert_eq!(status.totals.len(), hushwire_relay::metrics::catalogue().count());
    assert_eq!((status.store.devices, status.store.invites), (0, 0));
}

#[test]
fn an_invite_carries_what_a_device_needs() {
    let home = Home::new();
    let config = home
        .config()
        .replace("[relay]\n", "[relay]\npublic_address = \"relay.example.org:4433\"\n");
    let daemon = home.start_with(&config);
    let answer = ask(&home.socket(), &Question::Invite { account: None, ttl_s: 60 });
    let Answer::Invite { invite, expires_unix_s } = answer else { panic!("{answer:?}") };
    let invite = Invite::from_text(&invite).unwrap();
    let status = daemon.status();
    assert_eq!(invite.relay.address(), "relay.example.org:4433");
    assert_eq!(invite.relay.relay().to_text(), status.relay_id);
    let Trust::Pin(pin) = invite.relay.trust() else { panic!("{invite:?}") };
    assert_eq!(pin.map(|byte| format!("{byte:02x}")).concat(), status.pin);
    assert!(expires_unix_s > 1_700_000_000);
    assert_eq!(status.store.invites, 1);
}

#[test]
fn what_cannot_be_done_says_why() {
    let home = Home::new();
    let config = home
        .config()
        .replace("address = \"127.0.0.1:0\"\n[relay]", "address = \"0.0.0.0:0\"\n[relay]");
    let _daemon = home.start_with(&config);
    let check = |question: Question, words: &str| {
        let sentence = sentence(ask(&home.socket(), &question));
        assert!(sentence.contains(words), "{words:?} is not in {sentence:?}");
    };
    let nobody = "a".repeat(52);
    check(Question::Revoke { device: "x".into() }, "no device ID");
    check(Question::Revoke { device: "A".repeat(52) }, "no device ID");
    check(Question::Revoke { device: nobody }, "no such device");
    check(Question::Devices { after: Some("é".repeat(26)) }, "no device ID");
    check(Question::Invite { account: Some("y".into()), ttl_s: 60 }, "no account ID");
    check(Question::Invite { account: None, ttl_s: 0 }, "between 1 second and 30 days");
    check(Question::Invite { account: None, ttl_s: u32::MAX }, "between 1 second and 30 days");
    check(Question::Invite { account: None, ttl_s: 60 }, "[relay] public_address");
}

#[test]
fn an_account_that_does_not_exist_gets_no_invite() {
    let home = Home::new();
    let _daemon = home.start();
    let account = Some("a".repeat(26));
    let answer = ask(&home.socket(), &Question::Invite { account, ttl_s: 60 });
    assert!(sentence(answer).contains("no such account"));
}

#[test]
fn nonsense_gets_a_sentence_and_the_line_stays() {
    let home = Home::new();
    let _daemon = home.start();
    let mut line = Line::open(&home.socket());
    for nonsense in [&b"\n"[..], b"\xff\n", b"status\n", b"{\"ask\":\"reboot\"}\n", b"[]\n"] {
        assert!(sentence(line.ask(nonsense)).contains("not understood"), "{nonsense:?}");
    }
    // In pieces, and several at once.
    line.send(b"{\"ask\":").unwrap();
    assert!(matches!(line.ask(b"\"status\"}\n"), Answer::Status(_)));
    line.send(b"{\"ask\":\"status\"}\n{\"ask\":\"status\"}\n").unwrap();
    assert!(matches!(line.answer(), Some(Answer::Status(_))));
    assert!(matches!(line.answer(), Some(Answer::Status(_))));
}

#[test]
fn an_oversized_line_ends_the_conversation() {
    let home = Home::new();
    let daemon = home.start();
    let mut line = Line::open(&home.socket());
    // The relay stops reading at its bound, so the rest may not find a reader.
    let _cut_off = line.send(&vec![b'x'; 4 * LINE_BYTES_MAX]);
    if let Some(answer) = line.answer() {
        assert!(sentence(answer).contains("longer than a line may be"));
    }
    assert_eq!(line.answer(), None);
    let _goes_on = daemon.status();
}

#[test]
fn too_many_clients_are_told_so() {
    let home = Home::new();
    let daemon = home.start();
    let mut lines: Vec<Line> = (0..ADMIN_CLIENTS_MAX).map(|_| Line::open(&home.socket())).collect();
    for line in &mut lines {
        assert!(matches!(line.ask(b"{\"ask\":\"status\"}\n"), Answer::Status(_)));
    }
    let mut late = Line::open(&home.socket());
    assert!(sentence(late.answer().unwrap()).contains("too many clients"));
    assert_eq!(late.answer(), None);
    assert!(matches!(lines[0].ask(b"{\"ask\":\"status\"}\n"), Answer::Status(_)));
    drop((lines, daemon));
}

#[test]
fn a_client_that_says_nothing_more_is_cut_off() {
    let home = Home::new();
    let daemon = home.start();
    let mut line = Line::open(&home.socket());
    line.send(b"{\"ask\":").unwrap();
    assert!(sentence(line.answer().unwrap()).contains("no question came in time"));
    assert_eq!(line.answer(), None);
    let _goes_on = daemon.status();
}
