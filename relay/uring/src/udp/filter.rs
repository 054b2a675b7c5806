//! Programs of the classic BPF on sockets.
#![expect(unsafe_code, reason = "rustix has no SO_ATTACH_FILTER and its kin")]

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use libc::{sock_filter, sock_fprog};
use rustix::io::Errno;

/// Lets `program` choose among the sockets that share the port of this one.
pub(super) fn steer(socket: BorrowedFd<'_>, program: &[sock_filter]) -> Result<(), Errno> {
    attach(socket, libc::SO_ATTACH_REUSEPORT_CBPF, program)
}

/// The socket drops all it receives, until [`admit`].
pub(super) fn refuse(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // How many bytes to keep: none drops the datagram.
    let nothing = statement(libc::BPF_RET | libc::BPF_K, 0);
    match attach(socket, libc::SO_ATTACH_FILTER, &[nothing]) {
        // A kernel without filters: some datagrams are misplaced, as they are all the time then.
        Err(Errno::NOPROTOOPT) => Ok(()),
        other => other,
    }
}

/// Undoes [`refuse`].
pub(super) fn admit(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    let unused: c_int = 0;
    // SAFETY: the value is one integer, which the kernel only reads.
    match unsafe {
        set_option(socket, libc::SO_DETACH_FILTER, (&raw const unused).cast(), size_of::<c_int>())
    } {
        // There was none.
        Err(Errno::NOENT | Errno::NOPROTOOPT) => Ok(()),
        other => other,
    }
}

/// One instruction: `code` with the constant `k`.
pub(super) const fn statement(code: u32, k: u32) -> sock_filter {
    jump(code, k, 0, 0)
}

/// One instruction that skips `then` or `otherwise` of those that follow it.
pub(super) const fn jump(code: u32, k: u32, then: u8, otherwise: u8) -> sock_filter {
    // All codes are below 256.
    sock_filter { code: code as u16, jt: then, jf: otherwise, k }
}

fn attach(socket: BorrowedFd<'_>, how: c_int, program: &[sock_filter]) -> Result<(), Errno> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let program = sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the value is a program and points to as many instructions as it says. The kernel
    // copies both and keeps neither pointer; it writes to none.
    unsafe { set_option(socket, how, (&raw const program).cast(), size_of::<sock_fprog>()) }
}

/// Sets an option of the socket itself.
///
/// # Safety
///
/// `value` points to `length` bytes, which are what the option `name` takes.
unsafe fn set_option(
    socket: BorrowedFd<'_>,
    name: c_int,
    value: *const c_void,
    length: usize,
) -> Result<(), Errno> {
    let length = length as libc::socklen_t;
    // SAFETY: the descriptor is open as long as it is borrowed, and the caller answers for the
    // rest.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, value, length) } {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
    }
}
