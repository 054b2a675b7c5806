//! The ring of one shard: arm operations, submit, wait, drain.
#![expect(unsafe_code, reason = "the queues of io_uring are memory shared with the kernel")]

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};

use crate::limits::{DROP_CANCEL_MAX, DROP_ROUNDS_MAX, SEND_BYTES_MAX};
use crate::{Completion, Interest, Operation, Readiness, Token, Wake};

/// The ring of one thread: enabled by it and used by it only (it is not `Send`).
///
/// Arming writes into the submission queue, without a system call unless the queue is full;
/// [`Ring::submit`] and [`Ring::wait`] hand the queue to the kernel. A descriptor given to an
/// arming method must stay open until the operation's final completion (rule 2 of the crate's
/// documentation). Every arming method panics if the token's kind is for another operation.
///
/// ```compile_fail,E0277
/// fn only_what_another_thread_may_have<T: Send>() {}
/// only_what_another_thread_may_have::<hushwire_uring::Ring>();
/// ```
pub struct Ring {
    inner: IoUring,
    /// The buffers of armed sends. One leaves only with the send's final completion: until then
    /// the kernel reads from it.
    sending: HashMap<Token, Vec<u8>>,
    /// Operations that have not had their final completion.
    armed: usize,
    /// io_uring binds a single-issuer ring to the thread that enabled it.
    thread_bound: PhantomData<*mut ()>,
}

/// A send that was not armed, with the buffer back.
#[derive(Debug, thiserror::Error)]
#[error("the send was not armed: {error}")]
pub struct SendRefused {
    /// The buffer, unchanged.
    pub buffer: Vec<u8>,
    /// Why: `InvalidInput` if nothing lies behind the offset, or more than
    /// [`SEND_BYTES_MAX`]; `AlreadyExists` if a send with
    /// this token is armed; otherwise as [`Ring::submit`].
    #[source]
    pub error: io::Error,
}

impl Ring {
    /// Takes a ring that the calling thread has just enabled.
    pub(crate) fn enabled(inner: IoUring) -> Self {
        Self { inner, sending: HashMap::new(), armed: 0, thread_bound: PhantomData }
    }

    /// Accepts connections until cancelled or failed: [`Completion::Accepted`],
    /// [`Completion::AcceptFailed`].
    ///
    /// # Errors
    ///
    /// As [`Ring::submit`], if the queue was full; nothing is armed then.
    pub fn accept_multishot(&mut self, listener: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        expect_operation(token, Operation::Accept);
        let entry = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).flags(libc::SOCK_CLOEXEC);
        self.push(entry.build(), token)
    }

    /// Reports once that a descriptor is ready, at once if it is: [`Completion::Polled`] with
    /// `more == false`, or [`Completion::PollEnded`].
    ///
    /// # Errors
    ///
    /// As [`Ring::submit`], if the queue was full; nothing is armed then.
    pub fn poll_once(
        &mut self,
        descriptor: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        expect_operation(token, Operation::Poll);
        let entry = opcode::PollAdd::new(Fd(descriptor.as_raw_fd()), interest.events());
        self.push(entry.build(), token)
    }

    /// Reports that a descriptor is ready, now and each time that something is added to it:
    /// [`Completion::Polled`] until one says `more == false`, or [`Completion::PollEnded`]. It
    /// reports changes: what is left unread is not reported again.
    ///
    /// # Errors
    ///
    /// As [`Ring::submit`], if the queue was full; nothing is armed then.
    pub fn poll_multishot(
        &mut self,
        descriptor: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        expect_operation(token, Operation::Poll);
        let entry = opcode::PollAdd::new(Fd(descriptor.as_raw_fd()), interest.events()).multi(true);
        self.push(entry.build(), token)
    }

    /// Reports each notification of a [`Wake`]: [`Completion::Woken`],
    /// [`Completion::WatchEnded`].
    ///
    /// # Errors
    ///
    /// As [`Ring::submit`], if the queue was full; nothing is armed then.
    pub fn watch(&mut self, wake: &Wake, token: Token) -> io::Result<()> {
        expect_operation(token, Operation::Wake);
        let events = Interest::Read.events();
        let entry = opcode::PollAdd::new(Fd(wake.as_fd().as_raw_fd()), events).multi(true);
        self.push(entry.build(), token)
    }

    /// Sends `buffer[offset..]`, all of it, however slowly the peer reads: [`Completion::Sent`]
    /// gives the buffer back. Nothing else may be sent on the socket meanwhile.
    ///
    /// # Errors
    ///
    /// [`SendRefused`], with the buffer.
    pub fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        token: Token,
        buffer: Vec<u8>,
        offset: usize,
    ) -> Result<(), SendRefused> {
        expect_operation(token, Operation::Send);
        let rest = buffer.get(offset..).unwrap_or_default();
        if rest.is_empty() || rest.len() > SEND_BYTES_MAX {
            let problem = format!("{} bytes from offset {offset}", buffer.len());
            let error = io::Error::new(io::ErrorKind::InvalidInput, problem);
            return Err(SendRefused { buffer, error });
        }
        if self.sending.contains_key(&token) {
            return Err(SendRefused { buffer, error: io::ErrorKind::AlreadyExists.into() });
        }
        let entry = opcode::Send::new(Fd(socket.as_raw_fd()), rest.as_ptr(), rest.len() as u32)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build();
        self.sending.insert(token, buffer);
        self.push(entry, token).map_err(|error| SendRefused {
            buffer: self.sending.remove(&token).unwrap_or_default(),
            error,
        })
    }

    /// Cancels the operation that is armed under `target`: [`Completion::Cancelled`] under
    /// `token`, and, separately, the final completion of the target.
    ///
    /// # Errors
    ///
    /// As [`Ring::submit`], if the queue was full; nothing is armed then.
    pub fn cancel(&mut self, target: Token, token: Token) -> io::Result<()> {
        expect_operation(token, Operation::Cancel);
        self.push(opcode::AsyncCancel::new(target.user_data()).build(), token)
    }

    /// Hands over what was armed and lets the kernel do what it has put off for this thread,
    /// without waiting. No system call if there is neither.
    ///
    /// # Errors
    ///
    /// `EAGAIN` and `EBUSY`: the kernel has no memory for requests now; what was armed stays in
    /// the queue. `EBADR`: it had none for a completion, which is lost; the ring cannot be trusted
    /// any more.
    pub fn submit(&mut self) -> io::Result<()> {
        let queue = self.inner.submission();
        if queue.is_empty() && !queue.taskrun() && !queue.cq_overflow() {
            return Ok(());
        }
        drop(queue);
        match self.inner.submit() {
            Ok(_) => Ok(()),
            // Submission comes first and is not undone.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Submits and waits for at least one completion, for a signal, or until the time has passed
    /// (`None`: for ever; zero: no waiting). Returns whether there is something to drain.
    ///
    /// # Errors
    ///
    /// As [`Ring::submit`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let outcome = match timeout {
            Some(Duration::ZERO) => {
                self.submit()?;
                if self.inner.completion().is_empty() {
                    // What has just been armed may itself have put something off.
                    self.submit()?;
                }
                return Ok(!self.inner.completion().is_empty());
            }
            Some(timeout) => {
                let time = Timespec::from(timeout);
                self.inner.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&time))
            }
            None => self.inner.submit_and_wait(1),
        };
        match outcome.map_err(|error| (error.raw_os_error(), error)) {
            Ok(_) | Err((Some(libc::ETIME | libc::EINTR), _)) => {
                Ok(!self.inner.completion().is_empty())
            }
            Err((_, error)) => Err(error),
        }
    }

    /// Submits and lets the time pass, whatever completes meanwhile (unless that is as much as the completion queue
    /// holds). Ends early at a signal.
    ///
    /// # Errors
    ///
    /// As [`Ring::submit`].
    pub fn pause(&mut self, time: Duration) -> io::Result<()> {
        let time = Timespec::from(time);
        let all = self.inner.params().cq_entries() as usize;
        let outcome =
            self.inner.submitter().submit_with_args(all, &SubmitArgs::new().timespec(&time));
        match outcome.map_err(|error| (error.raw_os_error(), error)) {
            Ok(_) | Err((Some(libc::ETIME | libc::EINTR), _)) => Ok(()),
            Err((_, error)) => Err(error),
        }
    }

    /// Moves the completions that are there into `completions`, oldest first, at most the size of
    /// the completion queue. Makes no system call and runs nothing.
    pub fn drain(&mut self, completions: &mut Vec<Completion>) {
        let Self { inner, sending, armed, .. } = self;
        completions.extend(inner.completion().map(|entry| complete(&entry, sending, armed)));
    }

    /// Whether something could be drained, now or after a [`Ring::submit`] that does not wait.
    /// Makes no system call.
    pub fn has_pending(&mut self) -> bool {
        if !self.inner.completion().is_empty() {
            return true;
        }
        let queue = self.inner.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    /// How many operations have not had their final completion drained.
    pub const fn armed(&self) -> usize {
        self.armed
    }

    /// Queues one entry. The pointers in it, if any, must be into a buffer in `sending` under the
    /// same token; of all the entries that this module builds only those of `send` have one.
    fn push(&mut self, entry: squeue::Entry, token: Token) -> io::Result<()> {
        if self.inner.submission().is_full() {
            self.submit()?;
        }
        let entry = entry.user_data(token.user_data());
        // SAFETY: descriptors are checked by the kernel. The one pointer is that of `send`, into
        // the heap part of a Vec that `sending` owns: it neither moves nor changes nor goes away
        // before the kernel's final completion for this token (`complete`, and `drop` below).
        let pushed = unsafe { self.inner.submission().push(&entry) };
        pushed.map_err(|_| io::Error::from_raw_os_error(libc::EBUSY))?;
        self.armed += 1;
        Ok(())
    }
}

/// A program that arms an operation under the kind of another one would take its completion for
/// something else, and its buffer for lost.
#[track_caller]
fn expect_operation(token: Token, operation: Operation) {
    assert!(token.kind().operation() == operation, "{token:?} is not for {operation:?}");
}

/// What an entry of the completion queue says.
fn complete(
    entry: &cqueue::Entry,
    sending: &mut HashMap<Token, Vec<u8>>,
    armed: &mut usize,
) -> Completion {
    let token = Token::from_user_data(entry.user_data());
    let more = cqueue::more(entry.flags());
    if !more {
        *armed -= 1;
    }
    let result = match entry.result() {
        errno @ ..0 => Err(io::Error::from_raw_os_error(-errno)),
        value => Ok(value as u32),
    };
    match (token.kind().operation(), result) {
        (Operation::Accept, Ok(descriptor)) => {
            // SAFETY: the kernel has just opened this descriptor for us and tells it only once.
            let socket = unsafe { OwnedFd::from_raw_fd(descriptor as i32) };
            Completion::Accepted { token, socket, more }
        }
        (Operation::Accept, Err(error)) => Completion::AcceptFailed { token, error, more },
        (Operation::Poll, Ok(events)) => {
            Completion::Polled { token, ready: Readiness::from_events(events), more }
        }
        (Operation::Poll, Err(error)) => Completion::PollEnded { token, error },
        (Operation::Wake, Ok(_)) => Completion::Woken { token, more },
        (Operation::Wake, Err(error)) => Completion::WatchEnded { token, error },
        (Operation::Send, result) => {
            let buffer = sending.remove(&token).unwrap_or_default();
            Completion::Sent { token, buffer, result: result.map(|count| count as usize) }
        }
        (Operation::Cancel, result) => {
            let missing = |error: &io::Error| error.raw_os_error() == Some(libc::ENOENT);
            Completion::Cancelled { token, found: !result.as_ref().is_err_and(missing) }
        }
    }
}

impl Drop for Ring {
    /// Cancels what is armed and takes the buffers back from the kernel. What is still in the
    /// submission queue is not handed over: its descriptors may be others' by now.
    fn drop(&mut self) {
        // Without a match it says ENOENT; and what cannot be cancelled is leaked below.
        let within = Some(Timespec::from(DROP_CANCEL_MAX));
        let _ = self.inner.submitter().register_sync_cancel(within, CancelBuilder::any());
        let unsubmitted = self.inner.submission().len();
        let mut completions = Vec::new();
        for _ in 0..DROP_ROUNDS_MAX {
            self.drain(&mut completions);
            completions.clear();
            if self.armed <= unsubmitted {
                break;
            }
            let flags = EnterFlags::GETEVENTS.bits();
            // SAFETY: nothing is submitted and no argument is passed.
            let _ = unsafe { self.inner.submitter().enter::<libc::sigset_t>(0, 0, flags, None) };
        }
        for (_, buffer) in self.sending.drain() {
            mem::forget(buffer);
        }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("armed", &self.armed).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DormantRing, Kind, RingOptions};

    /// What the kernel answers to an entry that no public method would build.
    fn outcome_of(entry: squeue::Entry) -> i32 {
        let mut ring = DormantRing::new(RingOptions::default()).unwrap().enable().unwrap();
        ring.push(entry, Token::new(Kind::poll(0), 0, 0)).unwrap();
        ring.wait(Some(Duration::from_secs(5))).unwrap();
        let entry = ring.inner.completion().next().unwrap();
        ring.armed -= 1;
        entry.result()
    }

    #[test]
    fn restrictions_refuse_what_a_shard_does_not_do() {
        #[track_caller]
        fn check(entry: squeue::Entry, result: i32) {
            assert_eq!(outcome_of(entry), result);
        }
        let poll = || opcode::PollAdd::new(Fd(-1), 1).build();
        let path = c"/dev/null";
        check(opcode::Nop::new().build(), -libc::EACCES);
        check(opcode::OpenAt::new(Fd(libc::AT_FDCWD), path.as_ptr()).build(), -libc::EACCES);
        check(opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0).build(), -libc::EACCES);
        check(poll().flags(squeue::Flags::IO_LINK), -libc::EACCES);
        check(poll().flags(squeue::Flags::ASYNC), -libc::EACCES);
        // What is allowed gets as far as its descriptor.
        check(poll(), -libc::EBADF);
    }

    #[test]
    fn nothing_can_be_registered_on_an_enabled_ring() {
        let ring = DormantRing::new(RingOptions::default()).unwrap().enable().unwrap();
        let submitter = ring.inner.submitter();
        let refused = submitter.register_probe(&mut io_uring::Probe::new()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EACCES));
        let refused = submitter.register_files_sparse(4).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EACCES));
        let refused = submitter.register_restrictions(&mut []).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EACCES));
    }
}
