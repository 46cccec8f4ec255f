//! The built program as an array with its control service: the administrator's commands, enrolment, a host's requests over TLS, and
//! what becomes of a commit when the connection or the whole array is lost.

mod administration;
mod chap;
mod commit;
mod copies;
mod crash;
mod diskshadow;
mod enrolment;
mod exposure;
mod pool;
mod portals;
mod presentation;
mod proxy;
mod rehearsal;
mod rights;
mod scrub;
mod service;
mod shutdown;
mod transfers;
