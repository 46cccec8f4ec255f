//! The table of operational keys: name, kind, range, and where each value is kept.

use std::ops::RangeInclusive;

use super::{Digest, Preferences, SessionParameters};

/// The operational keys of RFC 7143 13 that this implementation knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OperationalKey {
    HeaderDigest,
    DataDigest,
    MaxConnections,
    InitialR2T,
    ImmediateData,
    MaxRecvDataSegmentLength,
    MaxBurstLength,
    FirstBurstLength,
    DefaultTime2Wait,
    DefaultTime2Retain,
    MaxOutstandingR2T,
    DataPduInOrder,
    DataSequenceInOrder,
    ErrorRecoveryLevel,
    TaskReporting,
    IfMarker,
    OfMarker,
    IfMarkInt,
    OfMarkInt,
    ProtocolLevel,
    NodeArchitecture,
}

/// How the result of a negotiation comes out of the two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first algorithm of the offered list that the other end can do.
    Digest,
    /// Yes if either end says so.
    Or,
    /// Yes if both ends say so.
    And,
    /// The lower number.
    Lower,
    /// The higher number.
    Higher,
    /// Each end declares its own value; there is no answer.
    Declared,
    /// Only this value is possible; this end never brings the key up.
    Fixed(&'static str),
    /// The lower number, which is this one at most; this end never brings the key up.
    AtMost(u32),
    /// Something that the other end says about itself, and that changes nothing.
    Remark,
}

impl OperationalKey {
    pub(super) const ALL: &[Self] = &[
        Self::HeaderDigest,
        Self::DataDigest,
        Self::MaxConnections,
        Self::InitialR2T,
        Self::ImmediateData,
        Self::MaxRecvDataSegmentLength,
        Self::MaxBurstLength,
        Self::FirstBurstLength,
        Self::DefaultTime2Wait,
        Self::DefaultTime2Retain,
        Self::MaxOutstandingR2T,
        Self::DataPduInOrder,
        Self::DataSequenceInOrder,
        Self::ErrorRecoveryLevel,
        Self::TaskReporting,
        Self::IfMarker,
        Self::OfMarker,
        Self::IfMarkInt,
        Self::OfMarkInt,
        Self::ProtocolLevel,
        Self::NodeArchitecture,
    ];

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|key| key.name() == name)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::HeaderDigest => "HeaderDigest",
            Self::DataDigest => "DataDigest",
            Self::MaxConnections => "MaxConnections",
            Self::InitialR2T => "InitialR2T",
            Self::ImmediateData => "ImmediateData",
            Self::MaxRecvDataSegmentLength => "MaxRecvDataSegmentLength",
            Self::MaxBurstLength => "MaxBurstLength",
            Self::FirstBurstLength => "FirstBurstLength",
            Self::DefaultTime2Wait => "DefaultTime2Wait",
            Self::DefaultTime2Retain => "DefaultTime2Retain",
            Self::MaxOutstandingR2T => "MaxOutstandingR2T",
            Self::DataPduInOrder => "DataPDUInOrder",
            Self::DataSequenceInOrder => "DataSequenceInOrder",
            Self::ErrorRecoveryLevel => "ErrorRecoveryLevel",
            Self::TaskReporting => "TaskReporting",
            Self::IfMarker => "IFMarker",
            Self::OfMarker => "OFMarker",
            Self::IfMarkInt => "IFMarkInt",
            Self::OfMarkInt => "OFMarkInt",
            Self::ProtocolLevel => "iSCSIProtocolLevel",
            Self::NodeArchitecture => "X#NodeArchitecture",
        }
    }

    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::HeaderDigest | Self::DataDigest => Kind::Digest,
            Self::InitialR2T | Self::DataPduInOrder | Self::DataSequenceInOrder => Kind::Or,
            Self::ImmediateData => Kind::And,
            Self::MaxRecvDataSegmentLength => Kind::Declared,
            Self::DefaultTime2Wait => Kind::Higher,
            Self::MaxConnections
            | Self::MaxBurstLength
            | Self::FirstBurstLength
            | Self::DefaultTime2Retain
            | Self::MaxOutstandingR2T
            // RFC 7143 §7.4.1 MUST: an ErrorRecoveryLevel is answered with 0, in a discovery session too.
            | Self::ErrorRecoveryLevel => Kind::Lower,
            Self::TaskReporting => Kind::Fixed("RFC3720"),
            // Obsolete since RFC 7143 13.25: markers may be declined.
            // RFC 7143 §13.25 MUST NOT: an obsolete key is answered with NotUnderstood.
            // RFC 7143 §13.25 MUST: IFMarkInt and OFMarkInt are answered with Reject.
            Self::IfMarker | Self::OfMarker => Kind::Fixed("No"),
            Self::IfMarkInt | Self::OfMarkInt => Kind::Fixed(super::REJECT),
            // RFC 7143 §13.24 MUST: iSCSIProtocolLevel is answered with 1.
            Self::ProtocolLevel => Kind::AtMost(1),
            // RFC 7143 §13.26.2 MUST NOT: what a session does depends on X#NodeArchitecture.
            Self::NodeArchitecture => Kind::Remark,
        }
    }

    /// The values that a number may have.
    pub(super) const fn range(self) -> RangeInclusive<u32> {
        match self {
            Self::MaxConnections | Self::MaxOutstandingR2T => 1..=65_535,
            Self::MaxRecvDataSegmentLength | Self::MaxBurstLength | Self::FirstBurstLength => 512..=(1 << 24) - 1,
            Self::DefaultTime2Wait | Self::DefaultTime2Retain => 0..=3600,
            Self::ErrorRecoveryLevel => 0..=2,
            Self::ProtocolLevel => 0..=31,
            _ => 0..=u32::MAX,
        }
    }

    /// Whether the key has a bearing in a discovery session.
    pub(super) const fn in_discovery(self) -> bool {
        match self {
            Self::MaxConnections
            | Self::InitialR2T
            | Self::ImmediateData
            | Self::MaxBurstLength
            | Self::FirstBurstLength
            | Self::MaxOutstandingR2T
            | Self::DataPduInOrder
            | Self::DataSequenceInOrder
            | Self::TaskReporting
            | Self::ProtocolLevel => false,
            Self::HeaderDigest
            | Self::DataDigest
            | Self::MaxRecvDataSegmentLength
            | Self::DefaultTime2Wait
            | Self::DefaultTime2Retain
            | Self::ErrorRecoveryLevel
            | Self::IfMarker
            | Self::OfMarker
            | Self::IfMarkInt
            | Self::OfMarkInt
            | Self::NodeArchitecture => true,
        }
    }
}

impl Preferences {
    pub(super) fn digests_for(&self, key: OperationalKey) -> &[Digest] {
        if key == OperationalKey::HeaderDigest { &self.header_digests } else { &self.data_digests }
    }

    /// A boolean key's value; data in order is not a matter of taste here: both machines count on it.
    pub(super) const fn boolean_for(&self, key: OperationalKey) -> bool {
        match key {
            OperationalKey::InitialR2T => self.initial_r2t,
            OperationalKey::ImmediateData => self.immediate_data,
            _ => true,
        }
    }

    /// A numeric key's value; one connection and no recovery levels are what the machines can do.
    pub(super) const fn number_for(&self, key: OperationalKey) -> u32 {
        match key {
            OperationalKey::MaxBurstLength => self.max_burst_length,
            OperationalKey::FirstBurstLength => self.first_burst_length,
            OperationalKey::DefaultTime2Wait => self.default_time2wait,
            OperationalKey::DefaultTime2Retain => self.default_time2retain,
            OperationalKey::MaxOutstandingR2T => self.max_outstanding_r2t,
            OperationalKey::MaxConnections => 1,
            // RFC 7143 §13.21 MUST: ErrorRecoveryLevel is 0 in a discovery session.
            _ => 0,
        }
    }
}

impl SessionParameters {
    pub(super) const fn set_digest(&mut self, key: OperationalKey, digest: Digest) {
        match key {
            OperationalKey::HeaderDigest => self.header_digest = digest,
            _ => self.data_digest = digest,
        }
    }

    pub(super) const fn set_boolean(&mut self, key: OperationalKey, value: bool) {
        match key {
            OperationalKey::InitialR2T => self.initial_r2t = value,
            OperationalKey::ImmediateData => self.immediate_data = value,
            OperationalKey::DataPduInOrder => self.data_pdu_in_order = value,
            _ => self.data_sequence_in_order = value,
        }
    }

    pub(super) const fn set_number(&mut self, key: OperationalKey, value: u32) {
        match key {
            OperationalKey::MaxConnections => self.max_connections = value,
            OperationalKey::MaxBurstLength => self.max_burst_length = value,
            OperationalKey::FirstBurstLength => self.first_burst_length = value,
            OperationalKey::DefaultTime2Wait => self.default_time2wait = value,
            OperationalKey::DefaultTime2Retain => self.default_time2retain = value,
            OperationalKey::MaxOutstandingR2T => self.max_outstanding_r2t = value,
            _ => self.error_recovery_level = value,
        }
    }
}
