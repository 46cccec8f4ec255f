//! A conformance suite for VSS hardware providers.
//!
//! ```text
//!  statements.toml ──▶ Statement ┐
//!  checks ──▶ Lab ──▶ Recorder ──┼──▶ [BrokenProvider] ──▶ any HardwareProvider ──▶ its array
//!                                │            ▲
//!  orders ──▶ Coordinator ───────┘         Fault
//!                      │
//!                      └──▶ sequences ──▶ judges ──▶ Report (text, JSON, JUnit XML, HTML)
//! ```
//!
//! [`run`] puts a provider into a [`TestBed`], which is somebody else's: hosts, an array that can be told to fail, a clock. Each
//! check has a provider process and a recorded sequence of its own and answers for one [`Statement`]; judges look at all sequences
//! afterwards. A verdict of *held* comes from a check that can fail: for each of [`Fault::ALL`] a test shows that it is found by the
//! statements that it breaks and by no other.

mod bed;
mod broken;
mod by_slots;
mod checks;
mod finding;
mod judges;
mod lab;
mod orders;
mod recorder;
mod report;
mod spans;
mod statements;
mod stranger;
mod suite;

pub use bed::{BedError, BelowVss, ComClass, Condition, EventSink, Gravity, Ledger, TestBed, TestHost};
pub use broken::{Fault, UnknownFault};
pub use finding::Verdict;
pub use orders::Order;
pub use recorder::{CallRecord, Ending, EventRecord, Sequence};
pub use report::{Form, Report, ReportError, StatementReport, UnknownForm};
pub use statements::{InvalidNumber, Level, Number, Statement, statements};
pub use stranger::{Stranger, first_that_lets_in};
pub use suite::{Plan, checked, checked_behind_com, run};
