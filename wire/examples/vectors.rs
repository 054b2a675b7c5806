//! Writes `vectors/*.hex` and the seeds of `corpus/` anew: `cargo run -p hushwire-wire --example vectors`.
//! Files that nothing makes any more are left for you to remove; the tests name them.

#[path = "../tests/support/builder.rs"]
mod builder;
#[path = "../tests/support/corpus_seeds.rs"]
mod corpus_seeds;
#[path = "../tests/support/format.rs"]
mod format;

use std::fs;
use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::create_dir_all(root.join("vectors"))?;
    let vectors = builder::vectors();
    for vector in &vectors {
        let path = root.join("vectors").join(format!("{}.hex", vector.name));
        fs::write(path, format::file_text(vector))?;
    }
    let seeds = corpus_seeds::seeds();
    for seed in &seeds {
        let directory = root.join("corpus").join(seed.target);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(&seed.name), &seed.bytes)?;
    }
    println!("{} vectors, {} seeds", vectors.len(), seeds.len());
    Ok(())
}
