//! The types a setting can have: read from TOML, and shown as TOML.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use hushwire_wire::limits::ADDRESS_BYTES_MAX;
use toml::de::DeValue;

/// A value that can stand behind a key.
pub(super) trait Setting: Sized {
    /// Takes the value, or says in a sentence what it should be.
    fn read(value: &DeValue<'_>) -> Result<Self, String>;
    /// As TOML; `None` when it is not set.
    fn show(&self) -> Option<String>;
}

/// What a value is, for sentences.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| format!("this should be a text in quotes, not {}", kind(value)))
}

/// Checks a number against the range of its key.
pub(super) fn within<T: PartialOrd + Number>(
    value: &T,
    range: &RangeInclusive<T>,
) -> Result<(), String> {
    if range.contains(value) {
        return Ok(());
    }
    let (low, high) = (range.start().grouped(), range.end().grouped());
    Err(format!("{} is out of range: from {low} to {high}", value.grouped()))
}

/// A whole number, written with `_` between thousands.
pub(super) trait Number: Copy + fmt::Display {
    fn grouped(self) -> String {
        let digits = self.to_string();
        let mut out = String::with_capacity(digits.len() * 4 / 3);
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                out.push('_');
            }
            out.push(digit);
        }
        out
    }
}

macro_rules! number {
    ($($type:ty),+) => {$(
        impl Number for $type {}

        impl Setting for $type {
            fn read(value: &DeValue<'_>) -> Result<Self, String> {
                let integer = value.as_integer().ok_or_else(|| {
                    format!("this should be a whole number, not {}", kind(value))
                })?;
                if integer.as_str().starts_with('-') {
                    return Err("this cannot be negative".into());
                }
                Self::from_str_radix(integer.as_str(), integer.radix())
                    .map_err(|_| "this number is too large".into())
            }

            fn show(&self) -> Option<String> {
                Some(self.grouped())
            }
        }
    )+};
}

number!(u32, u64, usize);

impl Setting for SocketAddr {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        text(value)?.parse().map_err(|_| {
            "this should be an IP address and a port, like \"0.0.0.0:4433\" or \"[::]:4433\"".into()
        })
    }

    fn show(&self) -> Option<String> {
        Some(format!("\"{self}\""))
    }
}

/// An address of this machine that others cannot reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopbackAddr(SocketAddr);

impl LoopbackAddr {
    /// `None` when the address is not a loopback address.
    #[must_use]
    pub const fn new(address: SocketAddr) -> Option<Self> {
        if address.ip().is_loopback() { Some(Self(address)) } else { None }
    }

    /// The address.
    #[must_use]
    pub const fn get(self) -> SocketAddr {
        self.0
    }
}

impl Setting for LoopbackAddr {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let address = SocketAddr::read(value)?;
        Self::new(address).ok_or_else(|| {
            format!(
                "{} can be reached from outside: only 127.0.0.0/8 and [::1] may serve this",
                address.ip()
            )
        })
    }

    fn show(&self) -> Option<String> {
        self.0.show()
    }
}

/// `host:port` as people dial it: a DNS name, an IPv4 address or an IPv6 address in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// The host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, never 0.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl std::str::FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const SHAPE: &str = "this should be a host and a port, like \"relay.example.org:4433\"";
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(format!("this is longer than {ADDRESS_BYTES_MAX} bytes"));
        }
        let (host, port) = text.rsplit_once(':').ok_or(SHAPE)?;
        let port = match port.parse() {
            Ok(0) | Err(_) => return Err(format!("{port:?} is not a port: from 1 to 65535")),
            Ok(port) => port,
        };
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bracketed {
            Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_ok() => v6,
            Some(other) => return Err(format!("{other:?} is not an IPv6 address")),
            None => host,
        };
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if bracketed.is_none() && !host.split('.').all(label) {
            return Err(format!(
                "{host:?} is not a host name (an IPv6 address stands in brackets)"
            ));
        }
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Setting for HostPort {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        text(value)?.parse()
    }

    fn show(&self) -> Option<String> {
        Some(format!("\"{self}\""))
    }
}

impl Setting for PathBuf {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let path = Path::new(text(value)?);
        if path.is_absolute() {
            Ok(path.to_owned())
        } else {
            Err("this should be a whole path, from / on".into())
        }
    }

    fn show(&self) -> Option<String> {
        Some(toml::Value::String(self.display().to_string()).to_string())
    }
}

/// Path of a Unix socket: at most 107 bytes (`sun_path`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketPath(PathBuf);

/// Longest path of a Unix socket in bytes (unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 107;

impl SocketPath {
    /// `None` when the path is longer than a socket's can be.
    #[must_use]
    pub fn new(path: PathBuf) -> Option<Self> {
        (path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX).then_some(Self(path))
    }

    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl Setting for SocketPath {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        Self::new(PathBuf::read(value)?).ok_or_else(|| {
            format!("the path of a socket has at most {SOCKET_PATH_BYTES_MAX} bytes")
        })
    }

    fn show(&self) -> Option<String> {
        self.0.show()
    }
}

/// A place as operators name it: up to 32 of `a-z`, `0-9` and `-`; empty is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Region(String);

const REGION_BYTES_MAX: usize = 32;

impl Region {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for Region {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = text(value)?;
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if text.len() <= REGION_BYTES_MAX && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("this should be at most {REGION_BYTES_MAX} of a-z, 0-9 and -"))
        }
    }

    fn show(&self) -> Option<String> {
        Some(format!("\"{}\"", self.0))
    }
}

impl<T: Setting> Setting for Option<T> {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        T::read(value).map(Some)
    }

    fn show(&self) -> Option<String> {
        self.as_ref().and_then(T::show)
    }
}

macro_rules! choice {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $what:literal])+ $variant:ident = $text:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[doc = $what])+ $variant,)+
        }

        impl Setting for $name {
            fn read(value: &DeValue<'_>) -> Result<Self, String> {
                const ALL: &[&str] = &[$($text),+];
                let found = text(value)?;
                match found {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(super::problem::not_one_of(found, ALL)),
                }
            }

            fn show(&self) -> Option<String> {
                Some(match self {
                    $(Self::$variant => concat!("\"", $text, "\""),)+
                }.into())
            }
        }
    };
}

choice! {
    /// How much is logged.
    LogLevel {
        /// Somebody would be woken.
        Error = "error",
        /// Somebody should look.
        Warn = "warn",
        /// Starts, stops, what changed.
        Info = "info",
        /// Single connections, with identifiers.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

choice! {
    /// Where logs go and in which form.
    LogFormat {
        /// The journal if stderr leads there, else text on stderr.
        Auto = "auto",
        /// The systemd journal, with fields.
        Journald = "journald",
        /// Lines of text on stderr.
        Stderr = "stderr",
        /// One JSON object a line on stderr.
        Json = "json",
    }
}
