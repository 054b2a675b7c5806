//! What all benchmarks have in common.

use std::time::Duration;

use criterion::Criterion;

// The allocator of `hushwired`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Options of the test harness that criterion does not know. `cargo test` gives them to every program.
const FOREIGN_OPTIONS: [&str; 2] = ["--skip", "--test-threads"];

/// Short runs: a layer takes less than a minute. The command line may ask for longer ones.
pub(crate) fn criterion() -> Criterion {
    let is_foreign = |argument: &String| FOREIGN_OPTIONS.iter().any(|o| argument.starts_with(o));
    if let Some(foreign) = std::env::args().find(is_foreign) {
        println!("benchmarks do not know {foreign}: none of them is run");
        std::process::exit(0);
    }
    Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_000))
        .configure_from_args()
}
