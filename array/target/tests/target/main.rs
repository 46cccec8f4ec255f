//! The device server and the iSCSI target against LUNs in memory.

#[cfg(test)]
mod at_once;
#[cfg(test)]
mod atomicity;
#[cfg(test)]
mod block_commands;
#[cfg(test)]
mod bounds;
#[cfg(test)]
mod cdb_usage;
#[cfg(test)]
mod chap;
#[cfg(test)]
mod device_server;
#[cfg(test)]
mod digests;
#[cfg(test)]
mod extended_copy;
#[cfg(test)]
mod faulty;
#[cfg(test)]
mod front_end;
#[cfg(test)]
mod inputs;
#[cfg(test)]
mod kept_reservations;
#[cfg(test)]
mod life_cycle;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod modes;
#[cfg(test)]
mod negotiation;
#[cfg(test)]
mod offload;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod persistent_reservations;
#[cfg(test)]
mod port_groups;
#[cfg(test)]
mod portals;
#[cfg(test)]
mod provisioning;
#[cfg(test)]
mod removable;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod reservations_over_tcp;
#[cfg(test)]
mod sanitize;
#[cfg(test)]
mod stalls;
#[cfg(test)]
mod troubled;
