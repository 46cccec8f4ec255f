//! The pool as a whole: the conformance suite, random histories against a model, power cuts, faults, and foreign bytes.

#[cfg(test)]
mod behind;
#[cfg(test)]
mod check;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod defragment;
#[cfg(test)]
mod dependent;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod faulty;
#[cfg(test)]
mod foreign;
#[cfg(test)]
mod full;
#[cfg(test)]
mod gathering;
#[cfg(test)]
mod growth;
#[cfg(test)]
mod many;
#[cfg(test)]
mod model;
#[cfg(test)]
#[path = "../images/ordeal.rs"]
mod ordeal;
#[cfg(test)]
mod pair;
#[cfg(test)]
mod property;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod reclaim;
#[cfg(test)]
mod reverting;
#[cfg(test)]
mod scrub;
#[cfg(test)]
mod sharing;
#[cfg(test)]
mod sim_media;
#[cfg(test)]
mod tail;
#[cfg(test)]
mod tolerant;
#[cfg(test)]
mod wiping;
