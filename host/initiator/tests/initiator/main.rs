//! The initiator against a peer that is scripted with the target's side of `lunshadow-iscsi`.

mod disk;
mod peer;
mod ram_disk;
mod session;
