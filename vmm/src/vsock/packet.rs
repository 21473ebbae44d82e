// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The vsock packet header (virtio 1.2, section 5.10.6) and its fields.

/// Size of a header on the wire in bytes (`struct virtio_vsock_hdr`).
pub const HEADER_LEN: usize = 44;

/// The CID of the host (`VMADDR_CID_HOST`).
pub const HOST_CID: u64 = 2;

/// The CID of every guest. Guests may have the same CID, because each VM has its own device.
pub const GUEST_CID: u64 = 3;

/// `VIRTIO_VSOCK_TYPE_STREAM`, the only type that this device offers.
pub const TYPE_STREAM: u16 = 1;

/// `VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE`: the sender of the packet will receive no more.
pub const SHUTDOWN_RECEIVE: u32 = 1;

/// `VIRTIO_VSOCK_SHUTDOWN_F_SEND`: the sender of the packet will send no more.
pub const SHUTDOWN_SEND: u32 = 2;

/// Both flags of a shutdown.
pub const SHUTDOWN_BOTH: u32 = SHUTDOWN_RECEIVE | SHUTDOWN_SEND;

/// Operations (virtio 1.2, section 5.10.6, `VIRTIO_VSOCK_OP_*`).
pub mod op {
    /// Asks for a connection.
    pub const REQUEST: u16 = 1;
    /// Accepts a connection.
    pub const RESPONSE: u16 = 2;
    /// Refuses a connection, or ends it at once.
    pub const RST: u16 = 3;
    /// Ends one or both halves of a connection.
    pub const SHUTDOWN: u16 = 4;
    /// Carries data.
    pub const RW: u16 = 5;
    /// Sends only the fields of every packet that determine the receiver's credit: `buf_alloc` and
    /// `fwd_cnt`.
    pub const CREDIT_UPDATE: u16 = 6;
    /// Asks the other side for a [`CREDIT_UPDATE`].
    pub const CREDIT_REQUEST: u16 = 7;
}

/// A decoded packet header. All bytes can be decoded; the device checks the values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// CID of the sender.
    pub src_cid: u64,
    /// CID of the receiver.
    pub dst_cid: u64,
    /// Port of the sender.
    pub src_port: u32,
    /// Port of the receiver.
    pub dst_port: u32,
    /// Bytes of payload that follow the header.
    pub len: u32,
    /// Socket type; only [`TYPE_STREAM`] is supported.
    pub kind: u16,
    /// Operation, one of [`op`].
    pub op: u16,
    /// The halves that a shutdown ends (`SHUTDOWN_*`); 0 for other operations.
    pub flags: u32,
    /// Size of the sender's receive buffer for this connection in bytes.
    pub buf_alloc: u32,
    /// Number of bytes that were read from the sender's receive buffer since the connection began,
    /// modulo 2^32.
    pub fwd_cnt: u32,
}

impl Header {
    /// Decodes a header from its little-endian form on the wire.
    #[must_use]
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Header {
        fn field<const N: usize>(bytes: &[u8; HEADER_LEN], offset: usize) -> [u8; N] {
            let mut value = [0; N];
            value.copy_from_slice(&bytes[offset..offset + N]);
            value
        }
        Header {
            src_cid: u64::from_le_bytes(field(bytes, 0)),
            dst_cid: u64::from_le_bytes(field(bytes, 8)),
            src_port: u32::from_le_bytes(field(bytes, 16)),
            dst_port: u32::from_le_bytes(field(bytes, 20)),
            len: u32::from_le_bytes(field(bytes, 24)),
            kind: u16::from_le_bytes(field(bytes, 28)),
            op: u16::from_le_bytes(field(bytes, 30)),
            flags: u32::from_le_bytes(field(bytes, 32)),
            buf_alloc: u32::from_le_bytes(field(bytes, 36)),
            fwd_cnt: u32::from_le_bytes(field(bytes, 40)),
        }
    }

    /// Encodes the header for the wire.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0..8].copy_from_slice(&self.src_cid.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.dst_cid.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.src_port.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.dst_port.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.len.to_le_bytes());
        bytes[28..30].copy_from_slice(&self.kind.to_le_bytes());
        bytes[30..32].copy_from_slice(&self.op.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.flags.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.buf_alloc.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.fwd_cnt.to_le_bytes());
        bytes
    }

    /// Returns the reset that answers this packet. Source and destination are exchanged; the fields
    /// for credit are 0.
    #[must_use]
    pub fn reset(&self) -> Header {
        Header {
            src_cid: self.dst_cid,
            dst_cid: self.src_cid,
            src_port: self.dst_port,
            dst_port: self.src_port,
            kind: self.kind,
            op: op::RST,
            ..Header::default()
        }
    }
}

/// A packet for the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The header. Its `len` is the length of the payload.
    pub header: Header,
    /// The payload. Empty unless the operation is [`op::RW`].
    pub payload: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_decode_and_encode_to_themselves(bytes: [[u8; 11]; 4]) {
            let mut wire = [0; HEADER_LEN];
            wire.copy_from_slice(bytes.as_flattened());
            prop_assert_eq!(Header::decode(&wire).encode(), wire);
        }
    }

    #[test]
    fn fields_are_at_the_offsets_of_the_specification() {
        let mut wire = [0; HEADER_LEN];
        for (offset, byte) in (0u8..).zip(wire.iter_mut()) {
            *byte = offset;
        }
        let header = Header::decode(&wire);
        assert_eq!(header.src_cid, 0x0706_0504_0302_0100);
        assert_eq!(header.dst_cid, 0x0f0e_0d0c_0b0a_0908);
        assert_eq!((header.src_port, header.dst_port), (0x1312_1110, 0x1716_1514));
        assert_eq!(header.len, 0x1b1a_1918);
        assert_eq!((header.kind, header.op), (0x1d1c, 0x1f1e));
        assert_eq!((header.flags, header.buf_alloc), (0x2322_2120, 0x2726_2524));
        assert_eq!(header.fwd_cnt, 0x2b2a_2928);
    }

    #[test]
    fn a_reset_is_addressed_to_the_sender() {
        let header = Header {
            src_cid: 3,
            dst_cid: 2,
            src_port: 7,
            dst_port: 9,
            kind: 5,
            ..Header::default()
        };
        let reset = header.reset();
        assert_eq!((reset.src_cid, reset.dst_cid), (2, 3));
        assert_eq!((reset.src_port, reset.dst_port), (9, 7));
        assert_eq!((reset.kind, reset.op, reset.len), (5, op::RST, 0));
    }
}
