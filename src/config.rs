//! Settings from file, environment and flags: the only reader of `std::env`.
