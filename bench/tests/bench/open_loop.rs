//! The open loop: a rate that is kept, and a server that stands still is charged for all that was due meanwhile.

use std::sync::mpsc::channel;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::relay::{object, run};
use crate::server::{Floor, load};

#[test]
fn a_server_that_stands_still_is_charged_for_what_was_due() {
    let floor = Floor::start();
    let pid = Pid::from_raw(floor.pid() as i32);
    let (ended, end) = channel::<()>();
    let output = std::thread::scope(|scope| {
        // Stopped for 50 ms again and again, so that no stretch of the run is free of it.
        scope.spawn(move || {
            let mut signals = [Signal::SIGSTOP, Signal::SIGCONT].into_iter().cycle();
            while end
                .recv_timeout(Duration::from_millis(50))
                .is_err_and(|it| it == std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                kill(pid, signals.next().unwrap()).unwrap();
            }
            kill(pid, Signal::SIGCONT).unwrap();
        });
        let output = load(&floor.address, floor.pid(), &["--pairs", "2", "--rate", "2000"]);
        drop(ended);
        output
    });
    let said = object(&output);
    // Half of all messages were due while it was stopped, up to 50 ms before it went on. In a closed loop, the two
    // that were on their way at that moment would be all.
    assert!(said["latency_us"]["p99"].as_f64().unwrap() > 20_000.0, "{said}");
    assert!(said["delivered"].as_f64().unwrap() >= 100.0, "400 were due: {said}");
}

#[test]
fn sizes_are_mixed_at_a_rate() {
    let floor = Floor::start();
    let mix = "256:70,4096:25,32768:5";
    let place = ["--pairs", "4", "--rate", "2000", "--mix", mix];
    let said = object(&load(&floor.address, floor.pid(), &place));
    assert_eq!((said["mix"].as_str(), said["bytes"].as_u64()), (Some(mix), None), "{said}");
    let each = said["bytes_per_s"].as_f64().unwrap() / said["cells_per_s"].as_f64().unwrap();
    // What is drawn comes to 2 842 bytes in the mean.
    assert!(each > 1_000.0 && each < 8_000.0, "{said}");
    let output = load(&floor.address, floor.pid(), &["--mix", mix, "--bytes", "256"]);
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && problem.contains("cannot be used with"), "{problem}");
}

#[test]
fn relay_and_floor_are_measured_at_a_rate_and_their_distributions_written() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("latency");
    let said = object(&run(&[
        "latency",
        "--pairs",
        "8",
        "--rate",
        "2000",
        "--rounds",
        "1",
        "--warm-up",
        "0.1",
        "--seconds",
        "0.3",
        "--out",
        out.to_str().unwrap(),
    ]));
    for name in ["floor", "relay"] {
        let series = &said["series"][name];
        assert_eq!(series["messages_per_s"], 2_000, "{said}");
        assert!(series["messages"].as_u64().unwrap() >= 500, "{said}");
        assert!(series["latency_us"]["p50"].as_f64() <= series["latency_us"]["p99.9"].as_f64());
        let distribution = std::fs::read_to_string(out.join(format!("{name}.hgrm"))).unwrap();
        assert!(distribution.contains("#[Max"), "{distribution}");
    }
    let plot = std::fs::read_to_string(out.join("latency.svg")).unwrap();
    assert!(plot.starts_with("<svg") && plot.contains("relay (2000/s)"), "{plot}");
}
