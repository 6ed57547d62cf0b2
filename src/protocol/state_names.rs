//! The words of client and server APIs: states and reasons, never part of a frame.

use super::wire_enum::wire_enum;

wire_enum! {
    /// How far a client is with a channel. Known to every implementation.
    ChannelState {
        /// Nothing was asked for yet.
        Idle = "IDLE",
        /// The join was sent and not answered.
        Joining = "JOINING",
        /// The join was acknowledged.
        Joined = "JOINED",
        /// The connection was lost; the channel will be joined again.
        Stalled = "STALLED",
        /// The channel was left.
        Closed = "CLOSED",
        /// The join was refused.
        Declined = "DECLINED",
    }
}

wire_enum! {
    /// How far a client is with its connection. Python and JavaScript clients.
    ConnectionState {
        /// There is no connection.
        Disconnected = "disconnected",
        /// The connection is being made.
        Connecting = "connecting",
        /// The connection is open.
        Connected = "connected",
    }
}

wire_enum! {
    /// Why a user left a channel. Python and Rust; Go writes `evicted:` and a reason for the last.
    LeaveReason {
        /// The user asked for it.
        ExplicitLeave = "explicit_leave",
        /// The connection closed.
        ConnectionClosed = "connection_closed",
        /// The server removed the user.
        Evicted = "evicted",
    }
}
