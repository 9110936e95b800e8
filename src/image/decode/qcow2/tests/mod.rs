//! Whole images: made by QEMU, made by hand, and damaged.

mod builder;
mod by_hand;
mod by_qemu;
mod damaged;
mod refused;
