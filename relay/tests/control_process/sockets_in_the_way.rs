//! A start that meets somebody else: on the port, on the sockets, in the data directory.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use rustix::process::Signal;

use crate::support::Home;

#[test]
fn a_port_in_use() {
    let home = Home::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let ended = home.fail_with(&home.config_on(address));
    ended.expect(75, "is in use by another process");
    assert!(ended.error.contains(&address.to_string()));

    let control = home.config().replace(
        "[control]\nlisten = \"127.0.0.1:0\"",
        &format!("[control]\nlisten = \"{address}\""),
    );
    home.fail_with(&control).expect(75, "[control] listen");
}

#[test]
fn the_port_of_another_relay() {
    let (home, second) = (Home::new(), Home::new());
    let first = home.start();
    let address = first.status().listen[0].parse().unwrap();
    second.fail_with(&second.config_on(address)).expect(75, "is in use by another process");
    assert_eq!(first.status().relay_id.len(), 52, "the first one goes on");
}

#[test]
fn an_address_of_another_machine() {
    let home = Home::new();
    let config = home.config_on("192.0.2.1:4433".parse().unwrap());
    home.fail_with(&config).expect(78, "is not an address of this machine");
}

#[test]
fn two_relays_on_one_data_directory() {
    let home = Home::new();
    let first = home.start();
    let config = home.config().replace("admin.sock", "second.sock");
    home.fail_with(&config).expect(75, "in use by another relay");
    assert!(!home.path("second.sock").exists(), "nothing is left behind");
    let _goes_on = first.status();
}

#[test]
fn two_relays_on_one_admin_socket() {
    let home = Home::new();
    let first = home.start();
    let config = home.config().replace("/data\"", "/data2\"");
    home.fail_with(&config).expect(75, "another relay listens on");
    let _goes_on = first.status();
}

#[test]
fn the_socket_of_a_relay_that_was_killed_is_replaced() {
    let home = Home::new();
    drop(UnixListener::bind(home.socket()).unwrap());
    let daemon = home.start();
    let mode = std::fs::metadata(home.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    daemon.kill();
    assert!(home.socket().exists(), "nobody was left to remove it");
    let _starts_again = home.start().status();
}

#[test]
fn a_file_in_the_place_of_the_socket() {
    let home = Home::new();
    std::fs::write(home.socket(), "precious").unwrap();
    home.fail_with(&home.config()).expect(73, "is not a socket");
    assert_eq!(std::fs::read(home.socket()).unwrap(), b"precious");
}

#[test]
fn a_data_directory_that_others_can_enter() {
    let home = Home::new();
    std::fs::create_dir(home.data()).unwrap();
    std::fs::set_permissions(home.data(), PermissionsExt::from_mode(0o755)).unwrap();
    home.fail_with(&home.config()).expect(77, "chmod 700");
}

#[test]
fn more_connections_than_files() {
    let home = Home::new();
    let config = home.config().replace("\nconnections_max = 256", "\nconnections_max = 4_194_304");
    home.fail_with(&config).expect(69, "LimitNOFILE");
}

#[test]
fn fewer_files_than_connections_unless_their_number_is_set() {
    let home = Home::new();
    let unset =
        home.config().replace("connections_max = 256\nunauthenticated_connections_max = 256\n", "");
    let relay = home.start_within(600, &unset);
    relay.signal(Signal::TERM);
    let (code, log) = relay.wait();
    assert_eq!(code, Some(0), "{log}");
    let warned = log.lines().find(|line| line.contains("LimitNOFILE")).expect("a warning");
    assert!(warned.contains("WARN") && warned.contains("connections_max=258"), "{warned}");

    let set = home.config().replace("connections_max = 256\n", "connections_max = 300\n");
    let relay = home.start_within(1_000, &set);
    relay.signal(Signal::TERM);
    let (code, log) = relay.wait();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("WARN"), "{log}");
}
