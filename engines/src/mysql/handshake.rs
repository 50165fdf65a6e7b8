//! The handshake of a new connection: TLS, and the proof that the client knows the password.

use std::sync::Arc;

use mysql::consts::{CapabilityFlags, UTF8MB4_GENERAL_CI};
use mysql::{DriverError, Error};
use mysql_common::crypto;
use mysql_common::io::ParseBuf;
use mysql_common::packets::{
    AuthPlugin, AuthSwitchRequest, CommonOkPacket, HandshakePacket, HandshakeResponse, SslRequest,
};
use mysql_common::proto::sync_framed::MySyncFramed;
use rustls::ClientConfig;

use super::client::{Client, unexpected};
use super::dsn::Dsn;
use crate::wire::{Limits, Socket, Stream};

/// The largest packet in bytes, larger than any statement of the engine.
const LARGEST_PACKET: usize = 1 << 20;
/// The length of the server's challenge.
const CHALLENGE: usize = 20;

/// TLS for a connection: its configuration, and the name that the server's certificate must have.
pub(super) type Security<'a> = (Arc<ClientConfig>, &'a str);

/// Logs in on a new connection.
pub(super) fn log_in(
    socket: Socket,
    dsn: &Dsn,
    tls: Option<Security<'_>>,
    limits: Limits,
) -> Result<Client, Error> {
    let is_local = socket.is_local();
    let mut client = Client::new(Stream::Plain(socket));
    client.begin(limits);
    client.framed.codec_mut().max_allowed_packet = LARGEST_PACKET;
    let greeting = client.read()?;
    let greeting: HandshakePacket<'_> = ParseBuf(&greeting).parse(())?;
    if greeting.protocol_version() != 10 {
        return Err(DriverError::UnsupportedProtocol(greeting.protocol_version()).into());
    }
    if !greeting.capabilities().contains(CapabilityFlags::CLIENT_PROTOCOL_41) {
        return Err(DriverError::Protocol41NotSet.into());
    }
    let mut wanted = CapabilityFlags::CLIENT_PROTOCOL_41
        | CapabilityFlags::CLIENT_SECURE_CONNECTION
        | CapabilityFlags::CLIENT_LONG_PASSWORD
        | CapabilityFlags::CLIENT_TRANSACTIONS
        | CapabilityFlags::CLIENT_PLUGIN_AUTH
        | CapabilityFlags::CLIENT_CONNECT_WITH_DB;
    wanted.set(CapabilityFlags::CLIENT_SSL, tls.is_some());
    client.capabilities = greeting.capabilities() & wanted;
    let secure = tls.is_some() || is_local;
    if let Some(tls) = tls {
        client = encrypted(client, tls)?;
    }
    let mut challenge = greeting.scramble_1_ref().to_vec();
    challenge.extend_from_slice(greeting.scramble_2_ref().unwrap_or_default());
    // A zero byte ends it.
    challenge.resize(CHALLENGE, 0);
    let mut login = Login { client, password: &dsn.password, secure, challenge };
    let plugin = match greeting.auth_plugin() {
        Some(AuthPlugin::CachingSha2Password) => AuthPlugin::CachingSha2Password,
        _ => AuthPlugin::MysqlNativePassword,
    };
    login.introduce(dsn, &plugin, greeting.server_version_parsed().unwrap_or_default())?;
    login.prove(&plugin)?;
    Ok(login.client)
}

/// Asks for TLS, and begins it.
fn encrypted(mut client: Client, (config, name): Security<'_>) -> Result<Client, Error> {
    if !client.capabilities.contains(CapabilityFlags::CLIENT_SSL) {
        return Err(DriverError::TlsNotSupported.into());
    }
    #[expect(clippy::cast_possible_truncation, reason = "the packet has one byte for it, and it is 45")]
    let collation = UTF8MB4_GENERAL_CI as u8;
    client.send(&SslRequest::new(client.capabilities, packet_size(), collation))?;
    let Client { framed, capabilities, .. } = client;
    let (received, to_send, codec, stream) = framed.destruct();
    let Stream::Plain(socket) = stream else { return Err(unexpected()) };
    if !received.is_empty() {
        // What came in plain text must not count as said in TLS.
        return Err(unexpected());
    }
    let stream = Stream::tls(socket, name, config)?;
    let mut client = Client::new(stream);
    client.capabilities = capabilities;
    let (_, _, _, stream) = client.framed.destruct();
    client.framed = MySyncFramed::construct(received, to_send, codec, stream);
    Ok(client)
}

/// A login that is under way.
struct Login<'a> {
    client: Client,
    password: &'a str,
    /// No other party can read the connection.
    secure: bool,
    challenge: Vec<u8>,
}

impl Login<'_> {
    /// Sends the user's name and the first proof.
    fn introduce(
        &mut self,
        dsn: &Dsn,
        plugin: &AuthPlugin<'_>,
        version: (u16, u16, u16),
    ) -> Result<(), Error> {
        let proof = plugin.gen_data(Some(self.password), &self.challenge).map(|proof| proof.to_vec());
        let response = HandshakeResponse::new(
            proof.as_deref(),
            version,
            Some(dsn.user.as_bytes()),
            Some(dsn.database.as_bytes()),
            Some(plugin.borrow()),
            self.client.capabilities,
            None,
            packet_size(),
        );
        self.client.send(&response)
    }

    /// Does what the server asks for until it is satisfied.
    fn prove(&mut self, plugin: &AuthPlugin<'_>) -> Result<(), Error> {
        let packet = self.client.read()?;
        if packet.first() != Some(&0xfe) {
            return self.finish(plugin, &packet);
        }
        let switch: AuthSwitchRequest<'_> = ParseBuf(&packet).parse(())?;
        let plugin = match switch.auth_plugin() {
            plugin @ (AuthPlugin::MysqlNativePassword | AuthPlugin::CachingSha2Password) => {
                plugin.into_owned()
            }
            AuthPlugin::MysqlOldPassword => return Err(DriverError::OldMysqlPasswordDisabled.into()),
            AuthPlugin::MysqlClearPassword => return Err(DriverError::CleartextPluginDisabled.into()),
            other => {
                let name = String::from_utf8_lossy(other.as_bytes()).into_owned();
                return Err(DriverError::UnknownAuthPlugin(name).into());
            }
        };
        self.challenge = switch.plugin_data().to_vec();
        self.challenge.resize(CHALLENGE, 0);
        match plugin.gen_data(Some(self.password), &self.challenge) {
            Some(proof) => self.client.send_bytes(&proof)?,
            None => self.client.send_bytes(&[])?,
        }
        let packet = self.client.read()?;
        self.finish(&plugin, &packet)
    }

    fn finish(&mut self, plugin: &AuthPlugin<'_>, packet: &[u8]) -> Result<(), Error> {
        match (plugin, packet) {
            (_, [0x00, ..]) => self.satisfied(packet),
            // The server knows the password, and the proof was right.
            (AuthPlugin::CachingSha2Password, [0x01, 0x03, ..]) => {
                let packet = self.client.read()?;
                self.satisfied(&packet)
            }
            (AuthPlugin::CachingSha2Password, [0x01, 0x04, ..]) => {
                self.tell_password()?;
                let packet = self.client.read()?;
                self.satisfied(&packet)
            }
            _ => Err(DriverError::UnexpectedPacket.into()),
        }
    }

    fn satisfied(&self, packet: &[u8]) -> Result<(), Error> {
        self.client.ok::<CommonOkPacket>(packet).map(drop)
    }

    /// Sends the password itself: encrypted with the server's key if the connection is not secure.
    fn tell_password(&mut self) -> Result<(), Error> {
        let mut password = self.password.as_bytes().to_vec();
        password.push(0);
        if self.secure {
            return self.client.send_bytes(&password);
        }
        self.client.send_bytes(&[0x02])?;
        let packet = self.client.read()?;
        let key = packet.get(1..).filter(|key| key.starts_with(b"-----BEGIN")).ok_or_else(unexpected)?;
        for (byte, mask) in password.iter_mut().zip(self.challenge.iter().cycle()) {
            *byte ^= mask;
        }
        self.client.send_bytes(&crypto::encrypt(&password, key))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it is a megabyte")]
const fn packet_size() -> u32 {
    LARGEST_PACKET as u32
}
