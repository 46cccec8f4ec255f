//! The provider against section 9 of the contract. Tests are named after the statements that they check.

#[cfg(test)]
mod aborting;
#[cfg(test)]
mod committing;
#[cfg(test)]
mod deleting;
#[cfg(test)]
mod fake_array;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod finalising;
#[cfg(test)]
mod importing;
#[cfg(test)]
mod preparing;
#[cfg(test)]
mod resyncing;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod sequences;
#[cfg(test)]
mod supporting;
#[cfg(test)]
mod targeting;
