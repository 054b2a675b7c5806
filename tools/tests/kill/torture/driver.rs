//! The loop: starts what is due, gives lines and files, kills, and hears what everybody says.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::process::{Death, Heard, Word};
use super::strikes::{Strike, Strikes, Victim};
use super::summary::Summary;
use super::talker::Talker;
use super::world::World;

/// `EX_TEMPFAIL` of sysexits: no relay, try again.
const TURNED_AWAY: i32 = 75;
/// Pause before a program that was turned away is started again.
const TURNED_AWAY_PAUSE: Duration = Duration::from_millis(100);
/// The longest that the loop looks at nothing.
const LOOK: Duration = Duration::from_millis(10);
/// How long everything may take to arrive once nothing is killed any more; and how long nothing may arrive before.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long programs may take to end when they are asked to.
const END: Duration = Duration::from_secs(20);
/// What is told of the last moments of a run that fails.
const STORY_MAX: usize = 16;
/// No journal is longer: what is open at a time is a fraction of it.
const JOURNAL_BYTES_MAX: u64 = 8 << 20;

/// A strike that waits for its moment.
#[derive(Debug)]
struct Armed {
    strike: Strike,
    at: Instant,
    lines_left: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Driver {
    world: World,
    strikes: Strikes,
    armed: Option<Armed>,
    /// For each victim that was killed, how long it stays away.
    away: Vec<(Victim, Duration)>,
    started: Instant,
    delivered_at: Instant,
    longest_pause: Duration,
    missed: u64,
    turned_away: u64,
    /// Nothing is started any more.
    closing: bool,
    story: VecDeque<String>,
}

#[expect(clippy::disallowed_methods, reason = "processes live by the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

impl Driver {
    pub(crate) fn new(world: World, strikes: Strikes) -> Self {
        let now = now();
        Self {
            world,
            strikes,
            armed: None,
            away: Vec::new(),
            started: now,
            delivered_at: now,
            longest_pause: Duration::ZERO,
            missed: 0,
            turned_away: 0,
            closing: false,
            story: VecDeque::new(),
        }
    }

    /// The last moments.
    pub(crate) fn story(&self) -> String {
        let lines: String = self.story.iter().map(|line| format!("\n  {line}")).collect();
        let said = self.world.posts.iter().map(|(_, post)| post.complaints());
        lines + &said.collect::<String>()
    }

    /// Lets the directories be.
    pub(crate) fn keep(mut self) -> PathBuf {
        self.world.place.take().map(tempfile::TempDir::keep).unwrap_or_default()
    }

    fn tell(&mut self, what: String) {
        if self.story.len() == STORY_MAX {
            self.story.pop_front();
        }
        let at = now().duration_since(self.started).as_secs_f64();
        self.story.push_back(format!("{at:.3} s: {what}"));
    }

    pub(crate) fn run(&mut self) -> Result<Summary> {
        let mut last_kill = self.started;
        loop {
            let now = now();
            self.start_due(now)?;
            if self.is_draining() {
                if self.is_done() {
                    break;
                }
            } else {
                last_kill = now;
                self.write(now);
                self.strike(now)?;
            }
            let silence = now.duration_since(self.delivered_at);
            ensure!(silence < PATIENCE, "nothing has arrived for {} s", silence.as_secs());
            self.hear()?;
        }
        let drained = now().duration_since(last_kill);
        self.close()?;
        self.check_end()?;
        Ok(self.summary(drained))
    }

    fn is_draining(&self) -> bool {
        self.armed.is_none() && self.strikes.is_over()
    }

    fn is_done(&self) -> bool {
        let World { alice, bob, courier, .. } = &self.world;
        alice.is_done() && bob.is_done() && courier.is_done()
    }

    fn start_due(&mut self, now: Instant) -> Result<()> {
        if self.world.relay.is_due(now) {
            self.world.relay.start()?;
            self.tell("the relay runs again".into());
        }
        let no_more_files = self.is_draining() && self.world.courier.is_done();
        let World { posts, alice, bob, courier, .. } = &mut self.world;
        for (victim, post) in posts.iter_mut().filter(|(_, post)| post.is_due(now)) {
            let command = match victim {
                Victim::Alice => alice.command(),
                Victim::Bob => bob.command(),
                Victim::Receiver => courier.receive(),
                Victim::Sender if no_more_files => continue,
                Victim::Sender => courier.send()?,
                Victim::Relay => bail!("the relay has no post"),
            };
            post.start(command)?;
        }
        Ok(())
    }

    fn write(&mut self, now: Instant) {
        let World { posts, alice, bob, .. } = &mut self.world;
        for (victim, post) in posts.iter_mut().filter(|(_, post)| post.is_alive()) {
            let talker = match victim {
                Victim::Alice => &mut *alice,
                Victim::Bob => &mut *bob,
                Victim::Relay | Victim::Sender | Victim::Receiver => continue,
            };
            if let Some(lines) = talker.write(now) {
                // One that has just died by itself is heard of soon, and its lines are given again.
                let _read = post.say(&lines);
            }
        }
    }

    /// Kills, if it is time.
    fn strike(&mut self, now: Instant) -> Result<()> {
        let Some(armed) = &self.armed else {
            self.armed = self.strikes.next().map(|strike| Armed {
                strike,
                at: now + strike.after,
                lines_left: strike.lines,
            });
            return Ok(());
        };
        if now < armed.at && armed.lines_left != Some(0) {
            return Ok(());
        }
        let Strike { victim, away, lines, .. } = armed.strike;
        if victim == Victim::Relay {
            if self.world.relay.process().is_none() {
                return Ok(());
            }
            self.world.relay.kill()?;
            self.world.relay.start_at = Some(now + away);
        } else {
            let Some(post) = self.world.post(victim).filter(|post| post.is_alive()) else {
                return Ok(());
            };
            post.kill()?;
            self.away.push((victim, away));
        }
        let lines = lines.map(|lines| format!(" at its line {lines}")).unwrap_or_default();
        self.tell(format!("kill {victim:?}{lines}, away for {} ms", away.as_millis()));
        self.armed = None;
        Ok(())
    }

    /// Everything that has been said, or nothing for a moment.
    fn hear(&mut self) -> Result<()> {
        match self.world.heard.recv_timeout(LOOK) {
            Ok(heard) => self.on_heard(heard)?,
            Err(RecvTimeoutError::Timeout) => return Ok(()),
            Err(RecvTimeoutError::Disconnected) => bail!("nobody is there"),
        }
        while let Ok(heard) = self.world.heard.try_recv() {
            self.on_heard(heard)?;
            // A strike at a line comes at that line.
            if self.armed.as_ref().is_some_and(|armed| armed.lines_left == Some(0)) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn on_heard(&mut self, Heard { victim, life, word }: Heard) -> Result<()> {
        match word {
            Word::Says(line) => {
                if let Some(Armed { strike, lines_left: Some(left), .. }) = &mut self.armed
                    && strike.victim == victim
                {
                    *left = left.saturating_sub(1);
                }
                self.on_line(victim, &line).with_context(|| format!("{victim:?}"))
            }
            Word::Complains(line) => {
                self.tell(format!("{victim:?} complains: {}", line.trim_end()));
                if let Some(post) = self.world.post(victim) {
                    post.on_complaint(&line);
                }
                Ok(())
            }
            Word::Closes => {
                let post = self.world.post(victim).context("it has a post")?;
                match post.on_closed(life)? {
                    Some(death) => self.on_death(victim, death),
                    None => Ok(()),
                }
            }
        }
    }

    fn on_line(&mut self, victim: Victim, line: &str) -> Result<()> {
        let before = self.delivered();
        match victim {
            Victim::Alice => self.world.alice.on_line(line)?,
            Victim::Bob => self.world.bob.on_line(line)?,
            Victim::Sender => self.world.courier.on_sent(line)?,
            // What has come is in its directory.
            Victim::Receiver | Victim::Relay => {}
        }
        if victim == Victim::Sender || self.delivered() > before {
            let now = now();
            self.longest_pause = self.longest_pause.max(now.duration_since(self.delivered_at));
            self.delivered_at = now;
        }
        Ok(())
    }

    fn delivered(&self) -> u64 {
        self.world.alice.delivered() + self.world.bob.delivered()
    }

    fn on_death(&mut self, victim: Victim, death: Death) -> Result<()> {
        let killed = self.away.iter().position(|(of, _)| *of == victim);
        let away = killed.map(|at| self.away.swap_remove(at).1);
        let code = match death {
            Death::Killed => None,
            Death::ByItself(status) => status.code(),
        };
        let mut pause = away.unwrap_or_default();
        match code {
            None => ensure!(away.is_some() || self.closing, "{victim:?} was killed by somebody"),
            Some(TURNED_AWAY) => {
                self.turned_away += 1;
                pause = pause.max(TURNED_AWAY_PAUSE);
            }
            Some(0) if self.closing || victim == Victim::Sender => {}
            Some(code) => bail!("{victim:?} ended by itself, with {code}"),
        }
        self.missed += u64::from(away.is_some() && code.is_some());
        let World { alice, bob, courier, .. } = &mut self.world;
        match victim {
            Victim::Alice => alice.take_stock()?,
            Victim::Bob => bob.take_stock()?,
            Victim::Sender => courier.take_stock(code == Some(0))?,
            Victim::Receiver | Victim::Relay => {}
        }
        self.check_records()?;
        let start_at = now() + pause;
        if let Some(post) = self.world.post(victim) {
            post.start_at = Some(start_at);
        }
        Ok(())
    }

    /// What was told to be delivered is in the record; what is in there is right.
    fn check_records(&mut self) -> Result<()> {
        let World { alice, bob, .. } = &mut self.world;
        check_record(alice, bob)?;
        check_record(bob, alice)
    }

    /// Everybody is asked to end.
    fn close(&mut self) -> Result<()> {
        self.closing = true;
        for (_, post) in &self.world.posts {
            post.interrupt()?;
        }
        let deadline = now() + END;
        while self.world.posts.iter().any(|(_, post)| post.is_alive()) {
            ensure!(now() < deadline, "a program does not end when it is asked to");
            self.hear()?;
        }
        self.world.relay.stop()
    }

    fn check_end(&mut self) -> Result<()> {
        self.check_records()?;
        let World { alice, bob, courier, .. } = &mut self.world;
        check_talk(alice, bob)?;
        check_talk(bob, alice)?;
        courier.check_end()?;
        self.world.check_keystores()
    }

    fn summary(&self, drained: Duration) -> Summary {
        let World { alice, bob, courier, relay, posts, .. } = &self.world;
        Summary {
            kills: self.strikes.made().clone(),
            missed: self.missed,
            lines: alice.next() + bob.next(),
            line_bytes: alice.bytes + bob.bytes,
            unheard: alice.unheard + bob.unheard,
            files: courier.delivered(),
            file_bytes: courier.bytes,
            resumed: courier.resumed,
            starts: relay.lives + posts.iter().map(|(_, post)| post.lives()).sum::<u64>(),
            turned_away: self.turned_away,
            journal_bytes_max: alice.journal_bytes_max.max(bob.journal_bytes_max),
            longest_pause: self.longest_pause,
            drained,
            elapsed: now().duration_since(self.started),
        }
    }
}

fn check_record(from: &Talker, to: &mut Talker) -> Result<()> {
    let recorded = to.record.read(&from.ids)?;
    let delivered = from.delivered();
    ensure!(recorded >= delivered, "{delivered} were delivered, {recorded} are recorded");
    Ok(())
}

fn check_talk(from: &Talker, to: &mut Talker) -> Result<()> {
    let recorded = to.record.read(&from.ids)?;
    let given = from.next();
    ensure!(recorded == given, "{given} lines were given, {recorded} are recorded");
    to.check_end(given)?;
    let journal_bytes = to.journal_bytes_max;
    ensure!(journal_bytes <= JOURNAL_BYTES_MAX, "a journal was {journal_bytes} bytes long");
    Ok(())
}
