//! iSCSI on the wire (RFC 7143): PDUs, text keys, login and full-feature machines for both ends.
