//! Whether this machine would send from another address now: a device that only receives would otherwise find out when it
//! next has something to send, and the relay when its datagrams have been lost for long enough.

use std::io;
use std::net::{IpAddr, SocketAddr};

/// From which address this machine sends to `remote`, and news of changes.
#[derive(Debug)]
pub(super) struct Addresses {
    remote: SocketAddr,
    source: Option<IpAddr>,
    news: Option<News>,
}

impl Addresses {
    pub(super) fn toward(remote: SocketAddr) -> Self {
        let news = News::listen();
        if let Err(error) = &news {
            tracing::debug!(%error, "the system does not tell when addresses change");
        }
        Self { remote, source: source(remote).ok(), news: news.ok() }
    }

    /// Waits until addresses of this machine have changed, perhaps none that matter here. For ever, where the system does not
    /// say so. Cancellation-safe.
    pub(super) async fn changed(&self) {
        match &self.news {
            Some(news) => news.wait().await,
            None => std::future::pending().await,
        }
    }

    /// Whether datagrams leave from another address than when last asked. Between two networks there is none.
    pub(super) fn is_another(&mut self) -> bool {
        let Ok(now) = source(self.remote) else { return false };
        self.source.replace(now) != Some(now)
    }
}

/// Asks the system without sending anything: a UDP socket is given its address when it is connected.
fn source(remote: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let probe = std::net::UdpSocket::bind((any, 0))?;
    probe.connect(remote)?;
    Ok(probe.local_addr()?.ip())
}

#[cfg(target_os = "linux")]
use linux::News;

#[cfg(not(target_os = "linux"))]
use elsewhere::News;

#[cfg(target_os = "linux")]
mod linux {
    use std::io;

    use rustix::net::netlink::SocketAddrNetlink;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
    use tokio::net::UdpSocket;

    /// RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR of rtnetlink(7): addresses given and taken away.
    const GROUPS: u32 = 0x10 | 0x100;
    /// Messages are not looked into.
    const MESSAGE_BYTES: usize = 4_096;

    /// A socket of netlink. tokio has no type for it; what is used here of its UDP sockets, waiting and recv(2), any socket
    /// can do.
    #[derive(Debug)]
    pub(super) struct News(UdpSocket);

    impl News {
        pub(super) fn listen() -> io::Result<Self> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            // No protocol is NETLINK_ROUTE.
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
            bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
            Ok(Self(UdpSocket::from_std(socket.into())?))
        }

        pub(super) async fn wait(&self) {
            if self.0.readable().await.is_err() {
                return std::future::pending().await;
            }
            let mut message = [0; MESSAGE_BYTES];
            // Whatever it says, also that some were lost: look.
            while self.0.try_recv(&mut message).is_ok() {}
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::io;

    #[derive(Debug)]
    pub(super) struct News;

    impl News {
        pub(super) fn listen() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(super) async fn wait(&self) {
            std::future::pending().await
        }
    }
}
