//! The client against a server that does as it is told, and against several arrays that are not there.

mod commit;
mod requests;
mod server;
mod several;
