//! Which transport to take: both are tried, the better one first, and what got through is remembered.
//!
//! As Happy Eyeballs does for addresses (RFC 8305): QUIC begins, TLS follows a quarter of a second later or as soon as
//! QUIC has failed, and the first handshake that is complete counts. A network that swallows UDP costs that quarter of
//! a second once in ten minutes.

use std::time::{Duration, Instant};

use hushwire_wire::control::Transport;
use hushwire_wire::limits::QUIC_ID_BYTES;

use super::connector::{resolve, server_name};
use super::limits::{HEAD_START_MS, TLS_FIRST_MS};
use super::{CellStream, Connector, IoError, TrustError, clock};
use crate::keystore::RelayTrust;

/// By what a device may connect to its relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transports {
    /// QUIC where UDP gets through, TLS over TCP elsewhere.
    #[default]
    Both,
    /// QUIC, or nothing.
    OnlyQuic,
    /// TLS over TCP, or nothing.
    OnlyTls,
}

/// Connects to one relay again and again, by whatever gets through.
#[derive(Debug)]
pub struct Racer {
    connector: Connector,
    transports: Transports,
    /// QUIC did not get through, so TLS goes first until then.
    tls_first_until: Option<Instant>,
    /// What the relay gave to be the first destination of one connection each. In memory only: on disk, a backup that is
    /// restored would bring one back that was used, and it would show observers that two connections are of one device.
    quic_ids: Vec<[u8; QUIC_ID_BYTES]>,
}

impl Racer {
    /// Nothing is known of the network yet.
    ///
    /// # Errors
    /// [`TrustError`] where there is no pin, or more than four.
    pub fn new(trust: &RelayTrust, transports: Transports) -> Result<Self, TrustError> {
        let connector = Connector::new(trust)?;
        Ok(Self { connector, transports, tls_first_until: None, quic_ids: Vec::new() })
    }

    /// Trusts otherwise from now on. Tickets that were issued under the old trust are thrown away.
    ///
    /// # Errors
    /// [`TrustError`]; then nothing has changed.
    pub fn set_trust(&mut self, trust: &RelayTrust) -> Result<(), TrustError> {
        self.connector = Connector::new(trust)?;
        Ok(())
    }

    /// Takes the connection IDs of a WELCOME in place of those that are left of an earlier one.
    pub fn set_quic_ids(&mut self, ids: Vec<[u8; QUIC_ID_BYTES]>) {
        self.quic_ids = ids;
    }

    /// Connects to `host:port`.
    ///
    /// # Errors
    /// See [`IoError`]; where both transports were tried and failed, what tells more of the two.
    pub async fn connect(&mut self, address: &str) -> Result<CellStream, IoError> {
        let (name, places) = (server_name(address)?, resolve(address).await?);
        let Self { connector, quic_ids, .. } = self;
        let quic = Box::pin(connector.quic(address, &name, &places, quic_ids));
        let tls = Box::pin(connector.tls(address, name.clone(), &places));
        match self.transports {
            Transports::OnlyQuic => return quic.await,
            Transports::OnlyTls => return tls.await,
            Transports::Both => {}
        }
        let head_start = Duration::from_millis(HEAD_START_MS);
        if is_tls_first(self.tls_first_until, clock()) {
            let raced = race(tls, quic, head_start).await;
            let stream = raced.map_err(|(tls, quic)| better(tls, quic))?;
            if stream.transport() == Transport::Quic {
                self.tls_first_until = None;
            }
            return Ok(stream);
        }
        let raced = race(quic, tls, head_start).await;
        let stream = raced.map_err(|(quic, tls)| better(tls, quic))?;
        match stream.transport() {
            Transport::Quic => self.tls_first_until = None,
            Transport::Tls | Transport::WebSocket => self.quic_was_lost(),
        }
        Ok(stream)
    }

    /// QUIC does not get through, or a connection over it was lost without a word: TLS goes first for ten minutes.
    pub fn quic_was_lost(&mut self) {
        self.tls_first_until = Some(clock() + Duration::from_millis(TLS_FIRST_MS));
    }
}

fn is_tls_first(until: Option<Instant>, now: Instant) -> bool {
    until.is_some_and(|until| now < until)
}

/// The first of two that succeeds. The second one begins after `head_start`, or when the first one has failed. Whichever
/// loses is dropped.
async fn race<T, E>(
    first: impl Future<Output = Result<T, E>>,
    second: impl Future<Output = Result<T, E>>,
    head_start: Duration,
) -> Result<T, (E, E)> {
    tokio::pin!(first);
    match tokio::time::timeout(head_start, &mut first).await {
        Ok(Ok(won)) => return Ok(won),
        Ok(Err(failed)) => return second.await.map_err(|error| (failed, error)),
        Err(_) => {}
    }
    tokio::pin!(second);
    tokio::select! {
        result = &mut first => match result {
            Ok(won) => Ok(won),
            Err(failed) => second.await.map_err(|error| (failed, error)),
        },
        result = &mut second => match result {
            Ok(won) => Ok(won),
            Err(failed) => first.await.map_err(|error| (error, failed)),
        },
    }
}

/// What tells a person more. That nobody answered by UDP tells nothing: many networks pass none.
fn better(tls: IoError, quic: IoError) -> IoError {
    const fn weight(error: &IoError) -> u8 {
        match error {
            IoError::PinDiffers { .. } => 5,
            IoError::Certificate(_) => 4,
            IoError::WrongService | IoError::Address { .. } => 3,
            IoError::Tls(_) | IoError::Quic(_) | IoError::QuicRefused => 2,
            IoError::Lost(_) | IoError::Closed => 1,
            IoError::Connect { .. } | IoError::TimedOut { .. } => 0,
        }
    }
    if weight(&quic) > weight(&tls) { quic } else { tls }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD_START: Duration = Duration::from_millis(HEAD_START_MS);

    const SOON: Duration = Duration::from_millis(1);
    type Ran = Result<&'static str, &'static str>;

    async fn at_once(result: Ran) -> Ran {
        result
    }

    async fn never() -> Ran {
        std::future::pending().await
    }

    #[tokio::test]
    async fn the_first_that_succeeds_wins() {
        let (good, bad) = (|| at_once(Ok("first")), || at_once(Err("first")));
        let second = || at_once(Ok("second"));
        assert_eq!(race(good(), never(), HEAD_START).await, Ok("first"));
        assert_eq!(race(bad(), second(), HEAD_START).await, Ok("second"));
        assert_eq!(race(never(), second(), SOON).await, Ok("second"));
        let both = race(bad(), at_once(Err("second")), HEAD_START).await;
        assert_eq!(both, Err(("first", "second")));
    }

    #[tokio::test]
    async fn one_that_fails_leaves_it_to_the_other() {
        for (result, expect) in [(Ok("slow"), Ok("slow")), (Err("slow"), Err(("slow", "quick")))] {
            // The second one fails as soon as it begins, and only then does the first one end.
            let (begun, waits) = tokio::sync::oneshot::channel();
            let slow = async {
                waits.await.expect("begun");
                result
            };
            let quick = async {
                begun.send(()).expect("awaited");
                Err("quick")
            };
            assert_eq!(race(slow, quick, SOON).await, expect);
        }
    }

    #[tokio::test]
    async fn the_second_one_does_not_begin_where_the_first_succeeds_in_time() {
        let second = async { panic!("it was begun") };
        assert_eq!(race(at_once(Ok("first")), second, HEAD_START).await, Ok("first"));
    }

    #[test]
    fn tls_goes_first_for_ten_minutes_where_quic_was_lost() {
        let mut racer = Racer::new(&RelayTrust::PublicCa, Transports::Both).expect("always");
        assert!(!is_tls_first(racer.tls_first_until, clock()));
        racer.quic_was_lost();
        let until = racer.tls_first_until.expect("set");
        assert!(is_tls_first(racer.tls_first_until, clock()));
        assert!(is_tls_first(racer.tls_first_until, until - SOON));
        assert!(!is_tls_first(racer.tls_first_until, until));
        assert!(until > clock() + Duration::from_millis(TLS_FIRST_MS / 2));
    }

    #[test]
    fn the_error_that_tells_more_is_told() {
        let timed_out = || IoError::TimedOut { address: "a:1".into(), after: HEAD_START };
        let differs =
            || IoError::PinDiffers { expected: Vec::new(), found: crate::io::Pin([1; 32]) };
        let refused = || IoError::Connect {
            address: "a:1".into(),
            error: std::io::ErrorKind::ConnectionRefused.into(),
        };
        let check = |tls, quic, expect: IoError| {
            assert_eq!(better(tls, quic).to_string(), expect.to_string());
        };
        check(timed_out(), differs(), differs());
        check(differs(), timed_out(), differs());
        check(refused(), timed_out(), refused());
        check(timed_out(), IoError::WrongService, IoError::WrongService);
        check(IoError::WrongService, differs(), differs());
        check(IoError::Closed, IoError::QuicRefused, IoError::QuicRefused);
    }
}
