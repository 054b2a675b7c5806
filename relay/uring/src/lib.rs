//! The ring of one relay shard: io_uring operations, sockets, wakes and the kernel probe.
//!
//! # What a ring is
//!
//! io_uring is a pair of queues that a program shares with the kernel. The program writes
//! *operations* into the submission queue ("accept on this listener", "tell me when this socket is
//! readable"), one system call hands over the whole batch, and the kernel writes one *completion*
//! per event into the completion queue. One [`Ring`] belongs to one thread; a shard sleeps nowhere
//! but in [`Ring::wait`].
//!
//! The relay uses it in a *hybrid* way, which measured best for one message per socket and wake:
//! the ring accepts ([`Ring::accept_multishot`]), reports readiness ([`Ring::poll_once`],
//! [`Ring::poll_multishot`]), wakes ([`Wake`]), times out ([`Ring::wait`]) and finishes short sends
//! ([`Ring::send`]). Receiving and sending themselves are plain non-blocking system calls
//! ([`sockets::recv`], [`sockets::send`]): read one connection, process it, send, go on, while its
//! bytes are still in the cache.
//!
//! # The rules
//!
//! 1. **Every armed operation yields exactly one final completion** (`more == false`), also when it
//!    is cancelled, when it fails, and when its connection died. A *multishot* operation yields any
//!    number of completions with `more == true` before. After the final one the kernel has
//!    forgotten the operation; only then may its [`Token`] be used again.
//! 2. **A descriptor is closed only after the final completion of every operation on it.** The
//!    kernel keeps the socket open for an armed poll, so an early close sends no FIN; and an
//!    operation that is still in the submission queue would meet whatever socket has got the number
//!    since. Closing is therefore a state: [`sockets::shutdown_write`], [`Ring::cancel`], wait for
//!    the target's final completion, drop the descriptor.
//! 3. **A completion can outlive its connection** in the reader's own lists. That is what the
//!    generation in a [`Token`] is for.
//! 4. **A multishot poll reports changes, not states.** Whoever stops reading before
//!    [`sockets::Received::Empty`] will not be told again and must remember that by itself. An end
//!    of stream that arrives with data is announced once: look at [`Readiness::peer_closed`], or
//!    read until [`sockets::Received::End`].
//! 5. **The mode of a descriptor does not matter.** The system calls of [`sockets`] never wait
//!    (`MSG_DONTWAIT`), those of [`udp`] set `O_NONBLOCK` themselves, and the ring waits also where
//!    it is set.
//! 6. **A multishot operation may end at any time**, most likely when the completion queue was
//!    full. No event is lost; arm it again when a completion says `more == false`.
//!
//! UDP is hybrid too. A shard polls its [`udp::UdpSocket`] with the ring and calls
//! [`udp::UdpSocket::receive`] until it says that nothing is there (rule 4). The kernel itself
//! decides by the connection ID whose socket a datagram comes to ([`udp::Steering`]).
//!
//! Each rule is pinned by a test under `tests/`.
//!
//! # Example
//!
//! ```
//! use hushwire_uring::sockets::{self, ListenOptions, Received};
//! use hushwire_uring::{Completion, DormantRing, Interest, Kind, RingOptions, Token};
//! use std::io::Write as _;
//! use std::os::fd::AsFd as _;
//! use std::time::Duration;
//!
//! // One kind per purpose; what the ring does with it is part of the kind.
//! const LISTENER: Kind = Kind::accept(0);
//! const CONNECTION: Kind = Kind::poll(0);
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut ring = DormantRing::new(RingOptions::default())?.enable()?;
//! let listener = sockets::listen("127.0.0.1:0".parse()?, &ListenOptions::default())?;
//! ring.accept_multishot(listener.socket.as_fd(), Token::new(LISTENER, 0, 0))?;
//!
//! let mut client = std::net::TcpStream::connect(listener.address)?;
//! client.write_all(b"hello")?;
//!
//! let mut completions = Vec::new();
//! let mut connection = None;
//! let mut received = Vec::new();
//! while received.is_empty() {
//!     ring.wait(Some(Duration::from_secs(5)))?;
//!     ring.drain(&mut completions);
//!     for completion in completions.drain(..) {
//!         match completion {
//!             Completion::Accepted { socket, .. } => {
//!                 let token = Token::new(CONNECTION, 1, 0);
//!                 ring.poll_multishot(socket.as_fd(), token, Interest::Read)?;
//!                 connection = Some(socket);
//!             }
//!             Completion::Polled { token, .. } => {
//!                 assert_eq!((token.kind(), token.generation()), (CONNECTION, 1));
//!                 let socket = connection.as_ref().ok_or("a poll of a connection")?;
//!                 let mut scratch = [0; 1024];
//!                 if let Received::Bytes(count) = sockets::recv(socket.as_fd(), &mut scratch)? {
//!                     received.extend_from_slice(&scratch[..count]);
//!                 }
//!             }
//!             other => return Err(format!("unexpected: {other:?}").into()),
//!         }
//!     }
//! }
//! assert_eq!(received, b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! Dropping a [`Ring`] cancels what is armed and waits for the kernel to give the buffers back.

pub mod affinity;
mod completion;
mod descriptors;
pub mod limits;
pub mod memory;
mod probe;
mod ring;
mod setup;
pub mod sockets;
mod token;
pub mod udp;
mod wake;

pub use completion::{Completion, Interest, Readiness};
pub use descriptors::{NofileError, raise_nofile};
pub use probe::{Capabilities, KernelVersion, ProbeError, probe};
pub use ring::{Ring, SendRefused};
pub use setup::{DormantRing, RingOptions, SetupError};
pub use token::{Kind, Operation, Token};
pub use wake::Wake;
