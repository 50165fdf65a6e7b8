//! One connection that speaks the server's protocol: a command, and its complete reply within limits.
//!
//! The formats of packets and values are those of the client library. Its own connection has no deadline for a
//! whole reply, and takes memory for what a reply announces.

use std::io;
use std::sync::Arc;

use mysql::consts::{CapabilityFlags, Command, StatusFlags};
use mysql::{Column, DriverError, Error, Row, Value};
use mysql_common::io::ParseBuf;
use mysql_common::packets::{
    ComStmtExecuteRequestBuilder, CommonOkPacket, ErrPacket, OkPacket, OkPacketDeserializer, OkPacketKind,
    OldEofPacket, StmtPacket,
};
use mysql_common::proto::MySerialize;
use mysql_common::proto::sync_framed::MySyncFramed;
use mysql_common::proto::{Binary, MyDeserialize, Text};
use mysql_common::row::RowDeserializer;
use mysql_common::value::ServerSide;

use crate::wire::{Limits, Stream};

/// More columns than any table has.
const MOST_COLUMNS: u64 = 4096;

/// A connection after its handshake.
pub(super) struct Client {
    pub(super) framed: MySyncFramed<Stream>,
    pub(super) capabilities: CapabilityFlags,
    /// How many rows the last statement changed.
    changed: u64,
}

/// A statement that the server has prepared.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    id: u32,
    parameters: u16,
}

impl Client {
    /// Takes a connection, whose handshake is to be done.
    pub(super) fn new(stream: Stream) -> Self {
        let framed = MySyncFramed::new(stream);
        Self { framed, capabilities: CapabilityFlags::empty(), changed: 0 }
    }

    /// Begins an exchange.
    pub(super) fn begin(&mut self, limits: Limits) {
        self.framed.get_mut().begin(limits);
    }

    /// Returns whether the server may have received bytes of the last exchange.
    pub(super) fn has_sent(&self) -> bool {
        self.framed.get_ref().socket().has_sent()
    }

    /// Returns whether the server still has the connection open, as far as it has told.
    pub(super) fn is_idle(&mut self) -> bool {
        self.framed.get_mut().is_idle()
    }

    /// Returns how many rows the last statement changed.
    pub(super) fn changed(&self) -> u64 {
        self.changed
    }

    /// Asks the server whether it is there.
    pub(super) fn ping(&mut self) -> Result<(), Error> {
        self.command(Command::COM_PING, &[])?;
        self.read().map(drop)
    }

    /// Runs a statement without parameters. Values of the rows are texts.
    pub(super) fn query(&mut self, text: &str) -> Result<Vec<Row>, Error> {
        self.command(Command::COM_QUERY, text.as_bytes())?;
        self.rows(|packet, columns| {
            Ok(ParseBuf(packet).parse::<RowDeserializer<(), Text>>(columns)?.into_inner())
        })
    }

    /// Prepares a statement.
    pub(super) fn prepare(&mut self, text: &str) -> Result<Statement, Error> {
        self.command(Command::COM_STMT_PREPARE, text.as_bytes())?;
        let packet = self.read()?;
        let prepared: StmtPacket = ParseBuf(&packet).parse(())?;
        for definitions in [prepared.num_params(), prepared.num_columns()] {
            // Definitions, and the packet that ends them.
            for _ in 0..if definitions == 0 { 0 } else { u32::from(definitions) + 1 } {
                self.read()?;
            }
        }
        Ok(Statement { id: prepared.statement_id(), parameters: prepared.num_params() })
    }

    /// Executes a prepared statement.
    pub(super) fn execute(&mut self, statement: &Statement, values: &[Value]) -> Result<Vec<Row>, Error> {
        if usize::from(statement.parameters) != values.len() {
            let (expected, supplied) = (statement.parameters, values.len());
            return Err(DriverError::MismatchedStmtParams(expected, supplied).into());
        }
        let (request, _) = ComStmtExecuteRequestBuilder::new(statement.id).build(values);
        self.framed.codec_mut().reset_seq_id();
        self.send(&request)?;
        self.rows(|packet, columns| {
            Ok(ParseBuf(packet).parse::<RowDeserializer<ServerSide, Binary>>(columns)?.into_inner())
        })
    }

    /// Tells the server that the connection ends. It logs those that end without.
    pub(super) fn quit(&mut self, limits: Limits) {
        self.begin(limits);
        if let Err(error) = self.command(Command::COM_QUIT, &[]) {
            log::debug!("a connection that is closed could not say so: {error}");
        }
    }

    /// Sends a packet within a conversation.
    pub(super) fn send(&mut self, packet: &impl MySerialize) -> Result<(), Error> {
        let mut bytes = Vec::new();
        packet.serialize(&mut bytes);
        self.send_bytes(&bytes)
    }

    /// Sends a packet within a conversation.
    pub(super) fn send_bytes(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        Ok(self.framed.send(&mut bytes)?)
    }

    /// Reads a packet that has at least one byte. An error of the server is an error.
    pub(super) fn read(&mut self) -> Result<Vec<u8>, Error> {
        loop {
            let mut packet = Vec::new();
            if !self.framed.next_packet(&mut packet)? {
                return Err(Error::server_disconnected());
            }
            match packet.first() {
                None => return Err(DriverError::UnexpectedPacket.into()),
                Some(0xff) => match ParseBuf(&packet).parse(self.capabilities)? {
                    ErrPacket::Error(error) => return Err(Error::MySqlError(error.into())),
                    // The server is still busy.
                    ErrPacket::Progress(_) => (),
                },
                Some(_) => return Ok(packet),
            }
        }
    }

    /// Reads the packet that says that all is well.
    pub(super) fn ok<'a, K: OkPacketKind>(&self, packet: &'a [u8]) -> Result<OkPacket<'a>, Error> {
        Ok(ParseBuf(packet).parse::<OkPacketDeserializer<'_, K>>(self.capabilities)?.into_inner())
    }

    fn command(&mut self, command: Command, data: &[u8]) -> Result<(), Error> {
        self.framed.codec_mut().reset_seq_id();
        self.send_bytes(&[&[command as u8], data].concat())
    }

    /// Reads the result of one statement: the server's consent, or rows.
    fn rows(&mut self, row: impl Fn(&[u8], Arc<[Column]>) -> Result<Row, Error>) -> Result<Vec<Row>, Error> {
        let packet = self.read()?;
        match packet.first() {
            Some(0x00) => {
                let ok = self.ok::<CommonOkPacket>(&packet)?;
                let (changed, more) = (ok.affected_rows(), more_results(&ok));
                self.changed = changed;
                return if more { Err(DriverError::UnexpectedPacket.into()) } else { Ok(Vec::new()) };
            }
            // The server asks for a file of ours.
            Some(0xfb) => return Err(DriverError::UnexpectedPacket.into()),
            _ => (),
        }
        let columns = self.columns(&packet)?;
        let mut rows = Vec::new();
        loop {
            let packet = self.read()?;
            if packet.first() == Some(&0xfe) && packet.len() < 8 {
                let more = more_results(&self.ok::<OldEofPacket>(&packet)?);
                return if more { Err(DriverError::UnexpectedPacket.into()) } else { Ok(rows) };
            }
            rows.push(row(&packet, Arc::clone(&columns))?);
        }
    }

    /// Reads the definitions of columns, of which the packet has the number.
    fn columns(&mut self, packet: &[u8]) -> Result<Arc<[Column]>, Error> {
        let count = length(packet).filter(|count| *count <= MOST_COLUMNS);
        let count = count.ok_or(DriverError::UnexpectedPacket)?;
        let columns = (0..count).map(|_| {
            let packet = self.read()?;
            Ok(Column::deserialize((), &mut ParseBuf(&packet))?)
        });
        let columns = columns.collect::<Result<Vec<Column>, Error>>()?;
        let end = self.read()?;
        self.ok::<OldEofPacket>(&end)?;
        Ok(columns.into())
    }
}

fn more_results(ok: &OkPacket<'_>) -> bool {
    ok.status_flags().contains(StatusFlags::SERVER_MORE_RESULTS_EXISTS)
}

/// Returns the number with which a packet begins, in the encoding of lengths.
fn length(packet: &[u8]) -> Option<u64> {
    match *packet {
        [small @ 0..=0xfa] => Some(small.into()),
        [0xfc, low, high] => Some(u16::from_le_bytes([low, high]).into()),
        _ => None,
    }
}

/// Returns the error of a server that does not keep to the protocol.
pub(super) fn unexpected() -> Error {
    io::Error::other("the server does not keep to the protocol").into()
}
