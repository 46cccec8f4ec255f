//! One suite that every pool and every LUN must pass.
