//! What the simulated host knows about disks, compared with what the usual tools have made and see.

#[cfg(test)]
mod cursor;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod files;
#[cfg(test)]
mod flags;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod tables;
#[cfg(test)]
mod tools;
#[cfg(test)]
mod volume_files;
#[cfg(test)]
mod witness;
