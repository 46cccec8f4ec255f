//! SCSI on the wire: CDBs, sense data, inquiry and VPD pages (SPC, SBC).
