//! The pool as a whole: the conformance suite, random histories against a model, power cuts, faults, and foreign bytes.

mod conformance;
mod crash;
mod faults;
mod foreign;
mod model;
mod property;
mod sim_media;
