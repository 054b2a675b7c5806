//! Messages of several sizes in one run.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use hushwire_wire::cell::Class;

use crate::limits::MIX_WEIGHT_MAX;

/// What the sizes of a run are drawn from, so that every run has the same.
const SEED: u64 = 0x6875_7368;

/// How often each size is drawn, by weight; at least one has a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mix {
    /// By class, smallest first.
    weights: [u32; Class::ALL.len()],
}

impl Mix {
    /// The sizes that are drawn, smallest first, and their weights.
    pub(crate) fn weights(&self) -> impl Iterator<Item = (Class, u32)> {
        Class::ALL.into_iter().zip(self.weights).filter(|(_, weight)| *weight > 0)
    }

    /// The largest size that is drawn.
    pub(crate) fn largest(&self) -> Class {
        self.weights().last().map_or(Class::C0, |(class, _)| class)
    }

    pub(crate) fn has(&self, class: Class) -> bool {
        self.weights().any(|(drawn, _)| drawn == class)
    }

    /// The size of a message: of one sender's first, second and so on, always the same.
    pub(crate) fn draw(&self, sender: usize, number: u64) -> Class {
        let all: u64 = self.weights.iter().map(|&weight| u64::from(weight)).sum();
        let mut at = scattered(scattered(SEED ^ sender as u64) ^ number) % all;
        for (class, weight) in self.weights() {
            match at.checked_sub(u64::from(weight)) {
                Some(rest) => at = rest,
                None => return class,
            }
        }
        unreachable!("the remainder is below the sum of the weights")
    }
}

/// A number that looks nothing like the next one's (SplitMix64's finish: Steele, Lea and Flood, "Fast splittable
/// pseudorandom number generators").
const fn scattered(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl FromStr for Mix {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut weights = [0; Class::ALL.len()];
        for part in text.split(',') {
            let (bytes, weight) = part.split_once(':').context(
                "write a mix as 256:70,4096:25,32768:5: sizes and how often each is drawn",
            )?;
            let at = Class::ALL
                .iter()
                .position(|class| bytes.parse() == Ok(class.cell_len()))
                .context("a cell has 256, 512, 1024, 2048, 4096, 8192, 16384 or 32768 bytes")?;
            let weight: u32 = weight.parse().unwrap_or(0);
            ensure!(
                (1..=MIX_WEIGHT_MAX).contains(&weight),
                "choose weights of 1 to {MIX_WEIGHT_MAX}"
            );
            if std::mem::replace(&mut weights[at], weight) > 0 {
                bail!("{bytes} bytes are there twice");
            }
        }
        Ok(Self { weights })
    }
}

impl fmt::Display for Mix {
    /// As it is written on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (class, weight)) in self.weights().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{}:{weight}", class.cell_len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_drawn_by_their_weights_and_always_the_same() {
        let mix: Mix = "4096:25,256:70,32768:5".parse().unwrap();
        assert_eq!(mix.to_string(), "256:70,4096:25,32768:5");
        assert_eq!(mix.largest(), Class::C7);
        assert!(mix.has(Class::C4) && !mix.has(Class::C1));
        let mut drawn = [0; Class::ALL.len()];
        for number in 0..10_000 {
            let class = mix.draw(6, number);
            assert_eq!(mix.draw(6, number), class);
            drawn[Class::ALL.iter().position(|it| *it == class).unwrap()] += 1;
        }
        let expected = [7_000, 0, 0, 0, 2_500, 0, 0, 500];
        for (drawn, expected) in drawn.into_iter().zip(expected) {
            // Six standard deviations of the most frequent.
            assert!(i64::abs(drawn - expected) < 280, "{drawn} of {expected}");
            assert_eq!(drawn == 0, expected == 0);
        }
        assert!((0..100).any(|number| mix.draw(6, number) != mix.draw(8, number)));
        let one: Mix = "512:1".parse().unwrap();
        assert!((0..100).all(|number| one.draw(0, number) == Class::C1));
    }

    #[test]
    fn what_is_no_mix_has_its_sentence() {
        for (text, sentence) in [
            ("", "write a mix as"),
            ("256", "write a mix as"),
            ("256:1,", "write a mix as"),
            ("300:1", "a cell has 256"),
            ("256:0", "choose weights of 1 to"),
            ("256:-1", "choose weights of 1 to"),
            ("256:9999999999", "choose weights of 1 to"),
            ("256:1,256:2", "256 bytes are there twice"),
        ] {
            let error = text.parse::<Mix>().unwrap_err().to_string();
            assert!(error.contains(sentence), "{text:?}: {error}");
        }
    }
}
