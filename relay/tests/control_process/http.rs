//! The loopback listener: what it answers, and what it does to those who misuse it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::support::{Home, PATIENCE, http};

fn status(answer: &str) -> &str {
    answer.split("\r\n").next().unwrap_or_default()
}

#[test]
fn health_and_metrics() {
    let home = Home::new();
    let daemon = home.start();
    let get =
        |path: &str| daemon.http(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes());
    assert_eq!(status(&get("/livez")), "HTTP/1.1 200 OK");
    assert_eq!(status(&get("/readyz")), "HTTP/1.1 200 OK");
    let metrics = get("/metrics");
    assert_eq!(status(&metrics), "HTTP/1.1 200 OK");
    assert!(metrics.contains("content-type: application/openmetrics-text"), "{metrics}");
    for metric in hushwire_relay::metrics::catalogue() {
        assert!(metrics.contains(&format!("# HELP hushwire_{} ", metric.name)), "{metric:?}");
    }
    assert!(metrics.contains("hushwire_cells_in_total{shard=\"0\"} 0"), "{metrics}");
    assert!(metrics.contains("hushwire_cells_in_total{shard=\"1\"} 0"), "{metrics}");
    assert!(metrics.contains("hushwire_store_devices 0"), "{metrics}");
}

#[test]
fn wrong_requests() {
    let home = Home::new();
    let daemon = home.start();
    let address: SocketAddr = daemon.status().control.parse().unwrap();
    let check = |request: &[u8], expect: &str| {
        let answer = http(address, request);
        assert_eq!(status(&answer), expect, "{:?}", String::from_utf8_lossy(request));
    };
    check(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", "HTTP/1.1 404 Not Found");
    check(b"GET /metrics/../etc HTTP/1.1\r\nhost: x\r\n\r\n", "HTTP/1.1 404 Not Found");
    check(b"POST /metrics HTTP/1.1\r\nhost: x\r\n\r\n", "HTTP/1.1 405 Method Not Allowed");
    check(b"\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", "HTTP/1.1 400 Bad Request");
    check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "");
    check(b"GET /livez HTTP/9.9\r\n\r\n", "HTTP/1.1 400 Bad Request");
    check(b"{\"ask\":\"status\"}\n\n", "HTTP/1.1 400 Bad Request");
    let long = [b"GET /livez HTTP/1.1\r\nx: ", &[b'x'; 20_000][..], b"\r\n\r\n"].concat();
    check(&long, "HTTP/1.1 431 Request Header Fields Too Large");
    let many = [b"GET /livez HTTP/1.1\r\n", b"a: b\r\n".repeat(100).as_slice(), b"\r\n"].concat();
    check(&many, "HTTP/1.1 431 Request Header Fields Too Large");
    check(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n", "HTTP/1.1 200 OK");
}

#[test]
fn slow_clients_are_cut_off_and_keep_nobody_out() {
    let home = Home::new();
    let daemon = home.start();
    let address: SocketAddr = daemon.status().control.parse().unwrap();
    let slow: Vec<TcpStream> = (0..hushwire_relay::control::limits::HTTP_CONNECTIONS_MAX)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(b"GET /livez HTTP/1.1\r\nx: ").unwrap();
            stream
        })
        .collect();
    // It waits until one of them has been cut off, without anybody's doing.
    let answer = http(address, b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(status(&answer), "HTTP/1.1 200 OK");
    for mut stream in slow {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        let rest = String::from_utf8(rest).unwrap();
        assert!(!rest.contains("200 OK"), "{rest}");
    }
}
