//! Addresses of webhooks: what is certain to fail is refused before anything runs.

use std::fmt;
use std::net::Ipv6Addr;

/// The longest address in bytes. Servers refuse longer ones.
const MAX_URL: usize = 8 << 10;

/// Why a text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    TooLong,
    /// Neither `http://` nor `https://`.
    Scheme,
    /// A character that stands in no address.
    Character(char),
    /// A name or a password before the host.
    Credentials,
    NoHost,
    Host,
    Port,
    Fragment,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "it is longer than {MAX_URL} bytes"),
            Self::Scheme => f.write_str("it does not begin with `http://` or `https://`"),
            Self::Character(c) => write!(f, "{c:?} stands in no address"),
            Self::Credentials => f.write_str("it has a name or a password in it"),
            Self::NoHost => f.write_str("it has no host"),
            Self::Host => f.write_str("its host is not one"),
            Self::Port => f.write_str("its port is not a number from 1 to 65535"),
            Self::Fragment => f.write_str("what follows `#` is never sent"),
        }
    }
}

impl Refusal {
    pub(super) fn help(self) -> Option<&'static str> {
        match self {
            Self::Scheme | Self::NoHost => {
                Some("write it in full, as in `http://127.0.0.1:9000/hook`")
            }
            Self::Character(_) => {
                Some("write it as `%` and two hexadecimal digits, as in `%20` for a space")
            }
            Self::Credentials => {
                Some("a manifest is recorded with each run: sign with `secret_env` instead")
            }
            Self::TooLong | Self::Host | Self::Port | Self::Fragment => None,
        }
    }
}

/// Whether `url` is an address to which one can post.
pub(super) fn check(url: &str) -> Result<(), Refusal> {
    if url.len() > MAX_URL {
        return Err(Refusal::TooLong);
    }
    let rest = after_scheme(url).ok_or(Refusal::Scheme)?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(Refusal::Credentials);
    }
    let stands_in_none = |c: char| !c.is_ascii_graphic() || "\"<>\\^`{|}".contains(c);
    if let Some(c) = url.chars().find(|&c| stands_in_none(c)) {
        return Err(Refusal::Character(c));
    }
    host_and_port(authority)?;
    if path.contains('#') {
        return Err(Refusal::Fragment);
    }
    Ok(())
}

/// What follows the scheme. It may be written in any case.
fn after_scheme(url: &str) -> Option<&str> {
    ["http://", "https://"].into_iter().find_map(|scheme| {
        let begin = url.get(..scheme.len())?;
        begin.eq_ignore_ascii_case(scheme).then(|| &url[scheme.len()..])
    })
}

fn host_and_port(authority: &str) -> Result<(), Refusal> {
    let (port, is_host) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or(Refusal::Host)?;
        (port, host.parse::<Ipv6Addr>().is_ok())
    } else {
        let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        if host.is_empty() {
            return Err(Refusal::NoHost);
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        (port, host.chars().all(plain) && host.contains(|c: char| c.is_ascii_alphanumeric()))
    };
    if !is_host {
        return Err(Refusal::Host);
    }
    if port.is_empty() {
        return Ok(());
    }
    let digits = port.strip_prefix(':').ok_or(Refusal::Host)?;
    // A sign would be taken for part of the number.
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u16>());
    match number {
        Some(Ok(1..)) => Ok(()),
        _ => Err(Refusal::Port),
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_URL, Refusal, check};

    #[test]
    fn addresses_have_a_scheme_and_a_host() {
        for url in [
            "http://127.0.0.1:9000/hook",
            "https://example.org",
            "HTTPS://Example.org?a=b&c=%20d",
            "http://[::1]:7373/",
            "http://[::1]",
            "http://my_host.:65535/a@b:c",
            "http://a/~x/(y);z=1,2!$&'*+[]",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn what_is_no_address_says_why() {
        let long = format!("http://a/{}", "x".repeat(MAX_URL));
        for (url, refusal) in [
            ("127.0.0.1:9000/hook", Refusal::Scheme),
            ("ftp://example.org", Refusal::Scheme),
            ("http:/example.org", Refusal::Scheme),
            (" http://example.org", Refusal::Scheme),
            ("htt\u{e9}://", Refusal::Scheme),
            ("http://", Refusal::NoHost),
            ("http:///hook", Refusal::NoHost),
            ("https://?x", Refusal::NoHost),
            ("http://:80", Refusal::NoHost),
            ("http://.", Refusal::Host),
            ("http://a,b", Refusal::Host),
            ("http://[::1", Refusal::Host),
            ("http://[::g]", Refusal::Host),
            ("http://[::1]80", Refusal::Host),
            ("http://::1", Refusal::NoHost),
            ("http://a:", Refusal::Port),
            ("http://a:0", Refusal::Port),
            ("http://a:+80", Refusal::Port),
            ("http://a:65536", Refusal::Port),
            ("http://a:1:2", Refusal::Port),
            ("http://me:pw@a/", Refusal::Credentials),
            ("http://@a/", Refusal::Credentials),
            ("http://a/b c", Refusal::Character(' ')),
            ("http://a/\u{e9}", Refusal::Character('\u{e9}')),
            ("http://{{ host }}/", Refusal::Character('{')),
            ("http://a\\b", Refusal::Character('\\')),
            ("http://a/\n", Refusal::Character('\n')),
            ("http://a/#b", Refusal::Fragment),
            ("http://a#b", Refusal::Fragment),
            (&long, Refusal::TooLong),
        ] {
            assert_eq!(check(url), Err(refusal), "{url}");
        }
    }
}
