//! The configuration file: every problem with its line, and the default file in step with the code.

use std::path::Path;

use hushwire_relay::config::{Config, LogFormat, LogLevel, check, default_file};

fn parse(text: &str) -> Result<Config, Vec<(usize, usize, String)>> {
    check(text, Path::new("test.toml"))
        .map_err(|problems| problems.into_iter().map(|p| (p.line, p.column, p.sentence)).collect())
}

/// The one problem of a file: position, and part of the sentence.
#[track_caller]
fn problem(text: &str, at: (usize, usize), part: &str) {
    let problems = parse(text).expect_err(text);
    let [(line, column, sentence)] = problems.as_slice() else { panic!("{text}: {problems:?}") };
    assert_eq!((*line, *column), at, "{text}: {sentence}");
    assert!(sentence.contains(part), "{text}: {sentence}");
}

#[test]
fn nothing_is_the_default() {
    assert_eq!(parse(""), Ok(Config::default()));
    assert_eq!(parse("[limits]\n[log]\n"), Ok(Config::default()));
}

#[test]
fn the_default_file_is_in_step() {
    let file = include_str!("../../packaging/hushwired.toml");
    // `BLESS=1 cargo test` writes the file anew.
    if std::env::var_os("BLESS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/hushwired.toml");
        std::fs::write(path, default_file()).unwrap();
        return;
    }
    assert_eq!(file, default_file(), "write config::default_file() to packaging/hushwired.toml");
    assert_eq!(parse(file), Ok(Config::default()));
    // With every comment taken off it still means the default, and no key is unknown.
    let set = |line: &&str| {
        line.starts_with('[')
            || line
                .strip_prefix('#')
                .is_some_and(|l| l.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    let bare: Vec<&str> = file.lines().filter(set).map(|l| l.trim_start_matches('#')).collect();
    assert_eq!(parse(&bare.join("\n")), Ok(Config::default()));
    assert!(bare.len() > 33, "{}", bare.len());
    let examples: Vec<&str> = file
        .lines()
        .filter(|line| line.starts_with('[') || line.starts_with("# example: "))
        .map(|line| line.trim_start_matches("# example: "))
        .collect();
    let config = parse(&examples.join("\n")).unwrap();
    assert!(config.relay.public_address.is_some() && config.tls.certificate.is_some());
}

#[test]
fn the_default_file_names_every_key() {
    // `Debug` of the configuration names every field of every section.
    let file = default_file();
    let debug = format!("{:#?}", Config::default());
    let mut keys = 0;
    for line in debug.lines() {
        let indent = line.len() - line.trim_start().len();
        let Some((name, _)) = line.trim_start().split_once(": ") else { continue };
        let shown = match indent {
            4 => format!("\n[{name}]\n"),
            8 => format!("{name} = "),
            _ => continue,
        };
        keys += 1;
        assert!(file.contains(&shown), "{shown:?}");
    }
    assert!(keys > 33, "{keys}");
}

#[test]
fn values_arrive() {
    let config = parse(
        r#"
        log = { level = "debug", format = "json" }
        listen.address = "[::]:5544"
        [relay]
        public_address = "Relay.Example.org:5544"
        data_dir = "/srv/hushwire"
        region = "eu-west-1"
        shards = 2
        [tls]
        certificate = "/etc/tls/chain.pem"
        key = '/etc/tls/key.pem'
        [limits]
        cells_per_s = 0x10
        egress_pool_bytes = 134_217_728
        [control]
        listen = "[::1]:1234"
        admin_socket = "/tmp/admin.sock"
        "#,
    )
    .unwrap();
    assert_eq!(config.listen.address.to_string(), "[::]:5544");
    let address = config.relay.public_address.unwrap();
    assert_eq!((address.host(), address.port()), ("relay.example.org", 5544));
    assert_eq!(config.relay.data_dir, Path::new("/srv/hushwire"));
    assert_eq!((config.relay.region.as_str(), config.relay.shards), ("eu-west-1", 2));
    assert_eq!(config.tls.key.as_deref(), Some(Path::new("/etc/tls/key.pem")));
    assert_eq!((config.limits.cells_per_s, config.limits.egress_pool_bytes), (16, 128 << 20));
    assert_eq!(config.control.listen.get().to_string(), "[::1]:1234");
    assert_eq!(config.control.admin_socket.as_path(), Path::new("/tmp/admin.sock"));
    assert_eq!((config.log.level, config.log.format), (LogLevel::Debug, LogFormat::Json));
}

#[test]
fn typos_are_answered_with_the_nearest_key() {
    problem("[listen]\nadress = \"0.0.0.0:1\"", (2, 1), "did you mean \"address\"?");
    problem("[limits]\n  idle_m = 1", (2, 3), "did you mean \"idle_ms\"?");
    problem("[lisen]\naddress = \"0.0.0.0:1\"", (1, 2), "did you mean \"listen\"?");
    problem("[log]\nlevel = \"inof\"", (2, 9), "did you mean \"info\"?");
    problem("[log]\nlevel = \"loud\"", (2, 9), "one of error, warn, info, debug, trace");
    problem("[log]\nshards = 1", (2, 1), "belongs into section [relay]");
    problem("shards = 1", (1, 1), "belongs into section [relay]");
    problem("quantum = 1", (1, 1), "outside of any section");
    problem("[quantum]\nx = 1", (1, 2), "one of listen, relay");
    problem("[control]\nquantum = 1", (2, 1), "one of listen, admin_socket");
    problem("[relay]\ndata_dir = { path = \"/x\" }", (2, 12), "not a table");
    problem("listen = 3", (1, 10), "write [listen]");
    problem("[[listen]]\naddress = \"0.0.0.0:1\"", (1, 1), "write [listen]");
}

#[test]
fn wrong_types() {
    problem("[relay]\nshards = \"2\"", (2, 10), "should be a whole number, not a text");
    problem("[relay]\nshards = 2.0", (2, 10), "should be a whole number, not a decimal number");
    problem("[relay]\nshards = true", (2, 10), "not true or false");
    problem("[relay]\ndata_dir = 7", (2, 12), "should be a text in quotes, not a whole number");
    problem("[log]\nlevel = [\"info\"]", (2, 9), "not a list");
    problem("[log]\nlevel = 1979-05-27", (2, 9), "not a date");
    problem("[listen]\naddress = \"relay.example.org:1\"", (2, 11), "an IP address and a port");
    problem("[listen]\naddress = \"0.0.0.0\"", (2, 11), "an IP address and a port");
}

#[test]
fn out_of_range() {
    problem("[relay]\nshards = -1", (2, 10), "cannot be negative");
    problem("[relay]\nshards = 257", (2, 10), "257 is out of range: from 0 to 256");
    problem(
        "[limits]\nidle_ms = 50000",
        (2, 11),
        "50_000 is out of range: from 50_001 to 3_600_000",
    );
    problem("[limits]\ncells_per_s = 99999999999", (2, 15), "too large");
    problem("[limits]\nbytes_per_s = 99999999999999999999999", (2, 15), "too large");
    problem("[relay]\ndata_dir = \"var\"", (2, 12), "a whole path");
    problem("[relay]\nregion = \"EU West\"", (2, 10), "a-z, 0-9 and -");
    problem("[control]\nlisten = \"0.0.0.0:9433\"", (2, 10), "can be reached from outside");
    problem("[control]\nlisten = \"192.0.2.1:9433\"", (2, 10), "can be reached from outside");
    let long = format!("[control]\nadmin_socket = \"/{}\"", "x".repeat(107));
    problem(&long, (2, 16), "at most 107 bytes");
}

#[test]
fn public_addresses() {
    let check = |text: &str, expect: Result<&str, &str>| {
        let file = format!("[relay]\npublic_address = \"{text}\"");
        match (parse(&file), expect) {
            (Ok(config), Ok(expect)) => {
                let shown = config.relay.public_address.map(|address| address.to_string());
                assert_eq!(shown.as_deref(), Some(expect));
            }
            (Err(problems), Err(part)) => {
                assert!(problems[0].2.contains(part), "{text}: {problems:?}");
            }
            (found, _) => panic!("{text}: {found:?}"),
        }
    };
    check("relay.example.org:4433", Ok("relay.example.org:4433"));
    check("192.0.2.1:1", Ok("192.0.2.1:1"));
    check("[2001:DB8::1]:4433", Ok("[2001:db8::1]:4433"));
    check("localhost:65535", Ok("localhost:65535"));
    check(
        "relay.example.org",
        Err("like \\\"relay.example.org:4433\\\"".replace("\\", "").as_str()),
    );
    check("relay.example.org:0", Err("is not a port"));
    check("relay.example.org:65536", Err("is not a port"));
    check("2001:db8::1:4433", Err("in brackets"));
    check("[relay]:4433", Err("not an IPv6 address"));
    check("-relay.example.org:1", Err("not a host name"));
    check("relay..org:1", Err("not a host name"));
    check("https://relay.example.org:1", Err("not a host name"));
    check(":1", Err("not a host name"));
    check(&format!("{}:1", "x.".repeat(127)), Err("longer than 255"));
}

#[test]
fn contradictions() {
    let certificate = "[tls]\ncertificate = \"/c.pem\"";
    problem(certificate, (2, 1), "set both or neither");
    problem("[tls]\nkey = \"/k.pem\"", (2, 1), "set both or neither");
    let map = "[store]\nmap_bytes_max = 1048576";
    problem(map, (2, 1), "map_bytes_start is larger than map_bytes_max");
    let egress = "[limits]\negress_pool_bytes = 1_048_576\negress_bytes_max = 2_097_152";
    problem(egress, (3, 1), "egress_bytes_max");
    let held = "[limits]\negress_pool_bytes = 1_048_576\noutput_held_bytes_max = 2_097_152";
    problem(held, (3, 1), "output_held_bytes_max is larger");
    problem("[limits]\nhandshakes_in_progress_max = 5000", (2, 1), "handshakes_in_progress_max");
    problem("[limits]\nconnections_max = 1000", (2, 1), "larger than connections_max");
    let idle = "[limits]\nidle_ms = 55_000\nunauthenticated_ms_max = 60_000";
    problem(idle, (3, 1), "not shorter than idle_ms");
    problem("[control]\nlisten = \"127.0.0.1:4433\"", (2, 1), "the same port");
    let apart = "[listen]\naddress = \"127.0.0.2:1\"\n[control]\nlisten = \"127.0.0.1:1\"";
    assert!(parse(apart).is_ok());
}

#[test]
fn syntax() {
    problem("[listen\naddress = \"0.0.0.0:1\"", (1, 8), "");
    problem("[relay]\nshards = 1\nshards = 2", (3, 1), "duplicate");
    problem("[relay]\nregion = \"eu", (2, 13), "");
}

#[test]
fn every_problem_is_found_at_once() {
    let text = "\
[listen]
adress = \"0.0.0.0:4433\"

[relay]
shards = 999
region = EU

[limit]
idle_ms = 60000

[control]
listen = \"0.0.0.0:9433\"
[log]
level = 3
";
    let problems = check(text, Path::new("/etc/hushwired.toml")).unwrap_err();
    let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [2, 5, 6, 8, 12, 14], "{problems:#?}");
    assert_eq!(
        problems[1].to_string(),
        "/etc/hushwired.toml:5:10: shards: 999 is out of range: from 0 to 256"
    );
}

#[test]
fn no_text_is_too_odd() {
    let deep = format!("[limits]\nidle_ms = {}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(parse(&deep).is_err());
    let many = "x = 1\n[relay]\n".to_owned() + &"shards = 999\n".repeat(5_000);
    let problems = parse(&many).unwrap_err();
    assert!(problems.len() <= 100);
    problem(&" ".repeat(2 << 20), (1, 1), "longer than");
    assert!(parse("\u{0}\u{feff}\r\n[\u{202e}]\n").is_err());
    let mut state = 1_u64;
    for _ in 0..2_000 {
        let pieces =
            ["[", "]", "=", "\"", "'", "relay", "shards", "1", ".", "\n", "{", "}", "#", "é"];
        let text: String = (0..20)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                pieces[(state >> 33) as usize % pieces.len()]
            })
            .collect();
        drop(parse(&text));
    }
}
