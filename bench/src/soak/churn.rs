//! Devices that come and go beside the pairs: two by two, and some that leave before they have introduced themselves.
//!
//! All of it happens in the generator's thread, a step at a time, when the run has nothing else to do: a thread of
//! its own would take the processor from the run for as long as the scheduler likes.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, anyhow, bail};
use aws_lc_rs::rand;
use hushwire_uring::sockets::{self, Received};
use hushwire_wire::cell::{Class, HEADER_LEN};

use super::visitor::{Leave, Visitor, connecting, reset};
use crate::limits::VISIT_MAX;
use crate::load::{Beside, Connector, Fleet, tls::TlsConnector};

/// When a device leaves that never introduces itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Desertion {
    /// Without a byte.
    Silent,
    /// In the middle of its ClientHello.
    HalfHello,
    /// By a reset when the relay has answered its ClientHello: a handshake's whole cost, and nobody there.
    Answered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrival {
    /// Two devices that send to each other, and how each leaves.
    Couple(Leave, Leave),
    /// One that does not stay.
    Deserter(Desertion),
}

/// Who comes, over and over.
const ARRIVALS: [Arrival; 7] = [
    Arrival::Couple(Leave::Notify, Leave::Notify),
    Arrival::Deserter(Desertion::Silent),
    Arrival::Couple(Leave::Fin, Leave::Reset),
    Arrival::Deserter(Desertion::HalfHello),
    Arrival::Couple(Leave::HalfRecord, Leave::Notify),
    Arrival::Deserter(Desertion::Answered),
    Arrival::Couple(Leave::HalfRecordReset, Leave::Fin),
];

impl Arrival {
    const fn devices(self) -> u64 {
        match self {
            Self::Couple(..) => 2,
            Self::Deserter(_) => 1,
        }
    }
}

/// What has come of the churn so far, in devices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Were welcomed, heard all that was sent to them, and left.
    pub(super) visited: u64,
    /// Left before they had introduced themselves.
    pub(super) deserted: u64,
    /// Did not get as far as they should have.
    pub(super) failed: u64,
}

impl Counts {
    pub(super) const fn since(self, before: Self) -> Self {
        Self {
            visited: self.visited - before.visited,
            deserted: self.deserted - before.deserted,
            failed: self.failed - before.failed,
        }
    }
}

/// Somebody who is here now.
#[derive(Debug)]
struct Guest {
    came_ns: u64,
    who: Who,
}

#[derive(Debug)]
enum Who {
    Couple(Couple),
    Deserter(Deserter),
}

/// Where one of two is.
#[derive(Debug)]
enum Place {
    Awaited,
    Here(Box<Visitor>),
    Left,
}

#[derive(Debug)]
struct Couple {
    /// Which pair of the fleet.
    pair: usize,
    places: [Place; 2],
    leaves: [Leave; 2],
    spoken: bool,
    /// Whether both have heard everything. Nobody leaves before: a reset may throw away what the relay has not read.
    heard: bool,
    /// Whose step is the next.
    turn: usize,
}

#[derive(Debug)]
struct Deserter {
    socket: TcpStream,
    unsent: Vec<u8>,
    leaves: Desertion,
}

/// The churn of one soak.
pub(super) struct Churn<'a> {
    tls: &'a TlsConnector,
    fleet: &'a Fleet,
    /// What every cell carries.
    body: Vec<u8>,
    /// Devices a second.
    per_s: u64,
    /// When the first was due, while the door is open.
    opened_ns: Option<u64>,
    /// Devices that have come since.
    come: u64,
    /// Arrivals, of one device or two, since the start.
    arrivals: usize,
    /// Pairs that are not here.
    away: VecDeque<usize>,
    guests: VecDeque<Guest>,
    counts: Counts,
    /// What went wrong first.
    failure: Option<String>,
}

impl<'a> Churn<'a> {
    /// Pairs of the fleet come and go, so many devices a second, once the door is open.
    pub(super) fn new(
        connector: &'a Connector,
        fleet: &'a Fleet,
        pairs: usize,
        per_s: u64,
    ) -> Result<Self> {
        let mut body = vec![0; Class::C0.cell_len() - HEADER_LEN];
        rand::fill(&mut body).map_err(|_| anyhow!("no random bytes"))?;
        Ok(Self {
            tls: connector.tls(),
            fleet,
            body,
            per_s,
            opened_ns: None,
            come: 0,
            arrivals: 0,
            away: (0..pairs).collect(),
            guests: VecDeque::new(),
            counts: Counts::default(),
            failure: None,
        })
    }

    /// Lets them come from now on.
    pub(super) fn open(&mut self, now_ns: u64) {
        (self.opened_ns, self.come) = (Some(now_ns), 0);
    }

    /// Lets nobody else come.
    pub(super) fn close(&mut self) {
        self.opened_ns = None;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.guests.is_empty()
    }

    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    /// What went wrong first, if anything has.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    fn is_due(&self, now_ns: u64) -> bool {
        self.opened_ns.is_some_and(|opened_ns| {
            let after = u128::from(self.come) * 1_000_000_000 / u128::from(self.per_s);
            u128::from(now_ns.saturating_sub(opened_ns)) >= after
        })
    }

    /// Lets the next come, unless all pairs are here.
    fn arrive(&mut self, now_ns: u64) -> Result<()> {
        let arrival = ARRIVALS[self.arrivals % ARRIVALS.len()];
        let who = match arrival {
            Arrival::Couple(first, second) => {
                let Some(pair) = self.away.pop_front() else { return Ok(()) };
                Who::Couple(Couple {
                    pair,
                    places: [Place::Awaited, Place::Awaited],
                    leaves: [first, second],
                    spoken: false,
                    heard: false,
                    turn: 0,
                })
            }
            Arrival::Deserter(leaves) => Who::Deserter(Deserter::new(self.tls, leaves)?),
        };
        self.arrivals += 1;
        self.come += arrival.devices();
        self.guests.push_back(Guest { came_ns: now_ns, who });
        Ok(())
    }

    /// One step of whoever has waited longest for one.
    fn attend(&mut self, now_ns: u64) {
        let Some(mut guest) = self.guests.pop_front() else { return };
        let outcome = match &mut guest.who {
            Who::Couple(couple) => couple.step(self.tls, self.fleet, &self.body),
            Who::Deserter(deserter) => deserter.step(),
        };
        let late = now_ns.saturating_sub(guest.came_ns) > VISIT_MAX.as_nanos() as u64;
        let outcome = match outcome {
            Ok(false) if late => {
                Err(anyhow!("a visit was not over after {VISIT_MAX:?}: {}", guest.who.state()))
            }
            outcome => outcome,
        };
        match outcome {
            Ok(false) => {
                self.guests.push_back(guest);
                return;
            }
            Ok(true) => match guest.who {
                Who::Couple(_) => self.counts.visited += 2,
                Who::Deserter(_) => self.counts.deserted += 1,
            },
            Err(error) => {
                self.counts.failed += match guest.who {
                    Who::Couple(_) => 2,
                    Who::Deserter(_) => 1,
                };
                self.failure.get_or_insert_with(|| format!("{error:#}"));
            }
        }
        if let Who::Couple(couple) = guest.who {
            self.away.push_back(couple.pair);
        }
    }
}

impl Beside for Churn<'_> {
    fn step(&mut self, now_ns: u64) -> Result<()> {
        if self.is_due(now_ns) && !self.away.is_empty() {
            return self.arrive(now_ns);
        }
        self.attend(now_ns);
        Ok(())
    }
}

impl Couple {
    /// One step of one of the two. Returns whether both have left.
    fn step(&mut self, tls: &TlsConnector, fleet: &Fleet, body: &[u8]) -> Result<bool> {
        let at = self.turn;
        self.turn ^= 1;
        let identities = fleet.pair(self.pair).context("a pair that nobody made up")?;
        let place = std::mem::replace(&mut self.places[at], Place::Left);
        self.places[at] = match place {
            Place::Awaited => Place::Here(Box::new(Visitor::new(tls, identities[at ^ 1].device)?)),
            Place::Here(mut visitor) => {
                visitor.step(identities[at], body)?;
                if self.heard && visitor.is_present() {
                    visitor.leave(self.leaves[at], body)?.map_or(Place::Left, Place::Here)
                } else if visitor.is_gone() {
                    Place::Left
                } else {
                    Place::Here(visitor)
                }
            }
            Place::Left => Place::Left,
        };
        if !self.spoken && self.here().filter(|it| it.is_present()).count() == 2 {
            self.spoken = true;
            self.here_mut().try_for_each(|visitor| visitor.speak(body))?;
        }
        self.heard |= self.here().filter(|visitor| visitor.has_all()).count() == 2;
        Ok(matches!(self.places, [Place::Left, Place::Left]))
    }

    fn here(&self) -> impl Iterator<Item = &Visitor> {
        self.places.iter().filter_map(|place| match place {
            Place::Here(visitor) => Some(&**visitor),
            Place::Awaited | Place::Left => None,
        })
    }

    fn here_mut(&mut self) -> impl Iterator<Item = &mut Visitor> {
        self.places.iter_mut().filter_map(|place| match place {
            Place::Here(visitor) => Some(&mut **visitor),
            Place::Awaited | Place::Left => None,
        })
    }
}

impl Who {
    /// For a sentence.
    fn state(&self) -> String {
        match self {
            Self::Couple(couple) => {
                format!("{:?}", couple.here().map(Visitor::stage).collect::<Vec<_>>())
            }
            Self::Deserter(deserter) => format!("{:?}", deserter.leaves),
        }
    }
}

impl Deserter {
    fn new(tls: &TlsConnector, leaves: Desertion) -> Result<Self> {
        let socket = connecting(tls.address())?;
        let mut hello = Vec::new();
        tls.begin()?.write_tls(&mut hello)?;
        match leaves {
            Desertion::Silent => hello.clear(),
            Desertion::HalfHello => hello.truncate(hello.len() / 2),
            Desertion::Answered => reset(&socket)?,
        }
        Ok(Self { socket, unsent: hello, leaves })
    }

    /// Returns whether it may go.
    fn step(&mut self) -> Result<bool> {
        let sent = sockets::send(self.socket.as_fd(), &self.unsent)?;
        self.unsent.drain(..sent);
        if !self.unsent.is_empty() || self.leaves != Desertion::Answered {
            return Ok(self.unsent.is_empty());
        }
        match sockets::recv(self.socket.as_fd(), &mut [0])? {
            Received::Bytes(_) => Ok(true),
            Received::Empty => Ok(false),
            Received::End => bail!("the relay did not answer a ClientHello"),
        }
    }
}
