//! The control service as any HTTP client meets it: who is let in to what, what is no request, and peers that take up room.

mod limits;
mod requests;
mod rig;
