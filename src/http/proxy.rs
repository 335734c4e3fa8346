//! Proxies of the machine's network, chosen as Go's programs choose them (golang.org/x/net/http/httpproxy): by
//! `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, upper or lower case; never for `localhost` and loopback addresses.
//!
//! Only downloads use them. What asks the mesh sees what happened, without anybody in between.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::error::HttpError;
use super::request::Url;
use crate::base::net::Stream;
use crate::base::secret::Secret;

/// What a proxy may say before a tunnel is open.
const MAX_HEAD: usize = 16 << 10;

/// The proxies of a run; the default has none.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    /// Programs that a web server starts get its clients' headers as variables: `HTTP_PROXY` may come from anybody.
    is_cgi: bool,
    bypass: Vec<Bypass>,
}

/// A proxy.
#[derive(Clone, Debug)]
pub struct Proxy {
    scheme: String,
    pub(super) host: String,
    pub(super) port: u16,
    authorization: Option<Secret>,
}

/// An entry of `NO_PROXY`.
#[derive(Clone, Debug)]
enum Bypass {
    All,
    Network {
        address: IpAddr,
        bits: u8,
    },
    Address {
        address: IpAddr,
        port: Option<String>,
    },
    /// The domain begins with a dot.
    Domain {
        domain: String,
        port: Option<String>,
        itself: bool,
    },
}

impl Proxies {
    /// Reads the variables; an address that cannot be read stands for none, as in Go.
    pub fn read(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let any = |upper: &str| {
            variable(upper).or_else(|| variable(&upper.to_lowercase())).unwrap_or_default()
        };
        Self {
            http: Proxy::parse(&any("HTTP_PROXY")),
            https: Proxy::parse(&any("HTTPS_PROXY")),
            is_cgi: variable("REQUEST_METHOD").is_some(),
            bypass: any("NO_PROXY").split(',').filter_map(Bypass::parse).collect(),
        }
    }

    /// The proxy that a request to `url` goes through.
    ///
    /// # Errors
    /// `Proxy` for a kind of proxy that is not known, and for `HTTP_PROXY` inside of CGI.
    pub fn choose(&self, url: &Url) -> Result<Option<&Proxy>, HttpError> {
        let chosen = if url.is_secure() { &self.https } else { &self.http };
        let Some(proxy) = chosen.as_ref().filter(|_| !self.is_bypassed(url)) else {
            return Ok(None);
        };
        let refused =
            |reason: &str| HttpError::Proxy { proxy: proxy.address(), reason: reason.to_owned() };
        if self.is_cgi && !url.is_secure() {
            return Err(refused("`HTTP_PROXY` is not used in a CGI environment"));
        }
        if proxy.scheme != "http" && proxy.scheme != "https" {
            return Err(refused("only proxies of `http://` and `https://` are known"));
        }
        Ok(Some(proxy))
    }

    fn is_bypassed(&self, url: &Url) -> bool {
        let host = url.host().trim_end_matches('.');
        let address: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return true;
        }
        let port = url.port().to_string();
        self.bypass.iter().any(|entry| entry.matches(host, &port, address))
    }
}

impl Bypass {
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim().to_lowercase();
        if entry == "*" {
            return Some(Self::All);
        }
        if let Some((address, bits)) = entry.split_once('/')
            && let (Ok(address), Ok(bits)) = (address.parse::<IpAddr>(), bits.parse::<u8>())
            && bits <= if address.is_ipv4() { 32 } else { 128 }
        {
            return Some(Self::Network { address, bits });
        }
        let bare = entry.trim_matches(['[', ']']);
        if let Ok(address) = bare.parse() {
            return Some(Self::Address { address, port: None });
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.to_owned())),
            None => (entry.as_str(), None),
        };
        if let Ok(address) = host.trim_matches(['[', ']']).parse() {
            return Some(Self::Address { address, port });
        }
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        match host.strip_prefix('.') {
            _ if host.is_empty() => None,
            Some(_) => Some(Self::Domain { domain: host.to_owned(), port, itself: false }),
            None => Some(Self::Domain { domain: format!(".{host}"), port, itself: true }),
        }
    }

    fn matches(&self, host: &str, port: &str, found: Option<IpAddr>) -> bool {
        let on_port = |wanted: &Option<String>| {
            wanted.as_deref().is_none_or(|wanted| wanted.is_empty() || wanted == port)
        };
        match self {
            Self::All => true,
            Self::Network { address, bits } => {
                found.is_some_and(|found| same_network(*address, found, *bits))
            }
            Self::Address { address, port } => found == Some(*address) && on_port(port),
            Self::Domain { domain, port, itself } => {
                let is_below = host.ends_with(domain.as_str());
                let is_it = *itself && domain.strip_prefix('.') == Some(host);
                found.is_none() && (is_below || is_it) && on_port(port)
            }
        }
    }
}

fn same_network(network: IpAddr, address: IpAddr, bits: u8) -> bool {
    let (network, address, width) = match (network, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    let shift = u32::from(width - bits);
    network.checked_shr(shift) == address.checked_shr(shift)
}

impl Proxy {
    /// Reads `[SCHEME://][USER[:PASSWORD]@]HOST[:PORT]`.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        let scheme = scheme.to_lowercase();
        let (host, port) = match place.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (place, if scheme == "https" { 443 } else { 80 }),
        };
        let host = host.trim_matches(['[', ']']).to_lowercase();
        let authorization = user.map(|user| {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            let pair = [decoded(name), b":".to_vec(), decoded(password)].concat();
            Secret::new(format!("Basic {}", STANDARD.encode(pair)))
        });
        (!host.is_empty()).then_some(Self { scheme, host, port, authorization })
    }

    /// Without its credentials.
    pub(super) fn address(&self) -> String {
        format!("{}://{}:{}", self.scheme, self.host, self.port)
    }

    pub(super) fn is_secure(&self) -> bool {
        self.scheme == "https"
    }

    /// The value of the header `proxy-authorization`.
    pub(super) fn authorization(&self) -> Option<&str> {
        self.authorization.as_ref().map(Secret::reveal)
    }

    /// Asks for a tunnel to `host:port` (RFC 9110, section 9.3.6).
    pub(super) async fn tunnel(
        &self,
        stream: &mut dyn Stream,
        target: &str,
    ) -> Result<(), HttpError> {
        let failed = |reason: String| HttpError::Proxy { proxy: self.address(), reason };
        let mut head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some(authorization) = self.authorization() {
            head.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
        }
        head.push_str("\r\n");
        let broken = |error: std::io::Error| failed(error.to_string());
        stream.write_all(head.as_bytes()).await.map_err(broken)?;
        stream.flush().await.map_err(broken)?;
        // Byte by byte: what follows the head belongs to the tunnel.
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() == MAX_HEAD {
                return Err(failed("its answer does not end".to_owned()));
            }
            match stream.read_u8().await {
                Ok(byte) => answer.push(byte),
                Err(_) => return Err(failed("it closed the connection".to_owned())),
            }
        }
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.lines().next().unwrap_or_default();
        let status = status.split_once(' ').map_or(status, |(_, status)| status.trim());
        if status.starts_with("200") {
            return Ok(());
        }
        Err(failed(format!("it opens no tunnel to {target}: {status}")))
    }
}

/// Undoes `%41`.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| after.get(..2)).flatten();
        let escaped = escaped.and_then(|digits| hex::decode(digits).ok());
        match escaped.as_deref() {
            Some([byte]) => {
                bytes.push(*byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(variables: &[(&str, &str)], url: &str) -> String {
        let read = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let proxies = Proxies::read(&read);
        match proxies.choose(&url.parse().expect("a URL")) {
            Ok(Some(proxy)) => proxy.address(),
            Ok(None) => "direct".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    // The rows are those of golang.org/x/net/http/httpproxy's documentation, tried with Go 1.26.
    #[test]
    fn proxies_are_chosen_as_go_chooses_them() {
        let both = [("HTTPS_PROXY", "secure.example:3128"), ("http_proxy", "http://plain.example")];
        for (url, expected) in [
            ("https://a.example/", "http://secure.example:3128"),
            ("http://a.example/", "http://plain.example:80"),
            ("http://localhost:8080/", "direct"),
            ("http://127.1.2.3/", "direct"),
            ("http://[::1]/", "direct"),
        ] {
            assert_eq!(chosen(&both, url), expected, "{url}");
        }
        for (no_proxy, url, is_direct) in [
            ("a.example", "https://a.example/", true),
            ("a.example", "https://b.a.example/", true),
            ("a.example", "https://ba.example/", false),
            (".a.example", "https://a.example/", false),
            (".a.example", "https://b.a.example/", true),
            ("*.a.example", "https://b.a.example/", true),
            ("a.example:8443", "https://a.example/", false),
            ("a.example:8443", "https://a.example:8443/", true),
            (" x.example , A.Example ", "https://a.example/", true),
            ("10.0.0.0/8", "https://10.1.2.3/", true),
            ("10.0.0.0/8", "https://11.1.2.3/", false),
            ("10.1.2.3", "https://10.1.2.3/", true),
            ("10.1.2.3:80", "https://10.1.2.3/", false),
            ("fd00::/8", "https://[fd12::1]/", true),
            ("*", "https://a.example/", true),
            ("*.*", "https://a.example/", false),
        ] {
            let variables = [("HTTPS_PROXY", "p.example:1"), ("NO_PROXY", no_proxy)];
            let expected = if is_direct { "direct" } else { "http://p.example:1" };
            assert_eq!(chosen(&variables, url), expected, "{no_proxy} {url}");
        }
    }

    #[test]
    fn credentials_of_a_proxy_are_its_own() {
        let proxy = Proxy::parse("http://me:p%40ss@p.example:3128/").expect("a proxy");
        assert_eq!(proxy.authorization(), Some("Basic bWU6cEBzcw=="));
        assert_eq!(proxy.address(), "http://p.example:3128");
        assert!(!format!("{proxy:?}").contains("bWU6"));
        let socks = chosen(&[("HTTPS_PROXY", "socks5://p.example:1080")], "https://a.example/");
        assert!(socks.contains("only proxies of `http://`"), "{socks}");
    }
}
